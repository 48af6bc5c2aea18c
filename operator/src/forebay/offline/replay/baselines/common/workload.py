"""A role as one scaled workload: what a replica sustains at the present lengths, and which variant gets how many.

None of the products here chooses between GPU types: each scales one workload. Where a role has several variants,
their users put the cheapest (per unit of work) first and let the next take what its maximum leaves, and that is
the rule here, for all baselines alike. The order is chosen once, at the trace's mean lengths: a rule that chose it
again with every change of lengths would drain a fleet because two types cost nearly the same. A role's size is
counted in *reference replicas*: replicas of the variant that comes first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.fleet import Role, Variant, VariantKey
from forebay.offline.replay.baselines.registry import PoolFacts
from forebay.sizing.work import Correction, Lengths, ReplicaWork, replica_work

_NONE = Correction()
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One role of one pool at one mix of request lengths."""

    role: Role
    variants: tuple[Variant, ...]
    """In the order in which they are filled; the first is the reference."""
    work: Mapping[VariantKey, ReplicaWork]
    """What one request costs on one replica of each variant."""
    speed: Mapping[VariantKey, float]
    """Capacity of one replica in reference replicas."""

    @property
    def reference(self) -> Variant:
        """Return the variant in whose replicas the role is counted."""
        return self.variants[0]

    @property
    def seconds_per_request(self) -> float:
        """Return the reference replica-seconds that a mean request costs."""
        return self.work[self.reference.key].seconds(self.role)

    @property
    def batch(self) -> float:
        """Return the sequences per reference replica at which the ITL objective is just met."""
        return self.work[self.reference.key].batch

    def fill(self, reference_replicas: float) -> dict[VariantKey, int]:
        """Return replicas per variant that hold at least ``reference_replicas``, cheapest first, within limits."""
        counts = {variant.key: variant.min_replicas for variant in self.variants}
        missing = reference_replicas - sum(self.speed[name] * count for name, count in counts.items())
        for variant in self.variants:
            if missing <= _ROUNDING:
                break
            speed = self.speed[variant.key]
            room = variant.max_replicas - variant.min_replicas
            more = min(room, math.ceil(missing / speed - _ROUNDING))
            counts[variant.key] += more
            missing -= more * speed
        if sum(counts.values()) == 0 and reference_replicas > 0:
            counts[self.reference.key] = min(1, self.reference.max_replicas)
        return counts


def workload(facts: PoolFacts, role: Role, lengths: Lengths) -> Workload:
    """Return ``role`` of a pool as one workload at ``lengths``."""
    variants = facts.pool.of_role(role)
    work = {v.key: replica_work(facts.performance[v.key], _NONE, lengths, facts.pool.slo) for v in variants}
    place = {name: number for number, name in enumerate(facts.fill_order)}

    def rank(variant: Variant) -> tuple[int, float]:
        usd = work[variant.key].seconds(role) * facts.usd_per_replica_hour[variant.key]
        return place.get(variant.key, len(place)), usd

    ranked = tuple(sorted(variants, key=rank))
    base = work[ranked[0].key].seconds(role)
    return Workload(
        role=role,
        variants=ranked,
        work=work,
        speed={variant.key: base / work[variant.key].seconds(role) for variant in ranked},
    )


def fill_order(facts: PoolFacts, lengths: Lengths) -> tuple[VariantKey, ...]:
    """Return the variants of a pool, cheapest per unit of work of their role first."""
    return tuple(v.key for role in facts.pool.roles for v in workload(facts, role, lengths).variants)
