"""What each role of a pool is sized from: forecast, work per request, the curves it needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.decision import Reason, ReasonCode, Step
from forebay.flow.fleet import Fleet, Pool, Role, Variant, VariantKey
from forebay.flow.forecast import DemandForecast
from forebay.flow.observation import PoolObservation
from forebay.pipeline.prices import deciding_prices, unpriced_beside_priced
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.remember.performances import Believed, believed_performance, work_of
from forebay.pipeline.remember.turns import Turns
from forebay.pipeline.size.demand import RoleCurves, forecast_of, role_curves
from forebay.pipeline.size.reach import hopeless_shares, out_of_reach, within_reach
from forebay.pipeline.size.supply import Supply
from forebay.sizing.work import ReplicaWork

_LEAD_TOLERANCE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleBasis:
    """One role before its curves are computed."""

    role: Role
    reference: Variant
    """In whose replicas the role is counted."""
    believed: Mapping[VariantKey, Believed]
    speed: Mapping[VariantKey, float]
    """Capacity of one replica of each variant in replicas of the reference variant."""
    usd_per_replica_hour: Mapping[VariantKey, float]
    """The price by which each variant is decided on."""
    seconds_per_request: float
    request_seconds: float
    """Cost of one request in all roles, in replica-seconds of this one's reference."""
    at_least: int
    """Replicas below which the role does not go."""
    rate: float
    burstiness: float
    lead_seconds: float
    forecast: DemandForecast | None
    curves: RoleCurves

    @property
    def capacity_known(self) -> bool:
        """Return whether any variant of the role has a profile or was measured."""
        return any(belief.known for belief in self.believed.values())


def role_bases(
    fleet: Fleet,
    pool: Pool,
    observed: PoolObservation,
    memory: PoolMemory,
    supplies: Mapping[VariantKey, Supply],
    turns: Turns,
) -> tuple[dict[Role, RoleBasis], list[Reason]]:
    """Return what every role of the pool is sized from. The rate of arrivals must be known.

    Raises:
        ValueError: it is not.
    """
    rate = memory.window.now(pool.settings.rate_window_seconds)
    if rate is None:
        raise ValueError("arrivals are unknown")
    reasons = _price_reasons(fleet, pool)
    believed = {variant.key: believed_performance(pool, variant, memory) for variant in pool.variants}
    memory.hopeless_shares = hopeless_shares(pool, believed, memory)
    sized = within_reach(pool, believed, memory)
    if sized is not pool:
        believed = {variant.key: believed_performance(sized, variant, memory) for variant in pool.variants}
    works = {name: work_of(sized, belief, memory) for name, belief in believed.items()}
    references = {role: _reference(pool, role, believed) for role in pool.roles}
    speed = {v.key: _speed(v, references[v.role], v.role, believed, works) for v in pool.variants}
    usd = deciding_prices(fleet, pool)
    usd_per_capacity = {key: usd[key] / max(speed[key], 1e-9) for key in usd}
    costs = _request_costs(usd_per_capacity, pool, references, works, supplies)
    burstiness = memory.burstiness.value
    bases = {}
    for role in pool.roles:
        reference, variants = references[role], pool.of_role(role)
        work = works[reference.key]
        lead = _lead_time(pool, role, observed, memory, supplies, usd_per_capacity)
        forecast = forecast_of(pool, memory, lead, observed.at_seconds, turns)
        bases[role] = RoleBasis(
            role=role,
            reference=reference,
            believed={v.key: believed[v.key] for v in variants},
            speed={v.key: speed[v.key] for v in variants},
            usd_per_replica_hour={v.key: usd[v.key] for v in variants},
            seconds_per_request=work.seconds(role),
            request_seconds=costs[role],
            at_least=1 if rate > 0.0 or any(v.min_replicas > 0 for v in variants) else 0,
            rate=rate,
            burstiness=burstiness,
            lead_seconds=lead,
            forecast=forecast,
            curves=role_curves(sized, role, forecast, rate, burstiness, work, memory),
        )
        reasons.extend(_capacity_reasons(pool, role, believed))
    return bases, [*reasons, *out_of_reach(pool, believed, memory)]


