"""Build a scenario from the options: which traffic, which fleet, which rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forebay.flow.fleet import PoolKey
from forebay.flow.trace import RequestTrace
from forebay.offline.replay.inputs.build import build_scenario
from forebay.offline.replay.inputs.build_error import BuildError
from forebay.offline.replay.inputs.default_pool import (
    DEFAULT_PRESET,
    DEFAULT_REQUESTS_PER_SECOND,
    NODE_LEAD_TIMES,
    default_fleet,
    preset_trace,
)
from forebay.offline.replay.inputs.nodes import NodeOptions
from forebay.offline.replay.inputs.resource_files import LoadedFleet, load_fleet
from forebay.offline.replay.inputs.traffic_of_pools import assign_traces
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.simulation import QueueOrder, SimulationOptions
from forebay.offline.traces import LoadOptions, TimeUnit, TraceError, at_rate, load_trace, window


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What to replay."""

    traces: Sequence[str] = ()
    """Files, or ``NAME=FILE`` for the pool NAME; none: generated traffic."""
    time_unit: TimeUnit | None = None
    """Of JSONL traces; ``None``: as they show."""
    block_tokens: int | None = None
    """Prompt tokens per block of JSONL traces; ``None``: as they show."""
    presets: Sequence[str] = ()
    """Generated traffic: ``PRESET``, or ``NAME=PRESET`` for the pool NAME, ``@RATE`` requests/s behind it."""
    resources: Sequence[Path] = ()
    """YAML files of our resources; none: the documented default pool."""
    start_up_seconds: float | None = None
    nodes: NodeOptions | None = field(default_factory=NodeOptions)
    """``None``: every replica finds its GPUs at once and is billed for them alone."""
    queue_order: QueueOrder = QueueOrder.FIFO
    grace_seconds: float | None = None
    parks: bool = False
    seed: int = 0
    start_seconds: float = 0.0
    end_seconds: float | None = None
    requests_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A scenario and what to say of it."""

    scenario: Scenario
    traffic: str
    notes: tuple[str, ...] = ()


Traffic = Sequence[tuple[str | None, RequestTrace]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Traffic that was read elsewhere, instead of files or a preset."""

    pool: PoolKey
    trace: RequestTrace
    source: str
    """Where from, in words."""
    note: str = ""
    """What to say of it."""


def prepare(wanted: ReplayRequest, elsewhere: Elsewhere | None = None) -> Prepared:
    """Return the scenario that was asked for.

    Args:
        wanted: files and settings.
        elsewhere: the past of one pool; the fleet's other pools are left out, as they have no traffic.

    Raises:
        BuildError: the fleet, or how traces fit to it.
        TraceError: a trace cannot be used.
        ValueError: there is no such preset.
    """
    if wanted.end_seconds is not None and wanted.end_seconds <= wanted.start_seconds:
        raise BuildError("--until must be later than --from")
    if elsewhere is None:
        traffic, source = _traffic(wanted)
        loaded = _fleet(wanted, traffic)
        traces = assign_traces(loaded.fleet, traffic)
    else:
        traces = {elsewhere.pool: _cut(elsewhere.trace, wanted)}
        source = elsewhere.source
        loaded = _fleet(wanted, [(None, trace) for trace in traces.values()])
    scenario = build_scenario(
        loaded.fleet,
        traces,
        name="+".join(dict.fromkeys(trace.name for trace in traces.values())),
        options=SimulationOptions(
            seed=wanted.seed,
            queue_order=wanted.queue_order,
            grace_seconds=wanted.grace_seconds,
            parks=wanted.parks,
            prefix_cache=any(trace.cached_tokens is not None for trace in traces.values()),
        ),
        start_up_seconds=wanted.start_up_seconds,
        lead_time_by_node_pool=loaded.lead_times,
        nodes=wanted.nodes,
    )
    said = (elsewhere.note,) if elsewhere is not None and elsewhere.note else ()
    return Prepared(scenario=scenario, traffic=source, notes=(*said, *loaded.notes))


