"""Mooncake JSONL: ``{"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}`` per line.

``hash_ids`` names the 512-token blocks of the prompt. An infinite prefix cache answers the leading blocks that any
earlier request has had, which gives the most that caching could save (`RequestTrace.cached_tokens`). Source:
https://github.com/kvcache-ai/Mooncake (FAST25-release), Qin et al., FAST 2025.
"""

import json
from collections.abc import Mapping

import numpy as np

from forebay.flow.trace import RequestTrace
from forebay.offline.traces.catalogue import TraceFormat
from forebay.offline.traces.csv_columns import parse_number, parse_tokens
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.requests import build_trace
from forebay.offline.traces.trace_source import TraceSource, shown

BLOCK_TOKENS = 512
TIME, INPUT, OUTPUT, BLOCKS = "timestamp", "input_length", "output_length", "hash_ids"


def _matches(line: str) -> bool:
    return line.startswith("{") and all(f'"{name}"' in line for name in (TIME, INPUT, OUTPUT))


def _load(source: TraceSource, options: LoadOptions) -> RequestTrace:
    rows: list[tuple[float, float, float, float]] = []
    cache: set[int | str] = set()
    for number, line in source.numbered_lines():
        entry = _entry(source, number, line)
        milliseconds = _number(source, number, entry, TIME)
        inputs = _number(source, number, entry, INPUT)
        outputs = _number(source, number, entry, OUTPUT)
        blocks = _blocks(source, number, entry)
        hits = min(inputs, BLOCK_TOKENS * _leading_hits(blocks, cache))
        cache.update(blocks)
        rows.append((milliseconds / 1000, inputs, outputs, hits))
    times, inputs_of, outputs_of, hits_of = np.asarray(rows, dtype=np.float64).T
    return build_trace(
        source,
        options,
        times=times,
        input_tokens=inputs_of,
        output_tokens=outputs_of,
        cached_tokens=hits_of,
        header=False,
    )


def _leading_hits(blocks: list[int | str], cache: set[int | str]) -> int:
    for index, block in enumerate(blocks):
        if block not in cache:
            return index
    return len(blocks)


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
    columns='{"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [n, ...]}',
    origin="Mooncake, github.com/kvcache-ai/Mooncake (FAST25-release/traces)",
    matches_line=_matches,
    load=_load,
)
