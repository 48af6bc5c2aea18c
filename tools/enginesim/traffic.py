"""The trace of one pool, from its configuration."""

from dataclasses import replace

from enginesim.config import Traffic
from enginesim.errors import EngineSimError
from forebay.flow.trace import RequestTrace
from forebay.offline.traces import PRESETS, LoadOptions, compress_time, generate, load_trace


def build_trace(traffic: Traffic) -> RequestTrace:
    """Return the requests to play.

    Raises:
        EngineSimError: the preset is unknown.
        TraceError: the file cannot be used.
    """
    trace = _from_file(traffic) if traffic.file is not None else _generated(traffic)
    return trace if traffic.speed == 1 else compress_time(trace, traffic.speed, seed=traffic.seed)


def _from_file(traffic: Traffic) -> RequestTrace:
    end = None if traffic.duration_seconds is None else traffic.start_seconds + traffic.duration_seconds
    options = LoadOptions(
        seed=traffic.seed,
        start_seconds=traffic.start_seconds,
        end_seconds=end,
        requests_per_second=traffic.requests_per_second,
        history_seconds=0.0,
    )
    return load_trace(traffic.file or "", options)


def _generated(traffic: Traffic) -> RequestTrace:
    spec = PRESETS.get(traffic.preset)
    if spec is None:
        raise EngineSimError(f"preset {traffic.preset!r} is unknown; known are {', '.join(PRESETS)}")
    spec = replace(
        spec,
        start_of_day_seconds=traffic.start_seconds,
        requests_per_second=traffic.requests_per_second or spec.requests_per_second,
        duration_seconds=traffic.duration_seconds or spec.duration_seconds,
    )
    return generate(spec, traffic.seed)