def _reference(pool: Pool, role: Role, believed: Mapping[VariantKey, Believed]) -> Variant:
    """Return the variant in whose replicas the role is counted: the first whose capacity is known."""
    variants = pool.of_role(role)
    return next((variant for variant in variants if believed[variant.key].known), variants[0])


def _request_costs(
    usd_per_capacity: Mapping[VariantKey, float],
    pool: Pool,
    references: Mapping[Role, Variant],
    works: Mapping[VariantKey, ReplicaWork],
    supplies: Mapping[VariantKey, Supply],
) -> dict[Role, float]:
    """Return what one request costs in all roles together, in replica-seconds of each role's reference variant.

    The sum is taken in money, so that roles whose replicas differ in price share one price of a miss. A role costs
    what its cheapest variant that can grow costs for the same work.
    """
    usd = {}
    for role in references:
        variants = pool.of_role(role)
        can_grow = [v for v in variants if supplies[v.key].blocked is None and supplies[v.key].frozen is None]
        usd[role] = min(usd_per_capacity[v.key] for v in can_grow or variants)
    request = sum(usd[role] * works[variant.key].seconds(role) for role, variant in references.items())
    return {role: request / usd[role] for role in references}


def _price_reasons(fleet: Fleet, pool: Pool) -> list[Reason]:
    return [
        Reason(
            step=Step.SIZE,
            code=ReasonCode.PRICE_UNKNOWN,
            message=f"prices are ignored, since that of variant {variant.key} is not known",
        )
        for variant in unpriced_beside_priced(fleet, pool)
    ]


def _capacity_reasons(pool: Pool, role: Role, believed: Mapping[VariantKey, Believed]) -> list[Reason]:
    reasons = []
    for variant in pool.of_role(role):
        belief = believed[variant.key]
        if not belief.known:
            message = (
                f"capacity of variant {variant.key} is not known yet: it has no profile and no measured traffic"
            )
            reasons.append(Reason(step=Step.SIZE, code=ReasonCode.CAPACITY_UNKNOWN, message=message, role=role))
        for beyond in belief.beyond:
            message = f"variant {variant.key}: {beyond}; capacity there is assumed low"
            reasons.append(Reason(step=Step.SIZE, code=ReasonCode.BEYOND_PROFILE, message=message, role=role))
    return reasons


def _speed(
    variant: Variant,
    reference: Variant,
    role: Role,
    believed: Mapping[VariantKey, Believed],
    works: Mapping[VariantKey, ReplicaWork],
) -> float:
    """Return the capacity of one replica in replicas of the reference; a GPU never measured is as good as its."""
    if not believed[variant.key].known:
        return variant.gpus_per_replica / reference.gpus_per_replica
    return works[reference.key].seconds(role) / max(works[variant.key].seconds(role), 1e-9)


def _lead_time(
    pool: Pool,
    role: Role,
    observed: PoolObservation,
    memory: PoolMemory,
    supplies: Mapping[VariantKey, Supply],
    usd_per_capacity: Mapping[VariantKey, float],
) -> float:
    """Return the lead time of the variant that would be bought: the cheapest for its work that can grow.

    A measured lead time that moves by less than 15 % keeps the horizon, so that forecasts stay comparable.
    """
    variants = pool.of_role(role)
    growing = [
        v
        for v in variants
        if supplies[v.key].blocked is None
        and supplies[v.key].frozen is None
        and supplies[v.key].desired < v.max_replicas
    ]
    chosen = min(growing or variants, key=lambda variant: usd_per_capacity[variant.key])
    seen = observed.variant(chosen.key)
    measured = seen.lead_time_seconds if seen is not None else chosen.start_up_seconds or 120.0
    kept = memory.leads.get(role)
    if kept is None or abs(measured - kept) > _LEAD_TOLERANCE * kept:
        memory.leads[role] = kept = measured
    return kept
