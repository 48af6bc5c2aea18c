"""Everything that must run before the curtain rises: nodes, workloads, Prometheus with a past, the operator."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import devcluster
from demo.scene import (
    DECODE_NODES,
    NAMESPACE,
    POOL,
    PREFILL_NODES,
    Scene,
    resources,
    simulated_engines,
    workloads,
)
from demo.yesterday import backfill
from devcluster import AutoscalerTimes, PrometheusServer
from devcluster.ports import LOOPBACK
from devcluster.rest import mapping
from devcluster.waiting import eventually
from enginesim.config import parse_config
from enginesim.pods import PodLister
from enginesim.runner import playing
from enginesim.server import MetricsServer
from enginesim.simulator import Simulator
from runoperator import RunningOperator, start_operator
from runoperator.install import install
from runoperator.scenario import prometheus_config

READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What the scene plays on."""

    prometheus: PrometheusServer
    operator: RunningOperator
    simulator: Simulator
    began: float
    """When traffic began, on the monotonic clock; the operator joined a little later."""


@contextmanager
def stage(cluster: devcluster.Cluster, scene: Scene) -> Iterator[Stage]:
    """Set the stage on ``cluster``, let traffic begin, and start the operator."""
    config = parse_config({"pools": [simulated_engines()], "poll_seconds": 0.5})
    simulator = Simulator(config, {(NAMESPACE, POOL): scene.trace})
    with (
        MetricsServer(simulator, LOOPBACK, 0) as server,
        _around(cluster, f"http://{server.address}/sd") as prometheus,
    ):
        backfill(prometheus.url, scene, until_seconds=time.time())
        began = time.monotonic()
        with playing(simulator, PodLister(cluster.rest())):
            yield Stage(prometheus, _operator(cluster, prometheus, scene), simulator, began)


@contextmanager
def _around(cluster: devcluster.Cluster, discovery: str) -> Iterator[PrometheusServer]:
    install(cluster)
    pools = [PREFILL_NODES, DECODE_NODES]
    for pool in pools:
        cluster.add_gpu_nodes(pool, pool.min_nodes)
    autoscaler = cluster.start_autoscaler(pools, times=AutoscalerTimes(unneeded_seconds=15.0))
    try:
        cluster.apply(workloads())
        cluster.apply(resources())
        prometheus = cluster.start_prometheus(prometheus_config(discovery), receives=True)
        eventually(
            lambda: _ready(cluster), timeout_seconds=READY_SECONDS, describe="one ready replica of each role"
        )
        yield prometheus
    finally:
        autoscaler.stop()


def _operator(cluster: devcluster.Cluster, prometheus: PrometheusServer, scene: Scene) -> RunningOperator:
    """Start the operator, which reads the days before from Prometheus."""
    past = 0 if scene.history is None else len(scene.history) * scene.step_seconds
    options = {
        "history": f"{past}s",
        "forecast-step": f"{scene.step_seconds}s",
        "log-level": "warning",
        # Nobody waits to take over, and a laptop may be busy.
        "lease-duration": "30s",
        "renew-deadline": "20s",
    }
    return start_operator(cluster, prometheus.url, name="forebay", options=options)


def _ready(cluster: devcluster.Cluster) -> bool:
    deployments = cluster.rest().items(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
    return len(deployments) == 2 and all(mapping(d, "status").get("readyReplicas") for d in deployments)
