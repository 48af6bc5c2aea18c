"""BurstGPT: ``Timestamp[,Session ID,Elapsed time],Model,Request tokens,Response tokens,Total tokens,Log Type``.

Times are seconds from midnight of the first day. Rows with 0 response tokens are failed requests; they are kept,
because a request that failed is demand all the same. Source: https://github.com/HPMLL/BurstGPT, Wang et al.,
arXiv 2401.17644.
"""

from forebay.flow.trace import RequestTrace
from forebay.offline.traces.catalogue import TraceFormat
from forebay.offline.traces.csv_columns import number_column, read_columns, split_header, token_column
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.requests import build_trace
from forebay.offline.traces.trace_source import TraceSource

TIME, INPUT, OUTPUT = "Timestamp", "Request tokens", "Response tokens"


def _matches(line: str) -> bool:
    return {TIME, INPUT, OUTPUT} <= set(split_header(line))


def _load(source: TraceSource, options: LoadOptions) -> RequestTrace:
    names = split_header(source.first_line()[1])
    columns = [
        number_column(TIME, names.index(TIME)),
        token_column(INPUT, names.index(INPUT)),
        token_column(OUTPUT, names.index(OUTPUT)),
    ]
    table = read_columns(source, columns)
    return build_trace(
        source, options, times=table[TIME], input_tokens=table[INPUT], output_tokens=table[OUTPUT], from_first=True
    )


FORMAT = TraceFormat(
    name="burstgpt",
    columns="Timestamp[,Session ID,Elapsed time],Model,Request tokens,Response tokens,Total tokens,Log Type",
    origin="BurstGPT, github.com/HPMLL/BurstGPT",
    matches_line=_matches,
    load=_load,
)
