"""Time and memory of trace files: `python -m tests.benchmarks.bench_traces`."""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from forebay.flow.trace import RequestTrace
from forebay.offline.traces import PRESETS, generate, load_trace, write_plain

T = TypeVar("T")


def timed(what: str, rows: int, action: Callable[[], T]) -> T:
    """Run ``action`` and print how long it took."""
    begin = time.perf_counter()
    result = action()
    seconds = time.perf_counter() - begin
    print(f"{what:<24} {rows:>12,} rows {seconds:8.2f} s {rows / seconds / 1e6:6.2f} M rows/s")
    return result


def write_azure(trace: RequestTrace, path: Path) -> None:
    """Write ``trace`` as Azure's CSV of 2024."""
    begin = datetime(2024, 5, 10, tzinfo=UTC).timestamp()
    rows = zip(
        trace.arrival_seconds.tolist(), trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True
    )
    with path.open("w", encoding="utf-8") as stream:
        stream.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for at, inputs, outputs in rows:
            stamp = datetime.fromtimestamp(begin + at, UTC).isoformat(" ", "microseconds")
            stream.write(f"{stamp},{inputs},{outputs}\n")


def main() -> None:
    """Generate, write and read traces of ``--rows`` requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows = parser.parse_args().rows
    spec = replace(PRESETS["steady"], requests_per_second=rows / 3600)
    with tempfile.TemporaryDirectory() as folder:
        plain, azure = Path(folder) / "plain.csv", Path(folder) / "azure.csv"
        trace = timed("generate", rows, lambda: generate(spec, 0))
        timed("write plain", len(trace), lambda: write_plain(trace, plain))
        write_azure(trace, azure)
        size = plain.stat().st_size / 1e6
        timed(f"read plain ({size:.0f} MB)", rows, lambda: load_trace(plain))
        timed("read Azure 2024", rows, lambda: load_trace(azure))
    print(f"largest resident size {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
