"""From a fleet and its traffic to a `Scenario`."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from forebay.flow.fleet import Fleet, Pool, PoolKey, Variant, VariantKey
from forebay.flow.performance import Performance
from forebay.flow.roles import ROLES
from forebay.flow.trace import RequestTrace
from forebay.offline.replay.baselines import PoolFacts
from forebay.offline.replay.baselines.common.trace_work import lengths_of, starting_fleet
from forebay.offline.replay.baselines.common.workload import fill_order
from forebay.offline.replay.inputs.build_error import BuildError
from forebay.offline.replay.inputs.nodes import NodeOptions, scenario_nodes
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.simulation import DEFAULT_START_UP_SECONDS, SimulationOptions, StartUp
from forebay.pipeline.prices import usd_per_replica_hour
from forebay.sizing.performance import local_performance


def build_scenario(
    fleet: Fleet,
    traces: Mapping[PoolKey, RequestTrace],
    *,
    name: str,
    options: SimulationOptions,
    start_up_seconds: float | None = None,
    lead_time_by_node_pool: Mapping[str, StartUp] | None = None,
    nodes: NodeOptions | None = None,
) -> Scenario:
    """Return what is replayed.

    Replicas run as fast as their profile says at the mean lengths of the whole trace; every policy begins with
    the same fleet, 1.2 times the busiest minute of the first half hour at 80 % use.

    Args:
        fleet: pools and node pools.
        traces: traffic per pool.
        name: what the report calls it.
        options: rules of the simulation.
        start_up_seconds: of the pods of every variant; ``None``: what the resources say.
        lead_time_by_node_pool: of nodes, where the resources say it.
        nodes: simulate and bill whole nodes; ``None``: every replica finds its GPUs and is billed for them, and
            its start-up holds that of a node.

    Raises:
        BuildError: a variant has no profile, or the pool can never meet its objectives.
    """
    lead_times = lead_time_by_node_pool or {}
    performance = {key: _true_performance(fleet.pools[key], trace) for key, trace in traces.items()}
    start_up = {
        key: {
            variant.key: _start_up(variant, start_up_seconds, {} if nodes else lead_times)
            for variant in fleet.pools[key].variants
        }
        for key in traces
    }
    facts = {key: _facts(fleet, fleet.pools[key], performance[key], trace) for key, trace in traces.items()}
    scenario = Scenario(
        name=name,
        fleet=fleet,
        traces=dict(traces),
        performance=performance,
        start_up=start_up,
        initial={key: starting_fleet(facts[key], trace) for key, trace in traces.items()},
        fill_order={key: facts[key].fill_order for key in traces},
        options=options,
        nodes=None if nodes is None else scenario_nodes(fleet, nodes, lead_times),
    )
    for key in traces:
        _check_servable(scenario, key)
    _check_stock(scenario)
    return scenario


def _start_up(variant: Variant, seconds: float | None, lead_times: Mapping[str, StartUp]) -> StartUp:
    """Return the start-up of a replica: of its node, where ``lead_times`` has one, and of its pod."""
    if seconds is not None:
        return StartUp.fixed(seconds)
    node = lead_times.get(variant.node_pool or "")
    if variant.start_up_seconds is None:
        return node or StartUp.fixed(DEFAULT_START_UP_SECONDS)
    pod = StartUp.fixed(variant.start_up_seconds)
    return pod if node is None else StartUp((*node.phases, *pod.phases))


def _true_performance(pool: Pool, trace: RequestTrace) -> dict[VariantKey, Performance]:
    lengths = lengths_of(trace)
    return {
        variant.key: _linear(pool, variant, lengths.input_tokens, lengths.context_tokens)
        for variant in pool.variants
    }


def _linear(pool: Pool, variant: Variant, input_tokens: float, context_tokens: float) -> Performance:
    told = variant.performance
    if isinstance(told, Performance):
        return told
    if told is None:
        raise BuildError(
            f"{pool.key}: variant {variant.key} has no serving profile that fits; a replay cannot learn what is "
            "not measured, so add profileRef and the ServingProfile to the file"
        )
    return local_performance(
        told, input_tokens=input_tokens, context_tokens=context_tokens, itl_seconds=pool.slo.itl_seconds
    ).performance


def _facts(
    fleet: Fleet, pool: Pool, performance: Mapping[VariantKey, Performance], trace: RequestTrace
) -> PoolFacts:
    known = PoolFacts(
        pool=pool,
        performance=performance,
        start_up_seconds={},
        usd_per_replica_hour={v.key: usd_per_replica_hour(fleet, v) for v in pool.variants},
    )
    return replace(known, fill_order=fill_order(known, lengths_of(trace)))


def _check_servable(scenario: Scenario, key: PoolKey) -> None:
    pool, trace = scenario.fleet.pools[key], scenario.traces[key]
    speeds = scenario.performance[key]
    typical = float(np.median(trace.input_tokens))
    context = lengths_of(trace).context_tokens
    prefill = min(speeds[v.key].prefill_seconds(typical) for v in pool.variants if ROLES[v.role].prefills)
    if prefill > pool.slo.ttft_seconds:
        raise BuildError(
            f"{key}: no variant can meet the TTFT of {pool.slo.ttft_seconds:g} s: the fastest prefill of a median "
            f"prompt ({typical:.0f} tokens) takes {prefill:.2g} s; relax slo.ttft or add a faster variant"
        )
    step = min(speeds[v.key].decode_step_seconds(1, context) for v in pool.variants if ROLES[v.role].decodes)
    if step > pool.slo.itl_seconds:
        raise BuildError(
            f"{key}: no variant can meet the ITL of {1000 * pool.slo.itl_seconds:g} ms: a sequence alone takes "
            f"{1000 * step:.3g} ms per token at best; relax slo.itl or add a faster variant"
        )


def _check_stock(scenario: Scenario) -> None:
    limits = scenario.gpu_limits()
    least: dict[str, int] = {}
    for key, pool in scenario.fleet.pools.items():
        for variant in pool.variants:
            if variant.node_pool is None or key not in scenario.traces:
                continue
            least[variant.node_pool] = (
                least.get(variant.node_pool, 0) + variant.min_replicas * variant.gpus_per_replica
            )
    for name, gpus in least.items():
        if gpus > limits.get(name, gpus):
            raise BuildError(
                f"node pool {name}: the variants' minReplicas need {gpus} GPUs, but maxNodes x gpusPerNode is "
                f"{limits[name]}; lower minReplicas or raise maxNodes"
            )
