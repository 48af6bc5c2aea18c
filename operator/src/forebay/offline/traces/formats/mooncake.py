"""JSONL of Mooncake, Bailian and guidellm: ``{"timestamp", "input_length", "output_length", "hash_ids"}``.

The time stamp is milliseconds (Mooncake) or seconds (Bailian, guidellm): see `forebay.offline.traces.time_unit`.
``hash_ids`` names blocks of prompt tokens, of 512 (Mooncake) or 16 (Bailian): see
`forebay.offline.traces.prefix_blocks`. An infinite prefix cache answers the leading blocks that any earlier
request has had, which gives the most that caching could save (`RequestTrace.cached_tokens`). Sources:
https://github.com/kvcache-ai/Mooncake (FAST25-release), Qin et al., FAST 2025;
https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon.
"""

import json
from collections.abc import Mapping

import numpy as np

from forebay.flow.trace import RequestTrace
from forebay.offline.traces.catalogue import TraceFormat
from forebay.offline.traces.csv_columns import parse_number, parse_tokens
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.prefix_blocks import block_tokens_of, cached_tokens
from forebay.offline.traces.requests import build_trace
from forebay.offline.traces.time_unit import unit_of
from forebay.offline.traces.trace_source import TraceSource, shown

TIME, INPUT, OUTPUT, BLOCKS = "timestamp", "input_length", "output_length", "hash_ids"


def _matches(line: str) -> bool:
    return line.startswith("{") and all(f'"{name}"' in line for name in (TIME, INPUT, OUTPUT))


def _load(source: TraceSource, options: LoadOptions) -> RequestTrace:
    rows: list[tuple[float, float, float]] = []
    blocks: list[list[int | str]] = []
    for number, line in source.numbered_lines():
        entry = _entry(source, number, line)
        stamp, inputs, outputs = (_number(source, number, entry, name) for name in (TIME, INPUT, OUTPUT))
        rows.append((stamp, inputs, outputs))
        blocks.append(_blocks(source, number, entry))
    stamps, inputs_of, outputs_of = np.asarray(rows, dtype=np.float64).T
    prompts = inputs_of.tolist()
    size = block_tokens_of(source, prompts, blocks, options.block_tokens)
    return build_trace(
        source,
        options,
        times=stamps / unit_of(source, stamps, options.time_unit).per_second,
        input_tokens=inputs_of,
        output_tokens=outputs_of,
        cached_tokens=np.asarray(cached_tokens(prompts, blocks, size), dtype=np.float64),
        header=False,
    )


def _entry(source: TraceSource, number: int, line: str) -> Mapping[str, object]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise source.error("is not a JSON object on one line", line=number) from None
    if not isinstance(entry, dict):
        raise source.error("is JSON, but not an object", line=number)
    return entry


def _number(source: TraceSource, number: int, entry: Mapping[str, object], name: str) -> float:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise source.error(f"{name} is missing or not a number", line=number)
    try:
        return (parse_number if name == TIME else parse_tokens)(str(value))
    except ValueError as error:
        raise source.error(f"{name} {shown(str(value))} {error}", line=number) from None


def _blocks(source: TraceSource, number: int, entry: Mapping[str, object]) -> list[int | str]:
    blocks = entry.get(BLOCKS, [])
    if not isinstance(blocks, list) or not all(isinstance(block, int | str) for block in blocks):
        raise source.error(f"{BLOCKS} is not a list of block numbers", line=number)
    return blocks


FORMAT = TraceFormat(
    name="mooncake",
    columns='{"timestamp": t, "input_length": n, "output_length": n, "hash_ids": [n, ...]}',
    origin="Mooncake, github.com/kvcache-ai/Mooncake (FAST25-release/traces); Bailian; guidellm",
    has_unit=True,
    matches_line=_matches,
    load=_load,
)
