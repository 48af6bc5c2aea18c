"""Columns of a large CSV file as arrays: fast in bulk, and slow and exact where something is wrong.

The bulk path gives blocks of lines to numpy's C parser. Whatever it refuses (quoted fields included) is read again
line by line, which either succeeds or names the first line that is wrong.
"""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.offline.traces.trace_error import TraceError
from forebay.offline.traces.trace_source import TraceSource, shown

BLOCK_LINES = 500_000
MAX_TOKENS = 10**8
"""More tokens than this in one request are taken for an error in the file."""

Parser = Callable[[str], float]
"""Text of one field -> its value; raises `ValueError` with the end of a sentence (`is negative`)."""
BulkParser = Callable[[npt.NDArray[np.void]], FloatArray]
"""One column of a block, as the dtype asked for -> values; raises `ValueError` if any is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvColumn:
    """One column to read: where it is, and how to parse it in bulk and alone."""

    name: str
    index: int
    dtype: str
    parse: Parser
    parse_bulk: BulkParser


def number_column(name: str, index: int) -> CsvColumn:
    """Return a column of finite numbers that are not negative."""
    return CsvColumn(name=name, index=index, dtype="f8", parse=parse_number, parse_bulk=_bulk_number)


def token_column(name: str, index: int) -> CsvColumn:
    """Return a column of token counts: whole numbers from 0 to `MAX_TOKENS`."""
    return CsvColumn(name=name, index=index, dtype="f8", parse=parse_tokens, parse_bulk=_bulk_tokens)


def parse_number(text: str) -> float:
    """Return a finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError("is not a number") from None
    if not math.isfinite(value):
        raise ValueError("is not a finite number")
    if value < 0:
        raise ValueError("is negative")
    return value


def parse_tokens(text: str) -> float:
    """Return a believable, whole number of tokens."""
    value = parse_number(text)
    if value != int(value):
        raise ValueError("is not a whole number of tokens")
    if value > MAX_TOKENS:
        raise ValueError(f"is more tokens than any model takes (limit {MAX_TOKENS})")
    return value


def _bulk_number(raw: npt.NDArray[np.void]) -> FloatArray:
    values = raw.astype(np.float64)
    if not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError
    return values


def _bulk_tokens(raw: npt.NDArray[np.void]) -> FloatArray:
    values = _bulk_number(raw)
    if not np.all((values <= MAX_TOKENS) & (values == np.floor(values))):
        raise ValueError
    return values


def split_header(line: str) -> list[str]:
    """Return the column names of a header line, without quotes and outer blanks."""
    try:
        fields = next(csv.reader([line]), [])
    except csv.Error:
        return []
    return [field.strip() for field in fields]


def read_columns(
    source: TraceSource, columns: Sequence[CsvColumn], *, header: bool = True
) -> dict[str, FloatArray]:
    """Return the values of ``columns`` by name.

    Args:
        source: The file.
        columns: What to read.
        header: Whether the first line holds names.

    Raises:
        TraceError: naming the first line that does not parse, or if there is no row at all.
    """
    try:
        table = _read_bulk(source, columns, header=header)
    except TraceError:
        raise
    except ValueError:
        table = _read_exactly(source, columns, header=header)
    if not len(next(iter(table.values()))):
        raise source.error("has no rows" + (" below its header" if header else ""))
    return table


def _read_bulk(source: TraceSource, columns: Sequence[CsvColumn], *, header: bool) -> dict[str, FloatArray]:
    ordered = sorted(columns, key=lambda column: column.index)
    dtype = np.dtype([(column.name, column.dtype) for column in ordered])
    blocks: dict[str, list[FloatArray]] = {column.name: [] for column in ordered}
    for lines in _blocks(source, header=header):
        block = np.loadtxt(
            lines,
            dtype=dtype,
            delimiter=",",
            comments=None,
            usecols=[column.index for column in ordered],
            ndmin=1,
        )
        for column in ordered:
            blocks[column.name].append(column.parse_bulk(block[column.name]))
    return {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in blocks.items()}


def _blocks(source: TraceSource, *, header: bool) -> Iterator[list[str]]:
    with source.text() as stream:
        if header:
            _skip_header(stream)
        while lines := list(islice(stream, BLOCK_LINES)):
            if filled := [line for line in lines if not line.isspace()]:
                yield filled


def _skip_header(stream: Iterator[str]) -> None:
    for line in stream:
        if line.strip():
            return


def _read_exactly(source: TraceSource, columns: Sequence[CsvColumn], *, header: bool) -> dict[str, FloatArray]:
    table: dict[str, list[float]] = {column.name: [] for column in columns}
    for number, line in islice(source.numbered_lines(), int(header), None):
        try:
            fields = next(csv.reader([line], strict=True))
        except (csv.Error, StopIteration) as error:
            raise source.error(f"is not a CSV line ({error})", line=number) from None
        for column in columns:
            table[column.name].append(_parse_field(source, number, fields, column))
    return {name: np.asarray(values, dtype=np.float64) for name, values in table.items()}


def _parse_field(source: TraceSource, number: int, fields: Sequence[str], column: CsvColumn) -> float:
    if column.index >= len(fields):
        raise source.error(f"column {column.name} is missing (the line has {len(fields)} fields)", line=number)
    text = fields[column.index].strip()
    try:
        return column.parse(text)
    except ValueError as error:
        raise source.error(f"{column.name} {shown(text)} {error}", line=number) from None
