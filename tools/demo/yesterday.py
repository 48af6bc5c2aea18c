"""The days before, written into Prometheus as the engines would have exported them."""

from collections.abc import Iterator

import numpy as np

from demo.scene import NAMESPACE, POOL, Scene
from devcluster.remotewrite import STALE, Labels, write
from forebay.flow.trace import FloatArray

_INPUT_TOKENS, _OUTPUT_TOKENS = 1_000.0, 150.0
"""Mean lengths of the days before; only the counts matter to the forecasters."""
_COUNTERS = (
    ("prefill", "vllm:request_success_total", (("finished_reason", "stop"),), 1.0),
    ("prefill", "vllm:time_to_first_token_seconds_count", (), 1.0),
    ("prefill", "vllm:prompt_tokens_total", (), _INPUT_TOKENS),
    ("decode", "vllm:request_success_total", (("finished_reason", "stop"),), 1.0),
    ("decode", "vllm:generation_tokens_total", (), _OUTPUT_TOKENS),
)
"""Role, metric, further labels, and what a request adds."""
_GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting")


def backfill(url: str, scene: Scene, *, until_seconds: float) -> None:
    """Write the scene's history so that it ends at ``until_seconds`` (Unix).

    Raises:
        OSError: Prometheus does not take it.
    """
    if scene.history is None:
        return
    times, requests = _by_second(scene, scene.history, until_seconds)
    for labels, values in _series(requests):
        points = list(zip(times.tolist(), values.tolist(), strict=True))
        write(url, {labels: [*points, (until_seconds, STALE)]})


def _by_second(scene: Scene, counts: FloatArray, until_seconds: float) -> tuple[FloatArray, FloatArray]:
    """Return seconds before the start, oldest first, with the requests that had arrived by then."""
    step = scene.step_seconds
    edges = until_seconds - step * np.arange(len(counts), -1, -1.0)
    total = np.concatenate(([0.0], np.cumsum(counts)))
    times = np.arange(edges[0], until_seconds, 1.0)
    return times, np.floor(np.interp(times, edges, total))


def _series(requests: FloatArray) -> Iterator[tuple[Labels, FloatArray]]:
    """Yield every series of one engine per role."""
    for role, metric, labels, amount in _COUNTERS:
        yield (("__name__", metric), *_engine(role), *labels), amount * requests
    for role in ("prefill", "decode"):
        for metric in _GAUGES:
            yield (("__name__", metric), *_engine(role)), np.zeros(len(requests))
        yield (
            (
                ("__name__", "vllm:cache_config_info"),
                *_engine(role),
                ("num_gpu_blocks", "1000"),
                ("block_size", "16"),
            ),
            np.ones(len(requests)),
        )


def _engine(role: str) -> Labels:
    """Return the labels of the engine that served the days before."""
    pod = f"{POOL}-{role}-7d9f8b6c5d-b2k4z"
    return (("namespace", NAMESPACE), ("pod", pod), ("job", "engines"), ("model_name", "demo"))
