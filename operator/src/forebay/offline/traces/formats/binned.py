"""Binned traffic: ``t_seconds,requests[,input_tokens,output_tokens][,gap]``, one row per bin of one width.

Requests are drawn (seeded) so that the bins keep their shape; see `forebay.offline.traces.realise`. Token columns
are totals of the bin. ``gap`` = 1 marks bins without a recording; traffic there is joined from both sides.
"""

import numpy as np

from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.traces.catalogue import TraceFormat
from forebay.offline.traces.csv_columns import number_column, read_columns, split_header
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.realise import BinnedTraffic, realise
from forebay.offline.traces.trace_source import TraceSource

REQUIRED = ("t_seconds", "requests")
OPTIONAL = ("input_tokens", "output_tokens", "gap")


def _matches(line: str) -> bool:
    return set(REQUIRED) <= set(split_header(line))


def _load(source: TraceSource, options: LoadOptions) -> RequestTrace:
    names = split_header(source.first_line()[1])
    wanted = [*REQUIRED, *(name for name in OPTIONAL if name in names)]
    table = read_columns(source, [number_column(name, names.index(name)) for name in wanted])
    bin_seconds = _bin_seconds(source, table["t_seconds"])
    rates = table["requests"] / bin_seconds
    keep = table["gap"] == 0 if "gap" in table else np.ones(len(rates), dtype=bool)
    if not keep.any():
        raise source.error("marks every bin as a gap; nothing is left")
    if not rates[keep].any():
        raise source.error("has no requests in any bin")
    index = np.arange(len(rates))
    traffic = BinnedTraffic(
        name=source.path.name.split(".")[0],
        bin_seconds=bin_seconds,
        requests_per_second=np.interp(index, index[keep], rates[keep]),
        mean_input_tokens=_means(table, "input_tokens", keep),
        mean_output_tokens=_means(table, "output_tokens", keep),
        start_of_day_seconds=float(table["t_seconds"][0] % 86_400),
    )
    return realise(traffic, options, source.error)


def _bin_seconds(source: TraceSource, starts: FloatArray) -> float:
    if len(starts) < 2:
        raise source.error("has one bin; its width needs at least two")
    width = float(starts[1] - starts[0])
    wrong = np.abs(np.diff(starts) - width) > 1e-6
    if width <= 0 or wrong.any():
        row = int(np.argmax(wrong)) + 1 if wrong.any() else 1
        message = "t_seconds does not continue in equal steps; fill missing bins and mark them with gap=1"
        raise source.error(message, line=source.line_of_row(row, header=True))
    return width


def _means(table: dict[str, FloatArray], name: str, keep: np.ndarray) -> FloatArray | None:
    if name not in table:
        return None
    filled = keep & (table["requests"] > 0) & (table[name] > 0)
    if not filled.any():
        return None
    index = np.arange(len(filled))
    return np.interp(index, index[filled], table[name][filled] / table["requests"][filled])


FORMAT = TraceFormat(
    name="binned",
    columns="t_seconds,requests[,input_tokens,output_tokens][,gap]",
    origin="counts per bin from any monitoring system",
    matches_line=_matches,
    load=_load,
    windowed=True,
)
