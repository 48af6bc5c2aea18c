"""Everything that must run before the curtain rises: nodes, workloads, Prometheus, the operator."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import devcluster
from demo.scene import DECODE_NODES, NAMESPACE, POOL, PREFILL_NODES, resources, simulated_engines, workloads
from devcluster import AutoscalerTimes, PrometheusServer
from devcluster.rest import mapping
from devcluster.waiting import eventually
from enginesim.config import parse_config
from enginesim.pods import PodLister
from enginesim.runner import Runner
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
    """Set the stage on ``cluster``; the engines serve their metrics, and their traffic begins with `traffic`."""
    config = parse_config({"pools": [simulated_engines()], "poll_seconds": 0.5})
    simulator = Simulator(config, {(NAMESPACE, POOL): trace})
    with MetricsServer(simulator, "127.0.0.1", 0) as server, _around(cluster, f"http://{server.address}/sd") as on:
        yield Stage(*on, simulator)


@contextmanager
def traffic(cluster: devcluster.Cluster, simulator: Simulator) -> Iterator[None]:
    """Let requests arrive while the context lasts."""
    stopped = threading.Event()
    runner = Runner(simulator, PodLister(cluster.rest()), say=lambda _: None, sleep=stopped.wait)
    thread = threading.Thread(target=runner.run, args=(stopped.is_set,), name="engines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(10.0)


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
        operator = start_operator(
            cluster, prometheus.url, name="forebay", options={"history": "0s", "log-level": "warning"}
        )
        yield prometheus, operator
    finally:
        autoscaler.stop()


def _ready(cluster: devcluster.Cluster) -> bool:
    deployments = cluster.rest().items(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
    return len(deployments) == 2 and all(mapping(d, "status").get("readyReplicas") for d in deployments)
