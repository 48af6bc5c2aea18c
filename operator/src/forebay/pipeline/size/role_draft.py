"""One role between sizing and planning: its floors, and the replicas to order and to keep by its miss curves."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forebay.flow.fleet import Role
from forebay.flow.forecast import DemandForecast
from forebay.flow.observation import PoolObservation
from forebay.flow.roles import ROLES, Queue
from forebay.flow.sizing import RoleNeed
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.pool_basis import PoolBasis
from forebay.pipeline.size.role_basis import RoleBasis
from forebay.sizing.backlog import BacklogNeed, backlog_need
from forebay.sizing.curve import Curves, SizedCurve

_REACTIVE_HOLD_SECONDS = 300.0
"""Without a forecast, capacity is released only down to the highest present need of the last five minutes."""
_YOUNG_FORECASTS = 20
_YOUNG_HOLD_SECONDS = 480.0
"""The same, of the last eight minutes, until so many forecasts were scored: a forecaster that has seen one burst
does not know yet that bursts come back."""
_HOLD_LEAD_TIMES = 12.0
"""And of no more than so many lead times: where capacity is back within seconds, a long hold only costs."""
_UNSEEN_SHARE = 0.2
_UNSEEN_ROUNDS = 2.5
"""Rounds farther apart than this share of the hold, and than so many usual ones, had a time between them in which
nothing was seen."""
_SLOWING = 1.1
"""Rounds that come more slowly are taken for the usual ones by this factor a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDraft:
    """One role between sizing and planning."""

    basis: RoleBasis
    order_alone: int
    """Replicas of the reference variant to order at least, for the demand at the lead time."""
    release_alone: int
    """Replicas above which capacity is released: the need of the highest demand on the way there."""
    order_floor: float
    release_floor: float
    release_price_factor: float
    order: SizedCurve
    release: SizedCurve
    backlog: BacklogNeed
    current: int
    """Replicas of the role that its targets are set to now."""

    def need(self) -> RoleNeed:
        """Return what the planner is told."""
        basis = self.basis
        return RoleNeed(
            role=basis.role,
            order=self.order.hull(),
            release=self.release.hull(self.release_price_factor),
            order_floor=self.order_floor,
            release_floor=self.release_floor,
            order_alone=self.order_alone,
            release_alone=self.release_alone,
            miss_price_replica_seconds=basis.miss_price_replica_seconds,
            erlangs=self.order.erlangs,
            speed=tuple(basis.speed.items()),
            seconds_per_request=basis.seconds_per_request,
        )


def role_draft(pool: PoolBasis, basis: RoleBasis, found: Mapping[int, Curves]) -> RoleDraft:
    """Size one role of a pool; ``found`` has the curves that its basis asked for, by the asks' id."""
    settings, role, price, least = pool.pool.settings, basis.role, basis.miss_price_replica_seconds, basis.at_least
    forecast, seconds = basis.forecast, basis.seconds_per_request
    present = found[id(basis.curves.present)][0].cheapest(price, at_least=least)
    curves = basis.curves.take(role, found, pool.memory)
    backlog = _backlog(pool, basis, present)
    order_floor, release_floor = float(present), float(present)
    if forecast is not None:
        order_floor = max(order_floor, forecast.at_horizon.q90 * seconds / settings.q90_utilisation_limit)
        release_floor = max(release_floor, forecast.maximum.q90 * seconds / settings.q90_utilisation_limit)
    hold = _reactive_hold(forecast, basis.lead_seconds)
    peak = _reactive_peak(pool.memory, role, present, pool.observed.at_seconds, basis.lead_seconds, hold)
    release_floor = max(release_floor, float(peak))
    if backlog.order is not None:
        order_floor = max(order_floor, float(backlog.order))
    order_alone = max(curves.order.cheapest(price, at_least=least), _ceil(order_floor))
    release_price = settings.release_price_factor * price
    release_alone = max(curves.release.cheapest(release_price, at_least=least), _ceil(release_floor), order_alone)
    return RoleDraft(
        basis=basis,
        order_alone=order_alone,
        release_alone=release_alone,
        order_floor=order_floor,
        release_floor=max(release_floor, order_floor),
        release_price_factor=settings.release_price_factor,
        order=curves.order,
        release=curves.release,
        backlog=backlog,
        current=sum(pool.supplies[v.key].desired for v in pool.pool.of_role(role)),
    )


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-9)


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
    usual = _usual_round(memory, role, unseen) if peaks else 0.0
    if unseen > max(_UNSEEN_SHARE * longest, _UNSEEN_ROUNDS * usual):
        peaks[:] = [(seen + unseen, need) for seen, need in peaks]
    while peaks and peaks[-1][1] <= present:
        peaks.pop()
    peaks.append((at_seconds, present))
    while at_seconds - peaks[0][0] > longest:
        del peaks[0]
    return next(need for seen, need in peaks if at_seconds - seen <= hold_seconds)


def _usual_round(memory: PoolMemory, role: Role, seconds: float) -> float:
    """Return the time between two rounds as it was before the last one, which took ``seconds``."""
    before = memory.usual_round_seconds.get(role, seconds)
    memory.usual_round_seconds[role] = min(seconds, max(_SLOWING * before, 1.0))
    return before


def _backlog(pool: PoolBasis, basis: RoleBasis, present: int) -> BacklogNeed:
    role, speed, observed = basis.role, basis.speed, pool.observed
    variants = pool.pool.of_role(role)
    waiting = _WAITING[ROLES[role].queue](observed)
    ready = sum(speed[v.key] * pool.supplies[v.key].ready for v in variants)
    starting: list[tuple[float, float]] = []
    for variant in variants:
        seen = observed.variant(variant.key)
        if seen is not None and pool.supplies[variant.key].blocked is None:
            starting.extend(
                (r.expected_ready_seconds - observed.at_seconds, speed[variant.key]) for r in seen.starting
            )
    return backlog_need(
        waiting=waiting or 0.0,
        seconds_per_request=basis.seconds_per_request,
        rate=basis.rate,
        ready=ready,
        starting=starting,
        lead_time_seconds=basis.lead_seconds,
        ttft_seconds=pool.pool.slo.ttft_seconds,
        miss_price_replica_seconds=basis.miss_price_replica_seconds,
        present_need=present,
    )


def _savable(observed: PoolObservation) -> float | None:
    """Return the requests before prefill that more capacity can still save."""
    if observed.waiting_prefill is None or observed.waiting_late is None:
        return observed.waiting_prefill
    return max(0.0, observed.waiting_prefill - observed.waiting_late)


_WAITING: Mapping[Queue, Callable[[PoolObservation], float | None]] = {
    Queue.PREFILL: _savable,
    Queue.DECODE: lambda observed: observed.waiting_decode,
}
"""Requests in each queue that more capacity can still save."""
