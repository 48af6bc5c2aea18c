"""The roles of an InferencePool, the variants that serve them, and the band between prefill and decode."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field, StrictInt

from forebay.api.base import WHOLE, ApiModel, NameRef, ObjectName
from forebay.api.rules import ListType, Rule
from forebay.api.text import RATIO, RATIO_RULE, Duration, Ratio, between
from forebay.api.v1alpha1.target import Target

MAX_VARIANTS = 16

_RATIO_IN_FORMAT = RATIO.replace("{", "{{").replace("}", "}}")
IS_BAND = " && ".join(f"{{0}}.{end}.matches('^{_RATIO_IN_FORMAT}$')" for end in ("min", "max"))
"""CEL, to be formatted with a band: both of its ends are well written."""
SUM_OF_REPLICAS = "self.roles.{0}.variants.map(v, v.{1}Replicas).sum()"
"""CEL over the spec, to be formatted with a role and min or max: its replicas over all variants."""

_SAME_TARGET = "v.target.kind == w.target.kind && v.target.name == w.target.name"


class VariantSpec(ApiModel):
    """One way to serve a role: a scalable workload on one type of GPU."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas is larger than maxReplicas: lower minReplicas or raise maxReplicas",
            lambda variant: variant.min_replicas <= variant.max_replicas,
            ".minReplicas",
        ),
        Rule(
            "self.target.kind == oldSelf.target.kind && self.target.name == oldSelf.target.name",
            "the target of a variant cannot change, because what was learned belongs to it; add a variant of "
            "another name and remove this one",
            None,
            ".target",
        ),
    )

    name: ObjectName
    """Name of the variant, unique within its role."""
    target: Target
    """The workload whose replicas are scaled."""
    node_pool: ObjectName | None = None
    """Name of the GPUNodePool that it runs on. Without one, its price and stock are unknown."""
    gpus_per_replica: Annotated[StrictInt, Field(ge=1, le=1024), WHOLE] = 1
    """GPUs that one replica holds, over all of its pods."""
    min_replicas: Annotated[StrictInt, Field(ge=0, le=10_000)] = 1
    """Fewest replicas. At least one variant of each role keeps 1 or more."""
    max_replicas: Annotated[StrictInt, Field(ge=1, le=10_000)]
    """Most replicas."""
    profile_ref: NameRef | None = None
    """ServingProfile of this model on this GPU. Without one, capacity is learned from telemetry."""
    start_up: Annotated[Duration, between("1s", "2h", such_as="90s or 5m")] | None = None
    """Time that a pod needs from scheduled to ready on a warm node. Measured if left out."""


class RoleSpec(ApiModel):
    """The variants that serve one role; Forebay splits the replicas among them at the lowest cost."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.variants.all(v, self.variants.exists_one(w, {_SAME_TARGET}))",
            "variants: two have the same target; give each a target of its own",
            lambda role: len(role.targets()) == len(role.variants),
            ".variants",
        ),
        Rule(
            "self.variants.exists(v, v.minReplicas >= 1)",
            "variants: all have minReplicas 0, but a role is never scaled to zero; set one to 1 or more",
            lambda role: any(variant.min_replicas >= 1 for variant in role.variants),
            ".variants",
        ),
    )

    variants: Annotated[
        tuple[VariantSpec, ...], Field(min_length=1, max_length=MAX_VARIANTS), ListType("map", ("name",))
    ]
    """One to sixteen variants, each on one GPU type."""

    def targets(self) -> set[tuple[str, str]]:
        """Return kind and name of all targets."""
        return {(variant.target.kind, variant.target.name) for variant in self.variants}

    def replicas(self) -> tuple[int, int]:
        """Return the fewest and the most replicas over all variants."""
        return sum(v.min_replicas for v in self.variants), sum(v.max_replicas for v in self.variants)


class Roles(ApiModel):
    """Either serve, or prefill and decode."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.serve) || has(self.prefill) || has(self.decode)",
            "roles: name serve, or prefill and decode",
            lambda roles: any((roles.serve, roles.prefill, roles.decode)),
        ),
        Rule(
            "!has(self.serve) || !(has(self.prefill) || has(self.decode))",
            "roles: serve excludes prefill and decode; keep serve alone, or prefill with decode",
            lambda roles: not (roles.serve and (roles.prefill or roles.decode)),
        ),
        Rule(
            "!has(self.prefill) || has(self.decode)",
            "roles: prefill needs decode beside it; add roles.decode, or rename prefill to serve",
            lambda roles: not roles.prefill or bool(roles.decode),
        ),
        Rule(
            "!has(self.decode) || has(self.prefill)",
            "roles: decode needs prefill beside it; add roles.prefill, or rename decode to serve",
            lambda roles: not roles.decode or bool(roles.prefill),
        ),
        Rule(
            "!has(self.prefill) || !has(self.decode)"
            f" || self.prefill.variants.all(v, !self.decode.variants.exists(w, {_SAME_TARGET}))",
            "roles: a variant of prefill and one of decode have the same target; give each a target of its own",
            lambda roles: (
                roles.prefill is None
                or roles.decode is None
                or not roles.prefill.targets() & roles.decode.targets()
            ),
        ),
        Rule(
            "has(self.serve) == has(oldSelf.serve)",
            "roles: serve cannot become prefill and decode, nor the reverse; create another InferencePool",
            None,
        ),
    )

    serve: RoleSpec | None = None
    """Replicas that do both prefill and decode."""
    prefill: RoleSpec | None = None
    """Replicas that only process prompts; they decide the TTFT."""
    decode: RoleSpec | None = None
    """Replicas that only generate tokens; they decide the ITL."""

    def items(self) -> Iterator[tuple[str, RoleSpec]]:
        """Yield the name of each role that is there, with the role."""
        for name, role in (("serve", self.serve), ("prefill", self.prefill), ("decode", self.decode)):
            if role is not None:
                yield name, role


class RatioBandSpec(ApiModel):
    """Allowed prefill replicas per decode replica."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!({IS_BAND.format('self')}) || int(self.min.split(':')[0]) * int(self.max.split(':')[1])"
            " <= int(self.max.split(':')[0]) * int(self.min.split(':')[1])",
            "prefillToDecode: min is larger than max; swap them (1:4 is one prefill for four decode)",
            lambda band: band.min.terms[0] * band.max.terms[1] <= band.max.terms[0] * band.min.terms[1],
        ),
    )

    min: Annotated[Ratio, RATIO_RULE]
    """Fewest prefill replicas per decode replica, such as 1:4."""
    max: Annotated[Ratio, RATIO_RULE]
    """Most prefill replicas per decode replica, such as 3:1."""
