"""Write a trace as plain CSV."""

import gzip
import io
from pathlib import Path

import numpy as np

from forebay.flow.trace import RequestTrace


def write_plain(trace: RequestTrace, path: Path | str) -> None:
    """Write ``arrival_s,input_tokens,output_tokens[,cached_tokens]``, packed if the name ends in ``.gz``.

    Arrivals are written to the microsecond, so that reading gives them back within half of one.
    """
    path = Path(path)
    names = ["arrival_s", "input_tokens", "output_tokens"]
    columns = [trace.arrival_seconds, trace.input_tokens, trace.output_tokens]
    formats = ["%.6f", "%d", "%d"]
    if trace.cached_tokens is not None:
        names.append("cached_tokens")
        columns.append(trace.cached_tokens)
        formats.append("%d")
    with _open(path) as stream:
        np.savetxt(
            stream, np.column_stack(columns), fmt=formats, delimiter=",", header=",".join(names), comments=""
        )


def _open(path: Path) -> io.TextIOWrapper:
    raw = gzip.GzipFile(path, "wb") if path.suffix == ".gz" else path.open("wb")
    return io.TextIOWrapper(raw, encoding="utf-8")
