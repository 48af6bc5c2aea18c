"""The project's own CSV: ``arrival_s,input_tokens,output_tokens[,cached_tokens]``."""

from forebay.flow.trace import RequestTrace
from forebay.offline.traces.catalogue import TraceFormat
from forebay.offline.traces.csv_columns import number_column, read_columns, split_header, token_column
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.requests import build_trace
from forebay.offline.traces.trace_source import TraceSource

REQUIRED = ("arrival_s", "input_tokens", "output_tokens")
CACHED = ("cached_tokens", "prefix_hit_tokens_max")
"""Names of the optional column of prompt tokens that a prefix cache answers."""


def _matches(line: str) -> bool:
    return set(REQUIRED) <= set(split_header(line))


def _load(source: TraceSource, options: LoadOptions) -> RequestTrace:
    names = split_header(source.first_line()[1])
    columns = [number_column("arrival_s", names.index("arrival_s"))]
    columns += [token_column(name, names.index(name)) for name in REQUIRED[1:]]
    cached = next((name for name in CACHED if name in names), None)
    if cached is not None:
        columns.append(token_column(cached, names.index(cached)))
    table = read_columns(source, columns)
    return build_trace(
        source,
        options,
        times=table["arrival_s"],
        input_tokens=table["input_tokens"],
        output_tokens=table["output_tokens"],
        cached_tokens=None if cached is None else table[cached],
    )


FORMAT = TraceFormat(
    name="plain",
    columns="arrival_s,input_tokens,output_tokens[,cached_tokens]",
    origin="this project; `forebay.offline.traces.write_plain` writes it",
    matches_line=_matches,
    load=_load,
)
