"""A served model on a test cluster: engines that behave, their traffic, and the Prometheus that scrapes them."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

import devcluster
from devcluster.rest import Json
from enginesim import MetricsServer, PodLister, Runner, Simulator, parse_config
from forebay.flow.trace import RequestTrace


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of constant traffic."""

    seconds: float
    requests_per_second: float


def stepped_trace(steps: Sequence[Step], *, input_tokens: int, output_tokens: int, seed: int = 1) -> RequestTrace:
    """Return Poisson arrivals whose rate goes through `steps`, all requests of one size."""
    rng = np.random.default_rng(seed)
    start, arrivals = 0.0, []
    for step in steps:
        count = rng.poisson(step.seconds * step.requests_per_second)
        arrivals.append(np.sort(rng.uniform(start, start + step.seconds, count)))
        start += step.seconds
    times = np.concatenate(arrivals)
    return RequestTrace(
        name="steps",
        arrival_seconds=times,
        input_tokens=np.full(len(times), input_tokens),
        output_tokens=np.full(len(times), output_tokens),
    )


@contextmanager
def engines(
    cluster: devcluster.Cluster, pool: Mapping[str, object], trace: RequestTrace
) -> Iterator[tuple[Simulator, str]]:
    """Simulate one pool's engines while the context lasts; yields the simulator and its discovery address."""
    config = parse_config({"pools": [dict(pool)], "poll_seconds": 0.5})
    key = (config.pools[0].namespace, config.pools[0].name)
    simulator = Simulator(config, {key: trace})
    stopped = threading.Event()
    runner = Runner(simulator, PodLister(cluster.rest()), say=lambda _: None, sleep=stopped.wait)
    thread = threading.Thread(target=runner.run, args=(stopped.is_set,), name="engines", daemon=True)
    with MetricsServer(simulator, "127.0.0.1", 0) as server:
        thread.start()
        try:
            yield simulator, f"http://{server.address}/sd"
        finally:
            stopped.set()
            thread.join(10.0)


def prometheus_config(*discovery: str, scrape_seconds: int = 1) -> Json:
    """Return the configuration of a Prometheus that scrapes what these addresses discover."""
    return {
        "global": {"scrape_interval": f"{scrape_seconds}s", "scrape_timeout": f"{scrape_seconds}s"},
        "scrape_configs": [
            {
                "job_name": "engines",
                "http_sd_configs": [{"url": url, "refresh_interval": "1s"} for url in discovery],
            }
        ],
    }


def engine_deployment(
    name: str,
    pool: devcluster.NodePool,
    *,
    namespace: str,
    replicas: int = 1,
    gpus: int = 1,
) -> Json:
    """Return the Deployment of one role's engines on a node pool."""
    container = {"name": "engine", "image": "vllm", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": pool.cold_start.pod_annotations()},
                "spec": {
                    "nodeSelector": {devcluster.POOL_LABEL: pool.name},
                    "containers": [container],
                },
            },
        },
    }
