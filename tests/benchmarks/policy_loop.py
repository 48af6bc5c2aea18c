"""One case of the policy benchmark in a closed loop with the simulated fleet, request by request."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forebay.flow.decision import PoolDecision
from forebay.flow.fleet import Fleet, Pool, PoolKey, Role, Variant, VariantKey
from forebay.flow.observation import FleetObservation, PoolObservation
from forebay.flow.performance import Performance
from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.simulation import QueueOrder, SimulatedPool, SimulationOptions, SimulationResult, StartUp
from forebay.pipeline import FleetState, decide
from tests.benchmarks.policy_traces import Case

KEY = PoolKey("bench", "chat")
ROLES = (Role.PREFILL, Role.DECODE)
NOT_SCORED_SECONDS = 60.0
_BUSY_SHARE = 0.2
BoolArray = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to."""

    cost: float
    """Replica-hours, each times its price."""
    attained: float
    """Of the requests that an idle system could serve in time."""
    worst_hour: float
    """The same in the worst clock hour that has at least a fifth of the mean number of requests."""
    worst_minutes: float
    """The same in the worst such ten minutes."""
    actions_per_hour: float
    """Changes of a role's replica count, both roles together."""
    ordered_per_hour: float
    cancelled_per_hour: float
    """Replicas taken back before they were ready."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may differ from the plain case."""

    slower: float = 1.0
    """The policy believes replicas to be this much slower than they are (below 1: faster)."""
    learned: bool = False
    """The policy has no profile."""
    serve: bool = False
    """One role: every replica prefills and decodes."""
    order: QueueOrder = QueueOrder.FIFO

    def believed(self, true: Performance) -> Performance | None:
        """Return the profile that the policy is told."""
        if self.learned:
            return None
        return replace(
            true,
            prefill_base_seconds=self.slower * true.prefill_base_seconds,
            prefill_seconds_per_token=self.slower * true.prefill_seconds_per_token,
            decode_base_seconds=self.slower * true.decode_base_seconds,
            decode_seconds_per_sequence=self.slower * true.decode_seconds_per_sequence,
            decode_seconds_per_kv_token=self.slower * true.decode_seconds_per_kv_token,
        )


def run_case(
    case: Case,
    *,
    start_up_seconds: float,
    target: float = 0.99,
    settings: PolicySettings | None = None,
    options: Options | None = None,
) -> Outcome:
    """Run the policy over ``case`` with the objective that ``target`` of all requests are in time."""
    settings, options = settings or PolicySettings(), options or Options()
    case = replace(case, slo=replace(case.slo, target=target))
    roles = (Role.SERVE,) if options.serve else ROLES
    pool = pool_of(case, options.believed(case.performance), start_up_seconds, roles, settings)
    initial = initial_fleet(case, roles)
    simulated = SimulatedPool(
        pool,
        case.trace,
        initial=initial,
        performance=dict.fromkeys(initial, case.performance),
        start_up=dict.fromkeys(initial, StartUp.fixed(start_up_seconds)),
        options=SimulationOptions(queue_order=options.order),
    )
    fleet, state = Fleet(pools={KEY: pool}, node_pools={}), _warm_state(pool, case.trace, start_up_seconds)
    rounds = math.ceil(case.trace.span_seconds / settings.interval_seconds)
    orders = Orders()
    for number in range(1, rounds + 1):
        simulated.run_until(number * settings.interval_seconds)
        seen = FleetObservation(at_seconds=simulated.now_seconds, pools={KEY: simulated.observe()})
        decision = decide(fleet, seen, state).pools[KEY]
        orders.count(seen.pools[KEY], decision)
        simulated.scale({variant.key: variant.desired for variant in decision.variants})
    return outcome_of(case, simulated.result(), pool, orders)


_warmed: list[tuple[FloatArray, float, FleetState]] = []
"""The last history with the state that it was learned into: the objectives of a case begin with copies of it."""


def _warm_state(pool: Pool, trace: RequestTrace, start_up_seconds: float) -> FleetState:
    """Return the state of a pool that has learned from the history of ``trace``."""
    history = trace.history_requests_per_minute
    if history is None:
        return FleetState()
    if not (_warmed and _warmed[0][0] is history and _warmed[0][1] == start_up_seconds):
        state = FleetState()
        state.warm_start(
            pool, requests_per_minute=history, end_seconds=0.0, lead_times_seconds=(start_up_seconds,)
        )
        _warmed[:] = [(history, start_up_seconds, state)]
    return copy.deepcopy(_warmed[0][2])


