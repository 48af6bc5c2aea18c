"""One role between sizing and planning: the price of a miss, and the replicas that it should have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

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
from forebay.sizing.price import RoleModel, RolePrice, role_prices
from forebay.sizing.regret import Regret, RoleSituation, wanted, wanted_beside

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
class RoleSize:
    """One role with its curves and its price, before it is decided whether its replicas move."""

    basis: RoleBasis
    order: SizedCurve
    """Misses at the lead time."""
    release: SizedCurve
    """Misses of the highest demand until then."""
    price: RolePrice
    present: int
    """Replicas that pay at the present rate."""
    backlog: BacklogNeed

    @property
    def miss_price_replica_seconds(self) -> float:
        """Return the price of a miss in replica-seconds of the reference variant."""
        return self.price.price * self.basis.request_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDraft:
    """One role between sizing and planning; replicas are those of the reference variant."""

    size: RoleSize
    situation: RoleSituation
    wanted: float
    """Replicas that the role should have."""
    holds_back: bool
    """Whether the role would release some if it might."""

    @property
    def basis(self) -> RoleBasis:
        """Return what the role was sized from."""
        return self.size.basis

    @property
    def orders(self) -> bool:
        """Return whether the role wants more than it has."""
        return self.wanted > self.situation.count

    def need(self) -> RoleNeed:
        """Return what the planner is told: to have the replicas wanted, and what fewer of them would miss."""
        basis = self.basis
        return RoleNeed(
            role=basis.role,
            order=self.size.order.hull(),
            wanted=self.wanted,
            miss_price_replica_seconds=self.size.miss_price_replica_seconds,
            erlangs=self.size.order.erlangs,
            speed=tuple(basis.speed.items()),
            seconds_per_request=basis.seconds_per_request,
            must_have=max(self.size.present, self.size.backlog.order or 0),
        )


def role_sizes(pool: PoolBasis, found: Mapping[int, Curves]) -> dict[Role, RoleSize]:
    """Price a miss and size every role; ``found`` has the curves that their bases asked for, by the asks' id."""
    memory = pool.memory
    curves = {
        role: basis.curves.take(role, found, memory, basis.request_seconds) for role, basis in pool.roles.items()
    }
    models = {
        role: RoleModel(
            misses_at_prices=curves[role].misses_at_prices,
            misses_with_what_is=curves[role].order.misses_at(_ready(pool, basis)),
            requests_per_second=curves[role].order.erlangs / max(basis.seconds_per_request, 1e-12),
        )
        for role, basis in pool.roles.items()
    }
    prices = role_prices(
        memory.spending,
        models,
        target=pool.pool.slo.target,
        half_life=pool.pool.settings.budget_half_life_seconds,
        elapsed=memory.elapsed_seconds,
        seen=memory.seen_seconds,
    )
    sizes = {}
    for role, basis in pool.roles.items():
        price = prices[role].price * basis.request_seconds
        present = basis.curves.at_present(found).cheapest(price, at_least=basis.at_least)
        sizes[role] = RoleSize(
            basis=basis,
            order=curves[role].order,
            release=curves[role].release,
            price=prices[role],
            present=present,
            backlog=_backlog(pool, basis, present, price),
        )
    return sizes


def role_draft(pool: PoolBasis, size: RoleSize, *, held: bool) -> RoleDraft:
    """Decide what one role should have; ``held``: nothing of it may be released."""
    basis, memory, role = size.basis, pool.memory, size.basis.role
    hold = _reactive_hold(basis.forecast, basis.lead_seconds)
    peak = _reactive_peak(memory, role, size.present, pool.observed.at_seconds, basis.lead_seconds, hold)
    bought = sum(basis.speed[v.key] * pool.supplies[v.key].bought for v in pool.pool.of_role(role))
    requests = size.order.erlangs / max(basis.seconds_per_request, 1e-12)
    situation = RoleSituation(
        count=max(0.0, bought - pool.pool.settings.spare_replicas),
        order=size.order,
        release=size.release,
        price=size.miss_price_replica_seconds,
        allowed_misses_per_second=size.price.allowed_share * requests,
        requests_per_second=requests,
        lead_seconds=basis.lead_seconds,
        action_seconds=pool.pool.settings.action_cost_seconds,
        present=size.present,
        keep=peak if hold else 0,
        order_floor=max(size.backlog.order or 0, size.present if hold else 0),
        held=held,
        at_least=basis.at_least,
        seen=memory.seen_seconds,
    )
    found = wanted(memory.regrets.setdefault(role, Regret()), situation)
    return RoleDraft(size=size, situation=situation, wanted=found.replicas, holds_back=found.holds_back)


def ordered_together(drafts: Mapping[Role, RoleDraft], memory: PoolMemory) -> dict[Role, RoleDraft]:
    """Let roles order in the round in which another one does, where both need it: one alone serves nobody."""
    if not any(draft.orders for draft in drafts.values()):
        return dict(drafts)
    return {role: draft if draft.orders else _beside(draft, memory) for role, draft in drafts.items()}


def _beside(draft: RoleDraft, memory: PoolMemory) -> RoleDraft:
    found = wanted_beside(memory.regrets[draft.basis.role], draft.situation)
    return replace(draft, wanted=found.replicas) if found.replicas > draft.situation.count else draft


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


def _backlog(pool: PoolBasis, basis: RoleBasis, present: int, miss_price_replica_seconds: float) -> BacklogNeed:
    role, speed, observed = basis.role, basis.speed, pool.observed
    variants = pool.pool.of_role(role)
    waiting = _WAITING[ROLES[role].queue](observed)
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
        ready=_ready(pool, basis),
        starting=starting,
        lead_time_seconds=basis.lead_seconds,
        ttft_seconds=pool.pool.slo.ttft_seconds,
        miss_price_replica_seconds=miss_price_replica_seconds,
        present_need=present,
    )


def _ready(pool: PoolBasis, basis: RoleBasis) -> float:
    """Return the Ready replicas of a role, in those of its reference variant."""
    return sum(basis.speed[v.key] * pool.supplies[v.key].ready for v in pool.pool.of_role(basis.role))


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
