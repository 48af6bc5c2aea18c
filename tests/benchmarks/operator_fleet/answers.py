"""Answers to the telemetry's PromQL for thousands of workloads: made up, but of the true size and shape.

Every workload serves its own constant rate; with a swing, rates breathe around it with a period of ten minutes,
each in its own phase. A query is not evaluated: what it asks for is read off its metric, its `offset` and its
shape. That the queries mean what they should is tested on a real Prometheus, not here.
"""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

SCRAPE_SECONDS = 15
_SAMPLE_AGE_SECONDS = 3.0
_PERIOD_SECONDS = 600.0
_PROMPT_TOKENS, _OUTPUT_TOKENS = 500.0, 150.0
_HELD_SECONDS = {"prefill": 0.2, "decode": 3.5}

#: How much each counter grows with one request; histograms by their `_count` and `_sum`.
_PER_REQUEST = {
    "vllm:request_success_total": 1.0,
    "vllm:request_generation_tokens_sum": _OUTPUT_TOKENS,
    "vllm:generation_tokens_total": _OUTPUT_TOKENS,
    "vllm:prompt_tokens_total": _PROMPT_TOKENS,
    "vllm:prefix_cache_hits_total": 0.4 * _PROMPT_TOKENS,
    "vllm:prefix_cache_queries_total": _PROMPT_TOKENS,
    "vllm:request_prompt_tokens_count": 1.0,
    "vllm:request_prompt_tokens_sum": _PROMPT_TOKENS,
    "vllm:request_prefill_time_seconds_count": 1.0,
    "vllm:request_prefill_time_seconds_sum": 0.07,
    "vllm:request_prefill_kv_computed_tokens_count": 1.0,
    "vllm:request_prefill_kv_computed_tokens_sum": 0.6 * _PROMPT_TOKENS,
    "vllm:time_to_first_token_seconds_count": 1.0,
    "vllm:time_to_first_token_seconds_sum": 0.02,  # read of decode only: what it adds
    "vllm:request_time_per_output_token_seconds_count": 1.0,
    "vllm:inter_token_latency_seconds_count": _OUTPUT_TOKENS - 1.0,
    "vllm:inter_token_latency_seconds_sum": (_OUTPUT_TOKENS - 1.0) * 0.022,
}
_GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
_INFO = "vllm:cache_config_info"
#: Cumulative shares of each histogram's buckets, by the edges of vLLM.
_TTFT = {"0.1": 0.3, "0.25": 0.8, "0.5": 0.97, "0.75": 0.99, "1.0": 1.0, "2.5": 1.0, "5.0": 1.0, "+Inf": 1.0}
_ITL = {"0.01": 0.0, "0.025": 0.9, "0.05": 0.995, "0.075": 1.0, "0.1": 1.0, "0.25": 1.0, "+Inf": 1.0}
_TOKENS = {
    "1.0": 0.0,
    "10.0": 0.0,
    "50.0": 0.05,
    "100.0": 0.1,
    "200.0": 0.25,
    "500.0": 0.6,
    "1000.0": 0.9,
    "2000.0": 1.0,
    "5000.0": 1.0,
    "+Inf": 1.0,
}
_BUCKETS = {
    "vllm:time_to_first_token_seconds": _TTFT,
    "vllm:request_time_per_output_token_seconds": _ITL,
    "vllm:inter_token_latency_seconds": _ITL,
    "vllm:request_prompt_tokens": _TOKENS,
    "vllm:request_prefill_kv_computed_tokens": _TOKENS,
}

_METRIC = re.compile(r"vllm:[a-z_]+")
_OFFSET = re.compile(r" offset (\d+)s")
_EDGES = re.compile(r'le=~"([^"]*)"')
_ONE_WORKLOAD = re.compile(r'namespace="([^"]*)".*"forebay_workload","([^"$]+)","pod"', re.DOTALL)

LOWEST_RATE, HIGHEST_RATE = 0.3, 1.2


def requests_per_second(number: float) -> float:
    """Return the rate of a pool by its number, the same for both roles."""
    return LOWEST_RATE + (HIGHEST_RATE - LOWEST_RATE) * (number * 0.6180339887 % 1.0)


Values = Callable[[float], "np.ndarray[tuple[int], np.dtype[np.float64]]"]


