"""Run one policy over one scenario in a closed loop: its orders change what it sees."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from forebay.flow.decision import FleetDecision
from forebay.flow.fleet import NodePool, PoolKey, VariantKey
from forebay.flow.observation import FleetObservation, NodePoolObservation, PoolObservation
from forebay.flow.trace import FloatArray, IntArray
from forebay.offline.replay.loop.policy import Forebay, ReplayPolicy
from forebay.offline.replay.loop.scenario import DRAIN_SECONDS, Scenario
from forebay.offline.simulation import (
    GpuSupply,
    NodeBill,
    NodeFleet,
    PlacedReplica,
    SimulatedPool,
    SimulationOptions,
    SimulationResult,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolTimeline:
    """One pool over time, one entry per tick."""

    at_seconds: FloatArray
    arrivals: FloatArray
    """Requests since the tick before."""
    waiting: FloatArray
    """Requests that wait for their prefill or for a decode slot."""
    ready: Mapping[VariantKey, IntArray]
    supply: Mapping[VariantKey, IntArray]
    """Ready and starting replicas per variant."""
    desired: Mapping[VariantKey, IntArray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyRun:
    """What one policy did and what it came to."""

    policy: str
    knob: float | None
    results: Mapping[PoolKey, SimulationResult]
    timelines: Mapping[PoolKey, PoolTimeline]
    decisions: tuple[FleetDecision, ...]
    """Decisions that changed something or said something new; only for policies that give reasons."""
    node_bills: Mapping[str, NodeBill] = field(default_factory=dict)
    """By node pool, where the scenario has nodes."""
    wall_seconds: float = 0.0


def run(
    scenario: Scenario,
    policy: ReplayPolicy,
    *,
    name: str,
    knob: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> PolicyRun:
    """Replay ``scenario`` under ``policy``.

    Everybody is billed until the last arrival, however long the policy's interval is.

    Args:
        scenario: fleet and traffic.
        policy: a fresh instance.
        name: what the report calls it.
        knob: the setting of its main knob, if it has one.
        progress: told the share that is done, now and then.
    """
    capacity = scenario.new_capacity()
    # Only Forebay parks replicas: a released replica of other autoscalers goes at once.
    parks = scenario.options.parks and isinstance(policy, Forebay)
    options = replace(scenario.options, parks=parks)
    pools = {key: _simulated(scenario, key, capacity, options) for key in scenario.traces}
    recorders = {key: _Recorder() for key in pools}
    decisions: list[FleetDecision] = []
    ticks = math.ceil(scenario.span_seconds / policy.interval_seconds)
    for tick in range(1, ticks):
        now = tick * policy.interval_seconds
        seen_pools = {key: _seen(pool, now) for key, pool in pools.items()}
        replicas = [replica for pool in pools.values() for replica in pool.placed()]
        seen = FleetObservation(
            at_seconds=now,
            pools=seen_pools,
            node_pools={
                node_pool.name: _node_pool_seen(node_pool, capacity, replicas, now)
                for node_pool in scenario.fleet.node_pools.values()
            },
        )
        wanted = policy.tick(seen)
        decided = policy.last if isinstance(policy, Forebay) else None
        emptying = decided.emptying if decided is not None else frozenset()
        for key, targets in wanted.items():
            pools[key].scale(targets, emptying)
            if decided is not None:
                pools[key].free(name for variant in decided.pools[key].variants for name in variant.freed)
        if isinstance(capacity, NodeFleet):
            capacity.hold(_warm_nodes(scenario, decided), now)
        for key, recorder in recorders.items():
            recorder.record(seen.pools[key], wanted.get(key, {}))
        if decided is not None:
            _keep(decisions, decided)
        if progress is not None and tick % 20 == 0:
            progress(tick / ticks)
    for key, pool in pools.items():
        recorders[key].record(_seen(pool, scenario.span_seconds), {})
    bills = node_bills(capacity, scenario.span_seconds)
    return PolicyRun(
        policy=name,
        knob=knob,
        results={key: pool.finish(DRAIN_SECONDS) for key, pool in pools.items()},
        timelines={key: recorder.timeline() for key, recorder in recorders.items()},
        decisions=tuple(decisions),
        node_bills=bills,
    )


def node_bills(capacity: GpuSupply | NodeFleet, until_seconds: float) -> dict[str, NodeBill]:
    """Return the bill of every node pool; nothing where there are no nodes."""
    if not isinstance(capacity, NodeFleet):
        return {}
    return {name: capacity.record(name, until_seconds).bill(until_seconds) for name in capacity.names}


def _warm_nodes(scenario: Scenario, decided: FleetDecision | None) -> Mapping[str, int]:
    """Return the free nodes to hold; a policy that does not decide on them holds what the node pools say."""
    if decided is not None:
        return decided.warm_nodes
    return {name: pool.warm_min for name, pool in scenario.fleet.node_pools.items()}


def _simulated(
    scenario: Scenario, key: PoolKey, capacity: GpuSupply | NodeFleet, options: SimulationOptions
) -> SimulatedPool:
    return SimulatedPool(
        scenario.fleet.pools[key],
        scenario.traces[key],
        initial=scenario.initial[key],
        performance=scenario.performance[key],
        start_up=scenario.start_up[key],
        options=options,
        capacity=capacity,
    )


def _seen(pool: SimulatedPool, now: float) -> PoolObservation:
    pool.run_until(now)
    return pool.observe()


def _node_pool_seen(
    node_pool: NodePool, capacity: GpuSupply | NodeFleet, replicas: Sequence[PlacedReplica], now: float
) -> NodePoolObservation:
    """Return the node pool as its scheduler would see it."""
    if isinstance(capacity, NodeFleet) and node_pool.name in capacity.names:
        return capacity.record(node_pool.name, now).observed(node_pool.name, now, replicas)
    return _stock_seen(node_pool, capacity, now)


def _stock_seen(node_pool: NodePool, capacity: GpuSupply | NodeFleet, now: float) -> NodePoolObservation:
    """Return a plain stock of GPUs: what is held is there, what is free can be had.

    In a stock-out nothing is free, and nobody says that there is one or when it ends: a policy finds out as the
    operator does, from replicas that do not come by their deadline.
    """
    held = free = 0
    if isinstance(capacity, GpuSupply):
        held, limit = capacity.held(node_pool.name), capacity.limit(node_pool.name)
        blocked = capacity.blocked_until(node_pool.name, now) is not None
        free = 0 if limit is None or blocked else limit - held
    whole, rest = divmod(free, max(1, node_pool.gpus_per_node))
    return NodePoolObservation(
        name=node_pool.name,
        nodes=math.ceil((held + free) / max(1, node_pool.gpus_per_node)),
        usable_gpus=held + free,
        free_gpus=free,
        free_blocks=(node_pool.gpus_per_node,) * whole + ((rest,) if rest else ()),
    )


def _keep(decisions: list[FleetDecision], latest: FleetDecision) -> None:
    if any(v.current != v.desired for pool in latest.pools.values() for v in pool.variants):
        decisions.append(latest)


class _Recorder:
    """Collects one pool's timeline."""

    def __init__(self) -> None:
        self._at: list[float] = []
        self._arrivals: list[float] = []
        self._waiting: list[float] = []
        self._ready: dict[VariantKey, list[int]] = {}
        self._supply: dict[VariantKey, list[int]] = {}
        self._desired: dict[VariantKey, list[int]] = {}

    def record(self, seen: PoolObservation, wanted: Mapping[VariantKey, int]) -> None:
        """Add one tick."""
        self._at.append(seen.at_seconds)
        self._arrivals.append(seen.traffic.arrivals if seen.traffic is not None else float("nan"))
        self._waiting.append((seen.waiting_prefill or 0.0) + (seen.waiting_decode or 0.0))
        for variant in seen.variants:
            self._ready.setdefault(variant.key, []).append(variant.ready)
            self._supply.setdefault(variant.key, []).append(variant.supply)
            self._desired.setdefault(variant.key, []).append(wanted.get(variant.key, variant.desired))

    def timeline(self) -> PoolTimeline:
        """Return what was collected."""
        return PoolTimeline(
            at_seconds=np.asarray(self._at),
            arrivals=np.asarray(self._arrivals),
            waiting=np.asarray(self._waiting),
            ready={name: np.asarray(counts) for name, counts in self._ready.items()},
            supply={name: np.asarray(counts) for name, counts in self._supply.items()},
            desired={name: np.asarray(counts) for name, counts in self._desired.items()},
        )
