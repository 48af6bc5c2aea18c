"""Azure LLM inference traces of 2023 and 2024: ``TIMESTAMP,ContextTokens,GeneratedTokens``.

Stamps are UTC; those of 2023 have seven decimals and no offset, those of 2024 six (or none) and ``+00:00``.
Sources: https://github.com/Azure/AzurePublicDataset, described in Splitwise (Patel et al., ISCA 2024) and
DynamoLLM (Stojkovic et al., HPCA 2025).
"""

from forebay.flow.trace import RequestTrace
from forebay.offline.traces.catalogue import TraceFormat
from forebay.offline.traces.csv_columns import read_columns, split_header, token_column
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.requests import build_trace
from forebay.offline.traces.stamps import stamp_column
from forebay.offline.traces.trace_source import TraceSource

STAMP, INPUT, OUTPUT = "TIMESTAMP", "ContextTokens", "GeneratedTokens"


def _matches(line: str) -> bool:
    return {STAMP, INPUT, OUTPUT} <= set(split_header(line))


def _load(source: TraceSource, options: LoadOptions) -> RequestTrace:
    names = split_header(source.first_line()[1])
    columns = [
        stamp_column(STAMP, names.index(STAMP)),
        token_column(INPUT, names.index(INPUT)),
        token_column(OUTPUT, names.index(OUTPUT)),
    ]
    table = read_columns(source, columns)
    return build_trace(
        source,
        options,
        times=table[STAMP],
        input_tokens=table[INPUT],
        output_tokens=table[OUTPUT],
        from_first=True,
    )


FORMAT = TraceFormat(
    name="azure",
    columns="TIMESTAMP,ContextTokens,GeneratedTokens",
    origin="Azure LLM inference 2023 and 2024, github.com/Azure/AzurePublicDataset",
    matches_line=_matches,
    load=_load,
)
