"""Simulated engines on the real parts: pods from a real API server, metrics through a real Prometheus."""

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import yaml

import devcluster
from devcluster import Cluster, ColdStart, NodePool
from devcluster.gpu import GPU_RESOURCE
from devcluster.rest import Json
from devcluster.waiting import eventually
from forebay.telemetry.query.pod_names import workload_of_pod

COLD_START = ColdStart(image_pull_seconds=0.5, model_load_seconds=1, termination_seconds=0.5)
SCRAPE_SECONDS = 1
TTFT_BUCKETS = "vllm:time_to_first_token_seconds_bucket"


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[NodePool]:
    """Room for 8 engines of one GPU."""
    pool = NodePool("enginesim", gpus_per_node=8, cold_start=COLD_START)
    cluster.add_gpu_nodes(pool)
    yield pool
    cluster.kubectl("delete", "nodes", "-l", f"{devcluster.POOL_LABEL}={pool.name}", "--wait=false")


@pytest.fixture
def simulator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[str]:
    """``python -m enginesim`` beside the cluster; yields its address."""
    pool = {
        "name": "chat",
        "namespace": namespace,
        "engine": "vllm",
        "traffic": {"preset": "steady", "requests_per_second": 8, "duration_seconds": 3600},
        "gateway": {"name": "chat-epp"},
        "workloads": [{"name": "chat-prefill", "role": "prefill"}, {"name": "chat-decode", "role": "decode"}],
    }
    config = tmp_path / "enginesim.yaml"
    config.write_text(yaml.safe_dump({"pools": [pool]}))
    command = [sys.executable, "-m", "enginesim", str(config), "--kubeconfig", str(cluster.kubeconfig)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"(http://127\.0\.0\.1:\d+)/sd", process.stdout.readline())
            assert found is not None
            yield found.group(1)
        finally:
            process.terminate()
        assert process.wait(timeout=20) == 0


def deployment(name: str, replicas: int, pool: NodePool) -> Json:
    """Return a Deployment of engines with one GPU each."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": pool.cold_start.pod_annotations()},
                "spec": {
                    "nodeSelector": {devcluster.POOL_LABEL: pool.name},
                    "containers": [
                        {"name": "engine", "image": "vllm", "resources": {"limits": {GPU_RESOURCE: "1"}}}
                    ],
                },
            },
        },
    }


def get(url: str) -> object:
    """Return the JSON at ``url``."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def status(simulator: str) -> Json:
    """Return the pool's entry of ``/status``."""
    return cast("list[Json]", cast("Json", get(f"{simulator}/status"))["pools"])[0]


def ready(simulator: str) -> dict[str, int]:
    """Return the Ready pods per role, as the simulator sees them."""
    roles = cast("dict[str, dict[str, int]]", status(simulator)["roles"])
    return {role: state["ready"] for role, state in roles.items()}


def query(prometheus: str, expression: str) -> dict[str, float]:
    """Return an instant query's values by their label ``pod`` (empty where there is none)."""
    answer = get(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    result = cast("list[Json]", cast("Json", cast("Json", answer)["data"])["result"])
    return {
        cast("dict[str, str]", one["metric"]).get("pod", ""): float(cast("tuple[float, str]", one["value"])[1])
        for one in result
    }


def test_prometheus_sees_the_ready_pods_serve_and_go(
    cluster: Cluster, namespace: str, nodes: NodePool, simulator: str
) -> None:
    """Protects the chain that every other end-to-end test stands on, from Ready pod to sample and back."""
    rest = cluster.rest()
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    assert ready(simulator) == {"prefill": 0, "decode": 0}
    for name, replicas in (("chat-prefill", 2), ("chat-decode", 2)):
        rest.create(deployments, deployment(name, replicas, nodes))
    prometheus = cluster.start_prometheus(
        {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s"},
            "scrape_configs": [
                {
                    "job_name": "engines",
                    "http_sd_configs": [{"url": f"{simulator}/sd", "refresh_interval": f"{SCRAPE_SECONDS}s"}],
                }
            ],
        }
    ).url

    def all_up() -> None:
        assert ready(simulator) == {"prefill": 2, "decode": 2}
        up = query(prometheus, f'up{{namespace="{namespace}"}}')
        workloads = Counter(workload_of_pod(name) for name in up)
        assert workloads == {"chat-prefill": 2, "chat-decode": 2, "chat-epp": 1}
        assert set(up.values()) == {1.0}

    eventually(all_up, timeout_seconds=120, describe=lambda: json.dumps(status(simulator)))

    def served() -> None:
        finished = query(prometheus, 'sum(vllm:request_success_total{pod=~"chat-decode-.+"})')[""]
        arrived = query(prometheus, "inference_objective_request_total")["chat-epp-0"]
        ttft = query(prometheus, f"histogram_quantile(.95, sum by (le) ({TTFT_BUCKETS}))")[""]
        assert 20 <= finished <= arrived
        assert 0 < ttft < 1

    eventually(served, timeout_seconds=120)

    def caught_up() -> None:
        queues = query(prometheus, "inference_extension_flow_control_queue_size")
        assert queues == {"chat-epp-0": 0}

    eventually(caught_up, timeout_seconds=120)

    rest.patch(f"{deployments}/chat-decode", {"spec": {"replicas": 1}})

    def one_gone() -> None:
        assert ready(simulator) == {"prefill": 2, "decode": 1}
        assert len(query(prometheus, 'up{pod=~"chat-decode-.+"} == 1')) == 1

    eventually(one_gone, timeout_seconds=120)
    now = status(simulator)
    assert now["arrived"] == cast("int", now["served"]) + cast("int", now["in_flight"])

    request = urllib.request.Request(  # noqa: S310
        f"{simulator}/faults",
        data=json.dumps({"mode": "silent", "targets": "*/chat-decode-*"}).encode(),
        method="POST",
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def silent() -> None:
        assert query(prometheus, 'up{pod=~"chat-decode-.+"}').values()
        assert set(query(prometheus, 'up{pod=~"chat-decode-.+"}').values()) == {0.0}
        assert query(prometheus, "vllm:num_requests_running{pod=~'chat-decode-.+'}") == {}
        assert set(query(prometheus, 'up{pod=~"chat-prefill-.+"}').values()) == {1.0}

    eventually(silent, timeout_seconds=120)
