"""What each role of a pool needs: miss curves at the horizon and up to it, floors, and the price of a miss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.decision import Reason
from forebay.flow.fleet import Fleet, Pool, Role, Variant
from forebay.flow.forecast import DemandForecast
from forebay.flow.observation import PoolObservation
from forebay.flow.sizing import RoleNeed
from forebay.pipeline.demand import curves_of, forecast_of
from forebay.pipeline.memory import PoolMemory
from forebay.pipeline.performances import Believed, believed_performance, work_of
from forebay.pipeline.prices import usd_per_replica_hour
from forebay.pipeline.supply import Supply
from forebay.pipeline.turns import Turns
from forebay.sizing.backlog import BacklogNeed, backlog_need
from forebay.sizing.budget import price_factor
from forebay.sizing.curve import SizedCurve, certain, miss_curve
from forebay.sizing.work import ReplicaWork

_REACTIVE_HOLD_SECONDS = 300.0
"""Without a forecast, capacity is released only down to the highest present need of the last five minutes."""
_YOUNG_FORECASTS = 20
_YOUNG_HOLD_SECONDS = 480.0
"""The same, of the last eight minutes, until so many forecasts were scored: a forecaster that has seen one burst
does not know yet that bursts come back."""
_HOLD_LEAD_TIMES = 12.0
"""And of no more than so many lead times: where capacity is back within seconds, a long hold only costs."""
_UNSEEN_SHARE = 0.2
"""Rounds farther apart than this share of the hold had a time between them in which nothing was seen."""
_LEAD_TOLERANCE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDraft:
    """One role between sizing and planning."""

    role: Role
    order_alone: int
    """Replicas of the reference variant to order at least, for the demand at the lead time."""
    release_alone: int
    """Replicas above which capacity is released: the need of the highest demand on the way there."""
    order_floor: float
    release_floor: float
    miss_price_replica_seconds: float
    release_price_factor: float
    seconds_per_request: float
    speed: Mapping[str, float]
    """Capacity of one replica of each variant in replicas of the reference variant."""
    reference: Variant
    believed: Mapping[str, Believed]
    order: SizedCurve
    release: SizedCurve
    backlog: BacklogNeed
    forecast: DemandForecast | None
    lead_seconds: float
    rate: float
    burstiness: float
    current: int
    """Replicas of the role that its targets are set to now."""

    @property
    def capacity_known(self) -> bool:
        """Return whether any variant of the role has a profile or was measured."""
        return any(belief.known for belief in self.believed.values())

    def need(self) -> RoleNeed:
        """Return what the planner is told."""
        return RoleNeed(
            role=self.role,
            order=self.order.hull(),
            release=self.release.hull(self.release_price_factor),
            order_floor=self.order_floor,
            release_floor=self.release_floor,
            order_alone=self.order_alone,
            release_alone=self.release_alone,
            miss_price_replica_seconds=self.miss_price_replica_seconds,
            erlangs=self.order.erlangs,
            speed=tuple(self.speed.items()),
            seconds_per_request=self.seconds_per_request,
        )


def role_drafts(
    fleet: Fleet,
    pool: Pool,
    observed: PoolObservation,
    memory: PoolMemory,
    supplies: Mapping[str, Supply],
    turns: Turns,
) -> tuple[dict[Role, RoleDraft], list[Reason]]:
    """Size every role of the pool. The rate of arrivals must be known."""
    rate = memory.window.now(pool.settings.rate_window_seconds)
    if rate is None:
        raise ValueError("arrivals are unknown")
    reasons: list[Reason] = []
    believed = {variant.name: believed_performance(pool, variant, memory) for variant in pool.variants}
    works = {name: work_of(pool, belief, memory) for name, belief in believed.items()}
    references = {role: _reference(pool, role, believed) for role in pool.roles}
    prices = _miss_prices(fleet, pool, memory, references, works)
    drafts = {}
    for role in pool.roles:
        drafts[role] = _draft(
            pool, role, references[role], observed, memory, supplies, believed, works, rate, prices[role], turns
        )
        reasons.extend(_capacity_reasons(pool, role, believed))
    return drafts, reasons


def _reference(pool: Pool, role: Role, believed: Mapping[str, Believed]) -> Variant:
    """Return the variant in whose replicas the role is counted: the first whose capacity is known."""
    variants = pool.of_role(role)
    return next((variant for variant in variants if believed[variant.name].known), variants[0])


def _miss_prices(
    fleet: Fleet,
    pool: Pool,
    memory: PoolMemory,
    references: Mapping[Role, Variant],
    works: Mapping[str, ReplicaWork],
) -> dict[Role, float]:
    """Return the price of a missed request per role, in replica-seconds of its reference variant.

    A miss costs ``miss_price`` times what one request costs in all roles together, steered by the error budget.
    The sum is taken in money, so that roles whose replicas differ in price share one price of a miss.
    """
    cost = {role: usd_per_replica_hour(fleet, variant) for role, variant in references.items()}
    request = sum(cost[role] * works[variant.name].seconds(role) for role, variant in references.items())
    error = memory.budget.error(target=pool.slo.target, settings=pool.settings)
    miss = pool.settings.miss_price * price_factor(error, pool.settings) * request
    return {role: miss / cost[role] for role in references}


def _draft(
    pool: Pool,
    role: Role,
    reference: Variant,
    observed: PoolObservation,
    memory: PoolMemory,
    supplies: Mapping[str, Supply],
    believed: Mapping[str, Believed],
    works: Mapping[str, ReplicaWork],
    rate: float,
    price: float,
    turns: Turns,
) -> RoleDraft:
    settings, work = pool.settings, works[reference.name]
    seconds = work.seconds(role)
    variants = pool.of_role(role)
    speed = {v.name: _speed(v, reference, role, believed, works) for v in variants}
    lead = _lead_time(pool, role, observed, memory, supplies)
    burstiness = memory.burstiness.value
    forecast = forecast_of(pool, memory, lead, observed.at_seconds, turns)
    curves = curves_of(pool, role, forecast, rate, burstiness, work, memory)
    least = 1 if sum(v.min_replicas for v in variants) > 0 or rate > 0.0 else 0
    present = miss_curve(role, certain(rate), burstiness, work, pool.slo).cheapest(price, at_least=least)
    backlog = _backlog(pool, role, observed, supplies, speed, seconds, rate, lead, price, present)
    order_floor, release_floor = float(present), float(present)
    if forecast is not None:
        order_floor = max(order_floor, forecast.at_horizon.q90 * seconds / settings.q90_utilisation_limit)
        release_floor = max(release_floor, forecast.maximum.q90 * seconds / settings.q90_utilisation_limit)
    hold = _reactive_hold(forecast, lead)
    release_floor = max(
        release_floor, float(_reactive_peak(memory, role, present, observed.at_seconds, lead, hold))
    )
    if backlog.order is not None:
        order_floor = max(order_floor, float(backlog.order))
    order_alone = max(curves.order.cheapest(price, at_least=least), _ceil(order_floor))
    release_price = settings.release_price_factor * price
    release_alone = max(curves.release.cheapest(release_price, at_least=least), _ceil(release_floor), order_alone)
    return RoleDraft(
        role=role,
        order_alone=order_alone,
        release_alone=release_alone,
        order_floor=order_floor,
        release_floor=max(release_floor, order_floor),
        miss_price_replica_seconds=price,
        release_price_factor=settings.release_price_factor,
        seconds_per_request=seconds,
        speed=speed,
        reference=reference,
        believed={v.name: believed[v.name] for v in variants},
        order=curves.order,
        release=curves.release,
        backlog=backlog,
        forecast=forecast,
        lead_seconds=lead,
        rate=rate,
        burstiness=burstiness,
        current=sum(supplies[v.name].desired for v in variants),
    )


def _speed(
    variant: Variant,
    reference: Variant,
    role: Role,
    believed: Mapping[str, Believed],
    works: Mapping[str, ReplicaWork],
) -> float:
    """Return the capacity of one replica in replicas of the reference; a GPU never measured is as good as its."""
    if not believed[variant.name].known:
        return variant.gpus_per_replica / reference.gpus_per_replica
    return works[reference.name].seconds(role) / max(works[variant.name].seconds(role), 1e-9)


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-9)


def _lead_time(
    pool: Pool, role: Role, observed: PoolObservation, memory: PoolMemory, supplies: Mapping[str, Supply]
) -> float:
    """Return the lead time of the variant that would be added: the first that can grow.

    A measured lead time that moves by less than 15 % keeps the horizon, so that forecasts stay comparable.
    """
    variants = pool.of_role(role)
    growing = [
        v
        for v in variants
        if supplies[v.name].blocked is None
        and supplies[v.name].frozen is None
        and supplies[v.name].desired < v.max_replicas
    ]
    chosen = (growing or list(variants))[0]
    seen = observed.variant(chosen.name)
    measured = seen.lead_time_seconds if seen is not None else chosen.start_up_seconds or 120.0
    kept = memory.leads.get(role)
    if kept is None or abs(measured - kept) > _LEAD_TOLERANCE * kept:
        memory.leads[role] = kept = measured
    return kept


def _reactive_hold(forecast: DemandForecast | None, lead_seconds: float) -> float:
    """Return for how long capacity that was needed is kept, whatever is expected."""
    longest = _HOLD_LEAD_TIMES * lead_seconds
    if forecast is None:
        return min(_REACTIVE_HOLD_SECONDS, longest)
    young = forecast.score is not None and forecast.score.scored < _YOUNG_FORECASTS
    return min(_YOUNG_HOLD_SECONDS, longest) if young else 0.0


def _reactive_peak(
    memory: PoolMemory, role: Role, present: int, at_seconds: float, lead_seconds: float, hold_seconds: float
) -> int:
    """Return the highest present need of the last ``hold_seconds``.

    It is remembered while forecasts decide, too, since these may end any time, and a time in which nothing was
    seen does not count. Only needs are kept that none after them reached, the oldest and highest first.
    """
    longest = min(_YOUNG_HOLD_SECONDS, _HOLD_LEAD_TIMES * lead_seconds)
    peaks = memory.reactive_peaks.setdefault(role, [])
    unseen = at_seconds - peaks[-1][0] if peaks else 0.0
    if unseen > _UNSEEN_SHARE * longest:
        peaks[:] = [(seen + unseen, need) for seen, need in peaks]
    while peaks and peaks[-1][1] <= present:
        peaks.pop()
    peaks.append((at_seconds, present))
    while at_seconds - peaks[0][0] > longest:
        del peaks[0]
    return next(need for seen, need in peaks if at_seconds - seen <= hold_seconds)


def _backlog(
    pool: Pool,
    role: Role,
    observed: PoolObservation,
    supplies: Mapping[str, Supply],
    speed: Mapping[str, float],
    seconds: float,
    rate: float,
    lead: float,
    price: float,
    present: int,
) -> BacklogNeed:
    waiting = observed.waiting_decode if role is Role.DECODE else _savable(observed)
    ready = sum(speed[v.name] * supplies[v.name].ready for v in pool.of_role(role))
    starting: list[float] = []
    for variant in pool.of_role(role):
        seen = observed.variant(variant.name)
        if seen is not None and supplies[variant.name].blocked is None:
            starting.extend(r.expected_ready_seconds - observed.at_seconds for r in seen.starting)
    return backlog_need(
        waiting=waiting or 0.0,
        seconds_per_request=seconds,
        rate=rate,
        ready=ready,
        ready_in_seconds=starting,
        lead_time_seconds=lead,
        ttft_seconds=pool.slo.ttft_seconds,
        miss_price_replica_seconds=price,
        present_need=present,
    )


def _savable(observed: PoolObservation) -> float | None:
    """Return the requests before prefill that more capacity can still save."""
    if observed.waiting_prefill is None or observed.waiting_late is None:
        return observed.waiting_prefill
    return max(0.0, observed.waiting_prefill - observed.waiting_late)


def _capacity_reasons(pool: Pool, role: Role, believed: Mapping[str, Believed]) -> list[Reason]:
    reasons = []
    for variant in pool.of_role(role):
        belief = believed[variant.name]
        if not belief.known:
            message = (
                f"capacity of variant {variant.name} is not known yet: it has no profile and no measured traffic"
            )
            reasons.append(Reason(step="size", code="CapacityUnknown", message=message, role=role))
        for beyond in belief.beyond:
            message = f"variant {variant.name}: {beyond}; capacity there is assumed low"
            reasons.append(Reason(step="size", code="BeyondProfile", message=message, role=role))
    return reasons
