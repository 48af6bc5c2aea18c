"""The operator follows the load: real API server, real Prometheus, simulated engines."""

from collections.abc import Iterator

import pytest

import devcluster
from devcluster import Cluster, ColdStart, NodePool
from devcluster.rest import Json, mapping, text
from devcluster.waiting import eventually
from runoperator import RunningOperator, start_operator
from runoperator.scenario import Step, engine_deployment, engines, prometheus_config, stepped_trace

COLD_START = ColdStart(image_pull_seconds=1, model_load_seconds=2)
SPEED = {
    "prefill_base_seconds": 0.05,
    "prefill_seconds_per_token": 4e-4,
    "decode_base_seconds": 0.02,
    "decode_seconds_per_sequence": 1e-3,
    "max_batch": 16,
    "kv_capacity_tokens": 40_000,
}


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[NodePool]:
    """Room for 16 GPUs in a node pool of its own."""
    pool = NodePool("follow", gpus_per_node=8, cold_start=COLD_START)
    cluster.add_gpu_nodes(pool, 3)
    yield pool
    cluster.kubectl("delete", "nodes", "-l", f"{devcluster.POOL_LABEL}={pool.name}", "--wait=false")


def resources(namespace: str, pool: NodePool, mode: str = "Auto") -> list[Json]:
    """Return a prefill/decode pool with its node pool, profile and policy."""
    variant = {"nodePool": pool.name, "profileRef": {"name": "follow"}, "maxReplicas": 10}
    return [
        {
            "apiVersion": "forebay.io/v1alpha1",
            "kind": "GPUNodePool",
            "metadata": {"name": pool.name},
            "spec": {
                "accelerator": "NVIDIA-H100-80GB-HBM3",
                "gpusPerNode": pool.gpus_per_node,
                "pricePerGPUHour": "2.50",
                "nodeSelector": {devcluster.POOL_LABEL: pool.name},
                "leadTimePrior": {"p50": "5s", "p90": "8s"},
            },
        },
        {
            "apiVersion": "forebay.io/v1alpha1",
            "kind": "ServingProfile",
            "metadata": {"name": "follow"},
            "spec": {
                "model": "test",
                "accelerator": "NVIDIA-H100-80GB-HBM3",
                "gpusPerReplica": 1,
                "source": "the simulated engines of this test",
                "maxBatch": 16,
                "kvCacheTokens": 40_000,
                "linear": {
                    "prefillBase": "50ms",
                    "prefillPerThousandTokens": "400ms",
                    "decodeBase": "20ms",
                    "decodePerSequence": "1ms",
                    "decodePerThousandKVTokens": "50us",
                },
            },
        },
        {
            "apiVersion": "forebay.io/v1alpha1",
            "kind": "ScalingPolicy",
            "metadata": {"name": "fast", "namespace": namespace},
            "spec": {"guards": {"restart": "5s"}, "forecast": {"rateWindow": "15s"}},
        },
        {
            "apiVersion": "forebay.io/v1alpha1",
            "kind": "InferencePool",
            "metadata": {"name": "chat", "namespace": namespace},
            "spec": {
                "mode": mode,
                "slo": {"ttft": "1s", "itl": "60ms"},
                "telemetry": {"engine": "vllm"},
                "policyRef": {"name": "fast"},
                "roles": {
                    "prefill": {
                        "variants": [
                            {"target": {"kind": "Deployment", "name": "chat-prefill"}, "startUp": "4s", **variant}
                        ]
                    },
                    "decode": {
                        "variants": [
                            {"target": {"kind": "Deployment", "name": "chat-decode"}, "startUp": "4s", **variant}
                        ]
                    },
                },
            },
        },
    ]


def simulated(namespace: str) -> dict[str, object]:
    """Return the engines of that pool."""
    return {
        "name": "chat",
        "namespace": namespace,
        "workloads": [
            {"name": "chat-prefill", "role": "prefill", "speed": SPEED},
            {"name": "chat-decode", "role": "decode", "speed": SPEED},
        ],
    }


def replicas(cluster: Cluster, namespace: str) -> dict[str, int]:
    """Return what the two Deployments are asked to have."""
    items = cluster.rest().items(f"/apis/apps/v1/namespaces/{namespace}/deployments")
    return {text(item, "metadata", "name"): int(str(mapping(item, "spec")["replicas"])) for item in items}


def story(cluster: Cluster, operator: RunningOperator, namespace: str) -> str:
    """Return what a person needs to see when the pool did not do as expected."""
    pool = cluster.kubectl("get", "inferencepools.forebay.io", "-n", namespace, "-o", "yaml")
    return f"{operator.log(40)}\n{pool}"


@pytest.mark.timeout(300)
def test_prefill_and_decode_follow_the_load_up_and_down(cluster: Cluster, namespace: str, nodes: NodePool) -> None:
    """Both roles grow with the load, each by its own need, and shrink again when it is gone."""
    cluster.apply(
        [
            *(engine_deployment(f"chat-{role}", nodes, namespace=namespace) for role in ("prefill", "decode")),
            *resources(namespace, nodes),
        ]
    )
    steps = [Step(20, 1.0), Step(70, 10.0), Step(400, 0.5)]
    trace = stepped_trace(steps, input_tokens=500, output_tokens=150)
    with engines(cluster, simulated(namespace), trace) as (_, discovery):
        prometheus = cluster.start_prometheus(prometheus_config(discovery))
        operator = start_operator(cluster, prometheus.url, name="follower", options={"history": "0s"})
        try:
            eventually(
                lambda: replicas(cluster, namespace)["chat-prefill"] >= 3,
                timeout_seconds=90,
                describe=lambda: story(cluster, operator, namespace),
            )
            peak = eventually(
                lambda: {"chat-decode": 4} if replicas(cluster, namespace)["chat-decode"] >= 3 else False,
                timeout_seconds=60,
                describe=lambda: story(cluster, operator, namespace),
            )
            assert peak
            eventually(
                lambda: max(replicas(cluster, namespace).values()) <= 2,
                timeout_seconds=150,
                describe=lambda: story(cluster, operator, namespace),
            )
        finally:
            operator.terminate()
            prometheus.stop()
