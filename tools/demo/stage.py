"""Everything that must run before the curtain rises: nodes, workloads, Prometheus, the operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import devcluster
from demo.scene import (
    DECODE_NODES,
    FORECAST_STEP_SECONDS,
    NAMESPACE,
    POOL,
    PREFILL_NODES,
    resources,
    simulated_engines,
    workloads,
)
from devcluster import AutoscalerTimes, PrometheusServer
from devcluster.ports import LOOPBACK
from devcluster.rest import mapping
from devcluster.waiting import eventually
from enginesim.config import parse_config
from enginesim.server import MetricsServer
from enginesim.simulator import Simulator
from forebay.flow.trace import RequestTrace
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


@contextmanager
def stage(cluster: devcluster.Cluster, trace: RequestTrace) -> Iterator[Stage]:
    """Set the stage on ``cluster``; the engines serve their metrics, and no request arrives yet."""
    config = parse_config({"pools": [simulated_engines()], "poll_seconds": 0.5})
    simulator = Simulator(config, {(NAMESPACE, POOL): trace})
    with MetricsServer(simulator, LOOPBACK, 0) as server, _around(cluster, f"http://{server.address}/sd") as on:
        yield Stage(*on, simulator)


@contextmanager
def _around(cluster: devcluster.Cluster, discovery: str) -> Iterator[tuple[PrometheusServer, RunningOperator]]:
    install(cluster)
    pools = [PREFILL_NODES, DECODE_NODES]
    for pool in pools:
        cluster.add_gpu_nodes(pool, pool.min_nodes)
    autoscaler = cluster.start_autoscaler(pools, times=AutoscalerTimes(unneeded_seconds=15.0))
    try:
        cluster.apply(workloads())
        cluster.apply(resources())
        prometheus = cluster.start_prometheus(prometheus_config(discovery))
        eventually(
            lambda: _ready(cluster), timeout_seconds=READY_SECONDS, describe="one ready replica of each role"
        )
        options = {
            "history": "0s",
            "forecast-step": f"{FORECAST_STEP_SECONDS}s",
            "log-level": "warning",
            # Nobody waits to take over, and a laptop may be busy.
            "lease-duration": "30s",
            "renew-deadline": "20s",
        }
        operator = start_operator(cluster, prometheus.url, name="forebay", options=options)
        yield prometheus, operator
    finally:
        autoscaler.stop()


def _ready(cluster: devcluster.Cluster) -> bool:
    deployments = cluster.rest().items(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
    return len(deployments) == 2 and all(mapping(d, "status").get("readyReplicas") for d in deployments)
