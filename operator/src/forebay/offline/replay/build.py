"""From files to a `Scenario`: our own resources for the fleet, traces of any format for its traffic."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from forebay.api.base import Resource
from forebay.api.parsing import InvalidResourceError, parse_any
from forebay.api.translate import Catalogue, PoolBinding, translate_fleet, translate_pool
from forebay.api.v1alpha1 import GPUNodePool, InferencePool, ScalingPolicy, ServingProfile
from forebay.flow.fleet import Fleet, Pool, PoolKey, Variant
from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from forebay.offline.replay.baselines import Facts
from forebay.offline.replay.baselines.common.traffic import lengths_of, starting_fleet
from forebay.offline.replay.baselines.common.workload import fill_order
from forebay.offline.replay.scenario import Scenario
from forebay.offline.simulation import Phase, SimulationOptions, StartUp
from forebay.pipeline.prices import usd_per_replica_hour
from forebay.sizing.performance import local_performance

MONDAY_SECONDS = 1_767_571_200.0
"""2026-01-05 00:00 UTC: the day on which a trace without a date is taken to start, for schedules."""
DEFAULT_START_UP_SECONDS = 120.0
_P90 = 1.2816
"""The 90th percentile of a standard normal distribution."""


class BuildError(ValueError):
    """What was given cannot be replayed; one sentence says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFleet:
    """Resources of files as the pipeline sees them."""

    fleet: Fleet
    bindings: Mapping[PoolKey, PoolBinding]
    start_up: Mapping[str, StartUp]
    """Start-up by node pool, where its prior says one."""
    notes: tuple[str, ...] = ()
    """What was not as it should be and is replayed all the same."""


def load_fleet(paths: Iterable[Path], *, span_seconds: float, start_of_day_seconds: float = 0.0) -> LoadedFleet:
    """Read InferencePools and what they refer to from YAML files.

    Args:
        paths: multi-document YAML, or lists as ``kubectl get -o yaml`` prints them.
        span_seconds: how far schedules are expanded.
        start_of_day_seconds: time of day at the trace's start; schedules take that day for a Monday.

    Raises:
        BuildError: a file, a document or a reference cannot be used.
    """
    resources = [resource for path in paths for resource in _resources(path)]
    pools = [resource for resource in resources if isinstance(resource, InferencePool)]
    if not pools:
        raise BuildError(
            "the files have no InferencePool; add one, or leave --pool out for the documented default"
        )
    catalogue = Catalogue(
        node_pools={r.name: r for r in resources if isinstance(r, GPUNodePool)},
        profiles={r.name: r for r in resources if isinstance(r, ServingProfile)},
        policies={(r.namespace, r.name): r for r in resources if isinstance(r, ScalingPolicy)},
    )
    start = MONDAY_SECONDS + start_of_day_seconds
    bindings = [
        _from_zero(translate_pool(pool, catalogue, now_seconds=start, horizon_seconds=span_seconds), start)
        for pool in pools
    ]
    problems = [f"{binding.pool.key}: {problem}" for binding in bindings for problem in binding.problems]
    return LoadedFleet(
        fleet=translate_fleet(bindings, catalogue.node_pools.values()),
        bindings={binding.pool.key: binding for binding in bindings},
        start_up={name: _prior(node_pool) for name, node_pool in catalogue.node_pools.items()},
        notes=tuple(problems),
    )


def _resources(path: Path) -> list[Resource]:
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise BuildError(f"{path}{where}: this is no valid YAML; correct it there") from error
    return [_resource(path, body) for document in documents for body in _items(document)]


def _items(document: object) -> list[object]:
    if document is None:
        return []
    if isinstance(document, dict) and document.get("kind") in ("List", "InferencePoolList"):
        return list(document.get("items") or ())
    return [document]


def _resource(path: Path, body: object) -> Resource:
    if not isinstance(body, dict):
        raise BuildError(f"{path}: a document is no object with apiVersion and kind; remove or complete it")
    try:
        return parse_any({name: part for name, part in body.items() if name != "status"})
    except InvalidResourceError as error:
        raise BuildError(f"{path}: {error}") from error


def _from_zero(binding: PoolBinding, start_seconds: float) -> PoolBinding:
    """Move known loads from Unix seconds to the trace's own clock."""
    settings = binding.pool.settings
    loads = tuple(
        replace(
            load,
            start_seconds=load.start_seconds - start_seconds,
            end_seconds=load.end_seconds - start_seconds,
        )
        for load in settings.known_loads
    )
    return replace(binding, pool=replace(binding.pool, settings=replace(settings, known_loads=loads)))


def _prior(node_pool: GPUNodePool) -> StartUp:
    prior = node_pool.spec.lead_time_prior
    if prior is None:
        return StartUp.fixed(DEFAULT_START_UP_SECONDS)
    median, late = prior.p50.seconds, prior.p90.seconds
    return StartUp((Phase("lead time", median, max(0.0, math.log(late / median) / _P90)),))


def assign_traces(fleet: Fleet, traces: Sequence[tuple[str | None, RequestTrace]]) -> dict[PoolKey, RequestTrace]:
    """Return the traffic of each pool; traces of one pool are merged, each from its own start.

    Args:
        fleet: the pools.
        traces: with the name of their pool (``NAME`` or ``NAMESPACE/NAME``), ``None`` for the only one.

    Raises:
        BuildError: a name fits no pool or several, is missing, or a pool has no traffic.
    """
    found: dict[PoolKey, list[RequestTrace]] = {}
    for name, trace in traces:
        found.setdefault(_pool_named(fleet, name), []).append(trace)
    idle = [str(key) for key in fleet.pools if key not in found]
    if idle:
        raise BuildError(f"no trace is given for {', '.join(idle)}; add --trace {idle[0].split('/')[1]}=FILE")
    return {key: _merged(parts) for key, parts in found.items()}


