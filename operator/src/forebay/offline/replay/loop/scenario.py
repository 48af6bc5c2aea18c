"""What is replayed: a fleet, its traffic, and what is true of it, the same for every policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from forebay.flow.fleet import Fleet, PoolKey, VariantKey
from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from forebay.offline.simulation import (
    ForeignPods,
    GpuSupply,
    NodeFleet,
    NodeRules,
    NodeScoring,
    QueueOrder,
    SimulationOptions,
    StartUp,
    StockOut,
)

NOT_SCORED_SECONDS = 60.0
"""Requests that arrive in the last minute are not scored: no decision could have been made for them."""
DRAIN_SECONDS = 600.0
"""Time after the last arrival in which requests in flight may end, on the fleet as it is and free of charge; what
has no answer by then counts as unserved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioNodes:
    """The nodes that replicas run on, the same for every policy."""

    rules: Mapping[str, NodeRules]
    """By node pool."""
    scoring: NodeScoring = NodeScoring.LEAST_ALLOCATED
    foreign: tuple[ForeignPods, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenario:
    """A fleet and its traffic.

    ``performance`` and ``start_up`` hold in the simulation; the fleet's own figures are what the policies are
    told.
    """

    name: str
    fleet: Fleet
    traces: Mapping[PoolKey, RequestTrace]
    performance: Mapping[PoolKey, Mapping[VariantKey, Performance]]
    start_up: Mapping[PoolKey, Mapping[VariantKey, StartUp]]
    initial: Mapping[PoolKey, Mapping[VariantKey, int]]
    """Ready replicas per variant at the start, the same for every policy."""
    fill_order: Mapping[PoolKey, tuple[VariantKey, ...]] = field(default_factory=dict)
    """Variants of each pool in the order in which policies that choose no GPU type fill them."""
    options: SimulationOptions = field(default_factory=SimulationOptions)
    stock_outs: tuple[StockOut, ...] = ()
    nodes: ScenarioNodes | None = None
    """``None``: every replica finds its GPUs at once and is billed for them alone."""

    @property
    def span_seconds(self) -> float:
        """Return the time from the start to the last arrival."""
        return max((trace.span_seconds for trace in self.traces.values()), default=0.0)

    @property
    def requests(self) -> int:
        """Return the number of requests of all pools."""
        return sum(len(trace) for trace in self.traces.values())

    @property
    def queue_order(self) -> QueueOrder:
        """Return who is served first when requests wait."""
        return self.options.queue_order

    def usd_per_node_hour(self, node_pool: str) -> float | None:
        """Return the price of one node; ``None`` where replicas are billed instead."""
        pool = self.fleet.node_pools.get(node_pool)
        if self.nodes is None or node_pool not in self.nodes.rules or pool is None or pool.billed_per_gpu:
            return None
        return None if pool.usd_per_gpu_hour is None else pool.usd_per_gpu_hour * pool.gpus_per_node

    def new_capacity(self) -> GpuSupply | NodeFleet:
        """Return the GPUs or nodes of one run, at its beginning."""
        if self.nodes is None:
            return GpuSupply(self.gpu_limits(), self.stock_outs)
        return NodeFleet(
            self.nodes.rules,
            scoring=self.nodes.scoring,
            stock_outs=self.stock_outs,
            foreign=self.nodes.foreign,
            seed=self.options.seed,
        )

    def gpu_limits(self) -> dict[str, int]:
        """Return the GPUs that each node pool can have at most, where a maximum is set."""
        return {
            name: pool.max_nodes * pool.gpus_per_node
            for name, pool in self.fleet.node_pools.items()
            if pool.max_nodes is not None
        }


def first_part(scenario: Scenario, share: float = 1.0 / 3.0) -> Scenario:
    """Return ``scenario`` with only the first ``share`` of its time."""
    until = share * scenario.span_seconds
    return replace(
        scenario,
        name=f"{scenario.name} (first {100 * share:.0f} %)",
        traces={key: _until(trace, until) for key, trace in scenario.traces.items()},
    )


def _until(trace: RequestTrace, seconds: float) -> RequestTrace:
    count = int(np.searchsorted(trace.arrival_seconds, seconds))
    return replace(
        trace,
        arrival_seconds=trace.arrival_seconds[:count],
        input_tokens=trace.input_tokens[:count],
        output_tokens=trace.output_tokens[:count],
        cached_tokens=None if trace.cached_tokens is None else trace.cached_tokens[:count],
        pool=None if trace.pool is None else trace.pool[:count],
    )