def _traffic(wanted: ReplayRequest) -> tuple[Traffic, str]:
    if wanted.traces and wanted.presets:
        raise BuildError("give either --trace or --preset, not both")
    if wanted.traces:
        return [_recorded(entry, wanted) for entry in wanted.traces], ", ".join(wanted.traces)
    usual = DEFAULT_PRESET if wanted.resources else f"{DEFAULT_PRESET}@{DEFAULT_REQUESTS_PER_SECOND:g}"
    entries = wanted.presets or (usual,)
    traffic = [_generated(entry, wanted, wanted.seed + number) for number, entry in enumerate(entries)]
    return traffic, f"generated, {', '.join(entries)}, seed {wanted.seed}"


def _generated(entry: str, wanted: ReplayRequest, seed: int) -> tuple[str | None, RequestTrace]:
    """Return a preset's traffic; its rate is scaled first, then the window is cut."""
    pool, equals, said = entry.rpartition("=")
    name, at, written = said.partition("@")
    hours = None if wanted.end_seconds is None else wanted.end_seconds / 3600.0
    rate = _rate(entry, written) if at else None
    trace = preset_trace(name, seed=seed, hours=hours, requests_per_second=rate)
    if wanted.requests_per_second is not None:
        trace = at_rate(trace, wanted.requests_per_second, seed=wanted.seed)
    _check_start(wanted, trace.span_seconds)
    trace = window(trace, wanted.start_seconds) if wanted.start_seconds > 0 else trace
    return (pool if equals else None), trace


def _rate(entry: str, written: str) -> float:
    try:
        rate = float(written)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate < math.inf:
        raise BuildError(f"--preset {entry}: write the requests/s behind @ as a positive number, such as chat@20")
    return rate


def _check_start(wanted: ReplayRequest, span_seconds: float) -> None:
    if wanted.start_seconds >= span_seconds:
        raise BuildError(
            f"--from {wanted.start_seconds / 3600:g}h skips all of the traffic, which spans "
            f"{span_seconds / 3600:.3g} h; skip less"
        )


def _recorded(entry: str, wanted: ReplayRequest) -> tuple[str | None, RequestTrace]:
    name, file = _named(entry)
    options = LoadOptions(
        seed=wanted.seed,
        time_unit=wanted.time_unit,
        block_tokens=wanted.block_tokens,
        start_seconds=wanted.start_seconds,
        end_seconds=wanted.end_seconds,
        requests_per_second=wanted.requests_per_second,
    )
    trace = load_trace(file, options)
    if len(trace) < 2 or trace.span_seconds <= 0.0:
        raise TraceError("has fewer than two requests at different times; there is nothing to replay", path=file)
    return name, trace


def _cut(trace: RequestTrace, wanted: ReplayRequest) -> RequestTrace:
    _check_start(wanted, trace.span_seconds)
    if wanted.start_seconds > 0 or wanted.end_seconds is not None:
        trace = window(trace, wanted.start_seconds, wanted.end_seconds)
    rate = wanted.requests_per_second
    return trace if rate is None else at_rate(trace, rate, seed=wanted.seed)


def _named(entry: str) -> tuple[str | None, Path]:
    """Split ``NAME=FILE``; a file whose own name has an equals sign is a file."""
    name, equals, file = entry.partition("=")
    if equals and not Path(entry).exists():
        return name, Path(file)
    return None, Path(entry)


def _fleet(wanted: ReplayRequest, traffic: Traffic) -> LoadedFleet:
    if not wanted.resources:
        (trace,) = assign_traces(default_fleet(), traffic).values()
        return LoadedFleet(fleet=default_fleet(trace), bindings={}, lead_times=NODE_LEAD_TIMES)
    return load_fleet(
        wanted.resources,
        span_seconds=max(trace.span_seconds for _, trace in traffic),
        start_of_day_seconds=traffic[0][1].start_of_day_seconds,
    )
