"""A metric table for a dialect that has no file here: the names that the dialect reads, with buckets of our own.

So a new dialect can be simulated from its one file. A file in ``tables`` is worth its while where the buckets, the
labels or the behaviour of the real engine matter to a test.
"""

import re
from collections.abc import Iterator
from typing import Any

from forebay.telemetry.query.dialect import GAUGES, HISTOGRAMS, Candidate, Dialect, Signal

_VALUES = {
    Signal.PRESENT: "one",
    Signal.FINISHED: "finished",
    Signal.REJECTED: "zero",
    Signal.ABORTED: "zero",
    Signal.RUNNING: "running",
    Signal.WAITING: "waiting",
    Signal.QUEUED: "queued",
    Signal.AWAKE: "one",
    Signal.PROGRESS: "output_tokens",
    Signal.OUTPUT_TOKENS: "output_tokens",
    Signal.PROMPT_TOKENS: "prompt_tokens",
    Signal.CACHED_TOKENS: "cached_tokens",
    Signal.CACHE_QUERIED_TOKENS: "prompt_tokens",
    Signal.KV_USAGE: "kv_usage",
    Signal.KV_TOKENS: "kv_tokens",
    Signal.KV_CAPACITY: "kv_capacity",
    Signal.PREFILL_TIME: "prefill_seconds",
    Signal.PREFILL_TOKENS: "uncached_length",
    Signal.PROMPT_LENGTH: "prompt_length",
    Signal.TTFT: "ttft_seconds",
    Signal.REQUEST_ITL: "request_itl_seconds",
    Signal.TOKEN_ITL: "token_itl_seconds",
}
_AT_A_GATEWAY = {Signal.RUNNING: "in_service", Signal.WAITING: "held", Signal.STARTED: "dispatched"}
_OF_A_HISTOGRAM = {Signal.OUTPUT_TOKENS: "output_length", Signal.PROMPT_TOKENS: "prompt_length"}
_BUCKETS = {
    "seconds": [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120],
    "tokens": [1, 10, 100, 1000, 10_000, 100_000],
}


def derived_table(dialect: Dialect) -> dict[str, Any]:
    """Return the fields of a table that serves every signal of ``dialect`` under its first name."""
    metrics: dict[tuple[str, str], dict[str, Any]] = {}
    for signal, candidates in dialect.signals.items():
        for metric in _metrics(dialect, signal, candidates[0]):
            metrics.setdefault((metric["name"], str(metric["labels"])), metric)
    if dialect.kv_config is not None:
        config = dialect.kv_config
        size = {config.blocks_label: "{kv_blocks_16}", config.block_size_label: "16"}
        metrics[config.metric, ""] = _metric(config.metric, "gauge", "one", size)
    return {
        "name": dialect.name,
        "kind": dialect.kind,
        "labels": {label: "{model}" for label in dialect.select_by if label.endswith("model")},
        "buckets": _BUCKETS,
        "metrics": [metrics[key] for key in sorted(metrics)],
        "counter_suffix": "",
    }


def _metrics(dialect: Dialect, signal: Signal, candidate: Candidate) -> Iterator[dict[str, Any]]:
    labels = {label: value for label, value in candidate.labels.items() if value}
    labels |= {label: example(pattern) for label, pattern in candidate.label_patterns.items()}
    first, *more = candidate.metrics
    value = _AT_A_GATEWAY.get(signal) if dialect.kind == "gateway" else None
    value = value or _VALUES.get(signal)
    if signal in HISTOGRAMS and value is not None:
        yield _metric(first, "histogram", value, labels)
    elif first.endswith(("_sum", "_count")):
        base = _OF_A_HISTOGRAM.get(signal, "ttft_seconds" if signal is Signal.BEGUN else "e2e_seconds")
        yield _metric(re.sub("_(sum|count)$", "", first), "histogram", base, labels)
    elif value is not None:
        kind = "gauge" if signal in GAUGES else "counter"
        yield _metric(first, kind, value, labels)
        yield from (_metric(name, kind, "zero", labels) for name in more)


def _metric(name: str, kind: str, value: str, labels: dict[str, str]) -> dict[str, Any]:
    metric: dict[str, Any] = {"name": name, "type": kind, "value": value, "help": value, "labels": labels}
    if kind == "histogram":
        metric["buckets"] = "tokens" if value.endswith("length") else "seconds"
    return metric


def example(pattern: str) -> str:
    """Return a text that a pattern of a label matches: the shortest, by the first alternative of each group."""
    text = re.sub(r"\([^()]*\)\?", "", pattern).replace(".*", "")
    return re.sub(r"\(([^()|]*)[^()]*\)", r"\1", text)