class Answers:
    """Renders the `result` of queries about a fleet.

    Args:
        workloads: namespace and name of each; a name ends in its role.
    """

    def __init__(self, workloads: Sequence[tuple[str, str]]) -> None:
        self.swing = 0.0
        """Amplitude of the traffic, as a share of each workload's own rate."""
        self._index = {workload: position for position, workload in enumerate(workloads)}
        count = len(workloads)
        pools = np.array([int(name.split("-")[1]) for _, name in workloads])
        self._rates = np.array([requests_per_second(pool) for pool in pools.tolist()])
        self._phases = 2.0 * math.pi * (pools * 0.7548776662 % 1.0)
        self._held = np.array([_HELD_SECONDS[name.rpartition("-")[2]] for _, name in workloads])
        self._labels = [f'"namespace":"{namespace}","forebay_workload":"{name}"' for namespace, name in workloads]
        self._everyone = np.arange(count)

    def instant(self, query: str, at_seconds: float) -> str:
        """Return the rendered result of a query at one time."""
        if query.startswith("group by(__name__"):
            return _vector(_listed(with_edges="by(__name__,le)" in query), [1.0], at_seconds)
        if query.startswith("count(") and ")-count(" in query:
            return _vector([""], [0.0], at_seconds)
        if " unless " in query:
            return "[]"  # nothing new, and nothing stuck
        metric = self._metric(query)
        chosen = self._chosen(query)
        if metric == _INFO:
            return self._plain(chosen, ',"num_gpu_blocks":"7500","block_size":"16"', 1.0, at_seconds)
        base, bucket, _ = metric.partition("_bucket")
        if bucket and not query.startswith("histogram_quantile("):
            return self._by_edge(base, query, chosen, at_seconds)
        return _vector(
            [self._labels[i] for i in chosen], self._values(query, metric)(at_seconds)[chosen], at_seconds
        )

    def range(self, query: str, start_seconds: float, end_seconds: float, step_seconds: float) -> str:
        """Return the rendered result of a query at every step."""
        if " unless " in query:
            return "[]"
        values, chosen = self._values(query, self._metric(query)), self._chosen(query)
        times = np.arange(start_seconds, end_seconds + 1e-6, step_seconds).tolist()
        columns = [values(at)[chosen].tolist() for at in times]
        items = (
            f'{{"metric":{{{self._labels[i]}}},"values":['
            + ",".join(f'[{at:.0f},"{value:.12g}"]' for at, value in zip(times, row, strict=True))
            + "]}"
            for i, row in zip(chosen.tolist(), zip(*columns, strict=True), strict=True)
        )
        return f"[{','.join(items)}]"

    def _metric(self, query: str) -> str:
        found = _METRIC.search(query)
        if found is None:
            raise ValueError(f"no metric of vLLM in {query[:120]}")
        return found.group()

    def _chosen(self, query: str) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        one = _ONE_WORKLOAD.search(query)
        if one is None:
            return self._everyone
        position = self._index.get((one.group(1), one.group(2)))
        return np.array([] if position is None else [position], dtype=np.int64)

    def _values(self, query: str, metric: str) -> Values:
        """Return what a query gives for every workload, as a function of time."""
        ones = np.ones(len(self._labels))
        if "timestamp(" in query:
            return lambda at: ones * (at - _SAMPLE_AGE_SECONDS)
        if "count_over_time(" in query:
            window = int(re.findall(r"\[(\d+)s\]", query)[0])
            return lambda at: ones * (window // SCRAPE_SECONDS)
        if query.startswith("histogram_quantile("):
            return lambda at: ones * (0.45 if "time_to_first" in metric else 0.03)
        if query.startswith("count by") or "(count by(" in query:
            return lambda at: ones
        if metric in _GAUGES:
            return self._gauge(query, metric)
        offset = _OFFSET.search(query)
        if metric not in _PER_REQUEST or offset is None:
            raise ValueError(f"do not know what to answer to {query[:200]}")
        scale = _PER_REQUEST[metric] * int(offset.group(1))
        return lambda at: self._rate(at) * scale

    def _gauge(self, query: str, metric: str) -> Values:
        if metric == "vllm:num_requests_waiting":
            return lambda at: np.zeros(len(self._labels))
        if metric == "vllm:kv_cache_usage_perc":
            return lambda at: 0.02 + 0.03 * self._rate(at) * self._held
        offset = _OFFSET.search(query)
        if offset is None:
            return lambda at: np.round(self._rate(at) * self._held)
        before = int(offset.group(1))
        return lambda at: np.round(self._rate(at) * self._held) - np.round(self._rate(at - before) * self._held)

    def _rate(self, at_seconds: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        if self.swing == 0.0:
            return self._rates
        turn = 2.0 * math.pi * (at_seconds % _PERIOD_SECONDS) / _PERIOD_SECONDS
        breath: np.ndarray[tuple[int], np.dtype[np.float64]] = self._rates * (
            1.0 + self.swing * np.sin(turn + self._phases)
        )
        return breath

    def _plain(
        self, chosen: "np.ndarray[tuple[int], np.dtype[np.int64]]", more: str, value: float, at_seconds: float
    ) -> str:
        labels = [self._labels[i] + more for i in chosen]
        return _vector(labels, [value] * len(labels), at_seconds)

    def _by_edge(
        self, base: str, query: str, chosen: "np.ndarray[tuple[int], np.dtype[np.int64]]", at_seconds: float
    ) -> str:
        shares = _BUCKETS[base]
        wanted = _EDGES.search(query)
        edges = wanted.group(1).replace("\\", "").split("|") if wanted else list(shares)
        offset = _OFFSET.search(query)
        seconds = int(offset.group(1)) if offset else 1
        totals = self._rate(at_seconds)[chosen] * seconds * _PER_REQUEST[f"{base}_count"]
        labels = [f'{self._labels[i]},"le":"{edge}"' for edge in edges for i in chosen]
        return _vector(labels, np.concatenate([totals * shares[edge] for edge in edges]), at_seconds)


def _listed(*, with_edges: bool) -> list[str]:
    """Return the labels of the series by which the server tells what it has."""
    if with_edges:
        return [
            f'"__name__":"{base}_bucket","le":"{edge}"'
            for base, shares in _BUCKETS.items()
            if base.endswith("_seconds")
            for edge in shares
        ]
    return [f'"__name__":"{name}"' for name in (*_PER_REQUEST, *_GAUGES, _INFO)]


def _vector(labels: Sequence[str], values: Sequence[float] | np.ndarray, at_seconds: float) -> str:
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 1:
        numbers = np.repeat(numbers, len(labels))
    end = f'}},"value":[{at_seconds:.3f},"'
    items = (
        f'{{"metric":{{{label}{end}{value:.12g}"]}}' for label, value in zip(labels, numbers.tolist(), strict=True)
    )
    return f"[{','.join(items)}]"
