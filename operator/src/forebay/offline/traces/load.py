"""Read a trace file of any known format."""

import math
from pathlib import Path

from forebay.flow.trace import RequestTrace
from forebay.offline.traces.catalogue import TraceFormat, trace_formats
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.trace_error import TraceError
from forebay.offline.traces.trace_source import TraceSource, shown
from forebay.offline.traces.transform import rate_factor, scaled, window


def load_trace(path: Path | str, options: LoadOptions | None = None) -> RequestTrace:
    """Return the requests of a trace file (or of a folder, for ServeGen).

    Args:
        path: CSV or JSONL, gzip or not.
        options: Window, rate, seed; the defaults give the file as it is.

    Raises:
        TraceError: with one sentence, file and line, whatever is wrong with the file or its window.
    """
    options = options or LoadOptions()
    source = TraceSource(Path(path))
    if options.requests_per_second is not None and not 0 < options.requests_per_second < math.inf:
        raise source.error(f"cannot be scaled to {options.requests_per_second} requests/s; give a positive rate")
    trace_format = _format_of(source, options)
    if not trace_format.has_unit and (options.time_unit is not None or options.block_tokens is not None):
        raise source.error(
            f"is {trace_format.name}, whose times have one unit and which names no blocks; leave out --trace-unit "
            "and --trace-block-tokens"
        )
    trace = trace_format.load(source, options)
    if trace_format.windowed:
        return trace
    try:
        return _cut_and_scaled(trace, options)
    except TraceError as error:
        raise source.error(str(error)) from None


def _cut_and_scaled(trace: RequestTrace, options: LoadOptions) -> RequestTrace:
    """Cut first, so that only what is kept is copied; the rate is that of the whole file all the same."""
    rate = options.requests_per_second
    factor = None if rate is None else rate_factor(trace, rate)
    if options.start_seconds or options.end_seconds is not None:
        trace = window(trace, options.start_seconds, options.end_seconds, history_seconds=options.history_seconds)
    if factor is None:
        return trace
    return scaled(trace, factor, seed=options.seed, max_requests=options.max_requests)


def _format_of(source: TraceSource, options: LoadOptions) -> TraceFormat:
    known = trace_formats()
    if options.format is not None:
        if options.format not in known:
            raise source.error(f"format {shown(options.format)} is unknown; known are {', '.join(known)}")
        return _checked(source, known[options.format])
    if source.path.is_dir():
        matches = [one for one in known.values() if one.matches_folder(source.path)]
        if not matches:
            raise source.error("is a folder without ServeGen's chunk-*-trace.csv files; give a file")
        return matches[0]
    number, line = source.first_line()
    for trace_format in known.values():
        if trace_format.matches_line(line):
            return trace_format
    expected = "; ".join(f"{one.name}: {one.columns}" for one in known.values())
    raise source.error(f"starts with {shown(line)}, which no known format does. Known are {expected}", line=number)


def _checked(source: TraceSource, trace_format: TraceFormat) -> TraceFormat:
    if source.path.is_dir():
        if trace_format.matches_folder(source.path):
            return trace_format
        raise source.error(f"is a folder that does not hold the {trace_format.name} format")
    number, line = source.first_line()
    if trace_format.matches_line(line):
        return trace_format
    message = f"starts with {shown(line)}, but the {trace_format.name} format starts with {trace_format.columns}"
    raise source.error(message, line=number)
