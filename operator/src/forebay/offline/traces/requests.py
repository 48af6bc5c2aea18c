"""From columns to a checked `RequestTrace`: order, range and the future."""

import numpy as np

from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.trace_source import TraceSource

EARLIEST_UNIX_SECONDS = 1e9
"""Times above this (September 2001) are Unix seconds; below, seconds since the start of the trace."""
LONGEST_TRACE_SECONDS = 10 * 366 * 86_400.0
DAY_SECONDS = 86_400.0


def build_trace(
    source: TraceSource,
    options: LoadOptions,
    *,
    times: FloatArray,
    input_tokens: FloatArray,
    output_tokens: FloatArray,
    cached_tokens: FloatArray | None = None,
    from_first: bool = False,
    header: bool = True,
) -> RequestTrace:
    """Return the trace of these columns.

    Args:
        source: The file, for messages.
        options: Sorting and the clock.
        times: Seconds since the start of the trace, or Unix seconds (above `EARLIEST_UNIX_SECONDS`).
        input_tokens: Per request.
        output_tokens: Per request.
        cached_tokens: Per request, of the input tokens.
        from_first: Count from the first request even if the times are relative.
        header: Whether the file's first line is a header.

    Raises:
        TraceError: if the requests are unsorted, in the future, or cached tokens exceed input tokens.
    """
    _check_range(source, options, times, header=header)
    order = _order(source, options, times, header=header)
    if cached_tokens is not None and np.any(cached_tokens > input_tokens):
        row = int(np.argmax(cached_tokens > input_tokens))
        message = f"{cached_tokens[row]:.0f} cached tokens are more than the {input_tokens[row]:.0f} input tokens"
        raise source.error(message, line=source.line_of_row(row, header=header))
    if order is not None:
        times, input_tokens, output_tokens = times[order], input_tokens[order], output_tokens[order]
        cached_tokens = None if cached_tokens is None else cached_tokens[order]
    absolute = times[0] >= EARLIEST_UNIX_SECONDS
    return RequestTrace(
        name=source.path.name.split(".")[0],
        arrival_seconds=times - times[0] if absolute or from_first else times,
        input_tokens=input_tokens.astype(np.int64),
        output_tokens=output_tokens.astype(np.int64),
        cached_tokens=None if cached_tokens is None else cached_tokens.astype(np.int64),
        start_of_day_seconds=float(times[0] % DAY_SECONDS) if absolute or from_first else 0.0,
    )


def _check_range(source: TraceSource, options: LoadOptions, times: FloatArray, *, header: bool) -> None:
    absolute = times >= EARLIEST_UNIX_SECONDS
    late = absolute & (times > options.now_seconds)
    if late.any():
        row = int(np.argmax(late))
        message = f"the arrival {times[row]:.15g} is in the future (Unix seconds are expected, not milliseconds)"
        raise source.error(message, line=source.line_of_row(row, header=header))
    odd = (absolute != absolute[0]) | (~absolute & (times > LONGEST_TRACE_SECONDS))
    if odd.any():
        row = int(np.argmax(odd))
        message = (
            f"the arrival {times[row]:.15g} is out of range: give all arrivals as seconds since the start of the "
            "trace, or all as Unix seconds"
        )
        raise source.error(message, line=source.line_of_row(row, header=header))


def _order(source: TraceSource, options: LoadOptions, times: FloatArray, *, header: bool) -> np.ndarray | None:
    backwards = np.diff(times) < 0
    if not backwards.any():
        return None
    if options.sort:
        return np.argsort(times, kind="stable")
    row = int(np.argmax(backwards)) + 1
    message = (
        f"the arrival is {times[row - 1] - times[row]:.6g} s before the one above it; sort the file by arrival"
    )
    raise source.error(message, line=source.line_of_row(row, header=header))
