"""Traces made from traces: a window, another rate, a faster clock."""

from dataclasses import replace

import numpy as np

from forebay.flow.trace import FloatArray, IntArray, RequestTrace
from forebay.offline.traces.trace_error import TraceError

JITTER_SECONDS = 5.0
"""Copies of a request are moved by up to this, so that they do not arrive at one instant."""
DAY_SECONDS = 86_400.0


def window(
    trace: RequestTrace,
    start_seconds: float,
    end_seconds: float | None = None,
    *,
    history_seconds: float = 172_800.0,
) -> RequestTrace:
    """Return the requests of ``[start, end)``, counted from ``start``; what precedes becomes history.

    Raises:
        TraceError: if the window holds no request.
    """
    end_seconds = np.inf if end_seconds is None else end_seconds
    begin, end = np.searchsorted(trace.arrival_seconds, [start_seconds, end_seconds]).tolist()
    if begin >= end:
        raise TraceError(
            f"has no request between {start_seconds:g} s and {end_seconds:g} s (it spans {trace.span_seconds:g} s)"
        )
    part = slice(begin, end)
    return replace(
        trace,
        arrival_seconds=trace.arrival_seconds[part] - start_seconds,
        input_tokens=trace.input_tokens[part],
        output_tokens=trace.output_tokens[part],
        cached_tokens=_part(trace.cached_tokens, part),
        pool=_part(trace.pool, part),
        start_of_day_seconds=(trace.start_of_day_seconds + start_seconds) % DAY_SECONDS,
        history_requests_per_minute=_history(trace, start_seconds, history_seconds),
    )


def superpose(
    trace: RequestTrace, copies: int, *, seed: int, jitter_seconds: float = JITTER_SECONDS
) -> RequestTrace:
    """Return ``copies`` times the traffic: each request repeated, and each moved by up to ``jitter_seconds``.

    Bursts keep their relative height, unlike under independent copies shifted by hours.

    Raises:
        ValueError: if ``copies`` is below 1.
    """
    if copies < 1:
        raise ValueError(f"copies is {copies}; give at least 1")
    return _repeated(
        trace, np.full(len(trace), copies), np.random.default_rng(seed), jitter_seconds, float(copies)
    )


def at_rate(
    trace: RequestTrace, requests_per_second: float, *, seed: int, max_requests: int = 30_000_000
) -> RequestTrace:
    """Return the trace at another mean rate: whole copies superposed, and one thinned copy for the rest.

    Raises:
        TraceError: if the rate is not positive, the trace has no duration, or the result would be too large.
    """
    return scaled(trace, rate_factor(trace, requests_per_second), seed=seed, max_requests=max_requests)


def rate_factor(trace: RequestTrace, requests_per_second: float) -> float:
    """Return by how much the traffic must grow for this mean rate.

    Raises:
        TraceError: if the rate is not positive, or the trace has no duration.
    """
    if not requests_per_second > 0:
        raise TraceError(f"cannot be scaled to {requests_per_second} requests/s; give a positive rate")
    if trace.span_seconds <= 0:
        raise TraceError("has no duration, so it has no rate to scale")
    return requests_per_second * trace.span_seconds / len(trace)


def scaled(trace: RequestTrace, factor: float, *, seed: int, max_requests: int = 30_000_000) -> RequestTrace:
    """Return ``factor`` times the traffic: whole copies superposed, and one thinned copy for the rest.

    Raises:
        TraceError: if the result would be too large.
    """
    if factor * len(trace) > max_requests:
        raise TraceError(
            f"would give {factor * len(trace):.3g} requests (limit {max_requests:.3g}); lower the rate"
        )
    rng = np.random.default_rng(seed)
    copies = np.floor(factor + rng.random(len(trace))).astype(np.int64)
    if not copies.any():
        copies[0] = 1
    return _repeated(trace, copies, rng, JITTER_SECONDS if factor > 1 else 0.0, factor)


def compress_time(trace: RequestTrace, factor: float, *, seed: int) -> RequestTrace:
    """Return the trace with its shape ``factor`` times faster at the same rate of requests.

    One request in ``factor`` is kept: a day at 24 requests/s becomes an hour at 24 requests/s, and latencies stay
    what they are. History and time of day have no meaning on the new clock and are dropped.

    Raises:
        ValueError: if ``factor`` is below 1.
    """
    if not factor >= 1:
        raise ValueError(f"factor is {factor}; give at least 1")
    rng = np.random.default_rng(seed)
    kept = (rng.random(len(trace)) < 1 / factor).astype(np.int64)
    if len(kept) and not kept.any():
        kept[0] = 1
    thinned = _repeated(trace, kept, rng, 0.0, 1.0)
    return replace(
        thinned,
        arrival_seconds=thinned.arrival_seconds / factor,
        start_of_day_seconds=0.0,
        history_requests_per_minute=None,
    )


def _repeated(
    trace: RequestTrace, copies: IntArray, rng: np.random.Generator, jitter_seconds: float, factor: float
) -> RequestTrace:
    index = np.repeat(np.arange(len(trace)), copies)
    arrivals = trace.arrival_seconds[index]
    if jitter_seconds:
        arrivals = np.abs(arrivals + rng.uniform(-jitter_seconds, jitter_seconds, len(index)))
        order = np.argsort(arrivals, kind="stable")
        index, arrivals = index[order], arrivals[order]
    history = trace.history_requests_per_minute
    return replace(
        trace,
        arrival_seconds=arrivals,
        input_tokens=trace.input_tokens[index],
        output_tokens=trace.output_tokens[index],
        cached_tokens=None if trace.cached_tokens is None else trace.cached_tokens[index],
        pool=None if trace.pool is None else trace.pool[index],
        history_requests_per_minute=None if history is None else history * factor,
    )


def _part(values: IntArray | None, part: slice) -> IntArray | None:
    return None if values is None else values[part]


def _history(trace: RequestTrace, start_seconds: float, history_seconds: float) -> FloatArray | None:
    """Return counts of the whole minutes before ``start_seconds``, after the trace's own history."""
    minutes = int(start_seconds // 60)
    edges = start_seconds - 60.0 * np.arange(minutes, -1, -1)
    counts = np.diff(np.searchsorted(trace.arrival_seconds, edges)).astype(np.float64)
    if trace.history_requests_per_minute is not None:
        counts = np.concatenate([trace.history_requests_per_minute, counts])
    counts = counts[max(0, len(counts) - int(history_seconds // 60)) :]
    return counts if len(counts) else None