def _pool_named(fleet: Fleet, name: str | None) -> PoolKey:
    known = ", ".join(key.name for key in fleet.pools)
    if name is None:
        if len(fleet.pools) > 1:
            raise BuildError(f"the fleet has {len(fleet.pools)} pools ({known}); say whose trace it is: NAME=FILE")
        return next(iter(fleet.pools))
    matches = [key for key in fleet.pools if name in (key.name, str(key))]
    if len(matches) != 1:
        what = "names no pool" if not matches else "names more than one pool; write NAMESPACE/NAME"
        raise BuildError(f"--trace {name}=...: {name!r} {what}; there are {known}")
    return matches[0]


def _merged(traces: Sequence[RequestTrace]) -> RequestTrace:
    if len(traces) == 1:
        return traces[0]
    arrivals = np.concatenate([trace.arrival_seconds for trace in traces])
    order = np.argsort(arrivals, kind="stable")
    cached = [np.zeros(len(t), np.int64) if t.cached_tokens is None else t.cached_tokens for t in traces]
    any_cached = any(trace.cached_tokens is not None for trace in traces)
    return RequestTrace(
        name="+".join(trace.name for trace in traces),
        arrival_seconds=arrivals[order],
        input_tokens=np.concatenate([trace.input_tokens for trace in traces])[order],
        output_tokens=np.concatenate([trace.output_tokens for trace in traces])[order],
        cached_tokens=np.concatenate(cached)[order] if any_cached else None,
        start_of_day_seconds=traces[0].start_of_day_seconds,
    )


def build_scenario(
    fleet: Fleet,
    traces: Mapping[PoolKey, RequestTrace],
    *,
    name: str,
    options: SimulationOptions,
    start_up_seconds: float | None = None,
    start_up_by_node_pool: Mapping[str, StartUp] | None = None,
) -> Scenario:
    """Return what is replayed.

    Replicas run as fast as their profile says at the mean lengths of the whole trace; every policy begins with
    the same fleet, 1.2 times the busiest minute of the first half hour at 80 % use.

    Args:
        fleet: pools and node pools.
        traces: traffic per pool.
        name: what the report calls it.
        options: rules of the simulation.
        start_up_seconds: from order to ready, for every variant; ``None``: what the resources say.
        start_up_by_node_pool: where neither an argument nor the variant says it.

    Raises:
        BuildError: a variant has no profile, or the pool can never meet its objectives.
    """
    performance = {key: _true_performance(fleet.pools[key], trace) for key, trace in traces.items()}
    start_up = {
        key: {
            variant.name: _start_up(variant, start_up_seconds, start_up_by_node_pool or {})
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
    )
    for key in traces:
        _check_servable(scenario, key)
    _check_stock(scenario)
    return scenario


def _start_up(variant: Variant, seconds: float | None, by_node_pool: Mapping[str, StartUp]) -> StartUp:
    if seconds is not None:
        return StartUp.fixed(seconds)
    if variant.start_up_seconds is not None:
        return StartUp.fixed(variant.start_up_seconds)
    return by_node_pool.get(variant.node_pool or "", StartUp.fixed(DEFAULT_START_UP_SECONDS))


def _true_performance(pool: Pool, trace: RequestTrace) -> dict[str, Performance]:
    lengths = lengths_of(trace)
    return {
        variant.name: _linear(pool, variant, lengths.input_tokens, lengths.context_tokens)
        for variant in pool.variants
    }


def _linear(pool: Pool, variant: Variant, input_tokens: float, context_tokens: float) -> Performance:
    told = variant.performance
    if isinstance(told, Performance):
        return told
    if told is None:
        raise BuildError(
            f"{pool.key}: variant {variant.name} has no serving profile that fits; a replay cannot learn what is "
            "not measured, so add profileRef and the ServingProfile to the file"
        )
    return local_performance(
        told, input_tokens=input_tokens, context_tokens=context_tokens, itl_seconds=pool.slo.itl_seconds
    ).performance


def _facts(fleet: Fleet, pool: Pool, performance: Mapping[str, Performance], trace: RequestTrace) -> Facts:
    known = Facts(
        pool=pool,
        performance=performance,
        start_up_seconds={},
        usd_per_replica_hour={v.name: usd_per_replica_hour(fleet, v) for v in pool.variants},
    )
    return replace(known, fill_order=fill_order(known, lengths_of(trace)))


def _check_servable(scenario: Scenario, key: PoolKey) -> None:
    pool, trace = scenario.fleet.pools[key], scenario.traces[key]
    speeds = scenario.performance[key]
    typical = float(np.median(trace.input_tokens))
    context = lengths_of(trace).context_tokens
    prefill = min(speeds[v.name].prefill_seconds(typical) for v in pool.variants if v.role.value != "decode")
    if prefill > pool.slo.ttft_seconds:
        raise BuildError(
            f"{key}: no variant can meet the TTFT of {pool.slo.ttft_seconds:g} s: the fastest prefill of a median "
            f"prompt ({typical:.0f} tokens) takes {prefill:.2g} s; relax slo.ttft or add a faster variant"
        )
    step = min(speeds[v.name].decode_step_seconds(1, context) for v in pool.variants if v.role.value != "prefill")
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