@dataclass(slots=True)
class Orders:
    """Replicas that were ordered, and those that were taken back before they were ready."""

    ordered: int = 0
    cancelled: int = 0

    def count(self, seen: PoolObservation, decision: PoolDecision) -> None:
        """Take one decision. What starts is taken back first, as a ReplicaSet does."""
        for variant in decision.variants:
            sight = seen.variant(variant.key)
            starting = 0 if sight is None else len(sight.starting)
            self.ordered += max(0, variant.desired - variant.current)
            self.cancelled += min(starting, max(0, variant.current - variant.desired))


def pool_of(
    case: Case,
    believed: Performance | None,
    start_up_seconds: float,
    roles: Sequence[Role],
    settings: PolicySettings | None = None,
) -> Pool:
    """Return the pool of a case: one variant per role."""
    variants = tuple(
        Variant(
            name=role.value,
            role=role,
            max_replicas=1000,
            performance=believed,
            start_up_seconds=start_up_seconds,
            usd_per_replica_hour=case.usd_per_replica_hour.get(role, 1.0),
        )
        for role in roles
    )
    return Pool(key=KEY, slo=case.slo, variants=variants, settings=settings or PolicySettings())


def initial_fleet(case: Case, roles: Sequence[Role]) -> dict[VariantKey, int]:
    """Return the fleet for 1.2 times the busiest minute of the first half hour at 80 % use."""
    trace, performance = case.trace, case.performance
    early = trace.arrival_seconds[trace.arrival_seconds < 1800.0]
    rate = 1.2 * float(np.bincount((early // 60.0).astype(np.int64)).max()) / 60.0
    first = len(early)
    prefill = performance.prefill_seconds(float(trace.input_tokens[:first].mean()))
    output = float(trace.output_tokens[:first].mean())
    context = float(trace.input_tokens[:first].mean()) + 0.9 * output
    slope = performance.decode_seconds_per_sequence + performance.decode_seconds_per_kv_token * context
    batch = (case.slo.itl_seconds - performance.decode_base_seconds) / slope
    batch = min(0.97 * performance.max_batch, 0.9 * performance.kv_capacity_tokens / context, batch)
    decode = output * performance.decode_step_seconds(batch, batch * context) / batch
    if Role.SERVE in roles:
        return {VariantKey(Role.SERVE, "serve"): math.ceil(rate * (prefill + decode) / 0.8)}
    seconds = {Role.PREFILL: prefill, Role.DECODE: decode}
    return {VariantKey(role, role.value): math.ceil(rate * seconds[role] / 0.8) for role in roles}


def outcome_of(case: Case, result: SimulationResult, pool: Pool, orders: Orders) -> Outcome:
    """Return what one run came to."""
    trace, slo = case.trace, case.slo
    scored = trace.arrival_seconds < trace.span_seconds - NOT_SCORED_SECONDS
    prefill = (
        case.performance.prefill_base_seconds + case.performance.prefill_seconds_per_token * trace.input_tokens
    )
    servable = (prefill <= slo.ttft_seconds) & scored
    met = (result.ttft_seconds <= slo.ttft_seconds) & (result.itl_seconds <= slo.itl_seconds) & scored
    hours = trace.span_seconds / 3600.0
    usd = {v.key: v.usd_per_replica_hour or 0.0 for v in pool.variants}
    return Outcome(
        cost=sum(usd[name] * seconds for name, seconds in result.replica_seconds.items()) / 3600.0,
        attained=float(met.sum() / servable.sum()),
        worst_hour=_worst(trace.arrival_seconds, servable, met, 3600.0),
        worst_minutes=_worst(trace.arrival_seconds, servable, met, 600.0),
        actions_per_hour=len(result.actions) / hours,
        ordered_per_hour=orders.ordered / hours,
        cancelled_per_hour=orders.cancelled / hours,
    )


def _worst(arrivals: FloatArray, servable: BoolArray, met: BoolArray, seconds: float) -> float:
    """Return the least share that met the objective in windows that are not nearly empty."""
    window = (arrivals // seconds).astype(np.int64)
    could = np.bincount(window[servable])
    did = np.bincount(window[met & servable], minlength=len(could))
    busy = could >= _BUSY_SHARE * could.mean()
    return float((did[busy] / could[busy]).min())
