"""Thousands of pools on a real API server, made without the controllers that would need an hour for them.

Nodes, Deployments and pods are written as a cluster's controllers would have left them: GPU nodes that are Ready,
Deployments of one replica, and one pod each that is bound to a node with room and Ready. The local control plane's
controller manager, scheduler and KWOK are stopped meanwhile, so that nothing undoes it and nothing else uses the
machine; the operator only talks to the API server.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import devcluster
from forebay.actuation.kube import JsonObject, KubeApi, load_configuration

NAMESPACES = 40
ROLES = ("prefill", "decode")
_GPUS_PER_NODE = 8
_ACCELERATORS = {"h100": "NVIDIA-H100-80GB-HBM3", "l40s": "NVIDIA-L40S"}
_START_UP_SECONDS = 60.0
_PARALLEL = 12
_BATCH = 240
_FOREBAY = "forebay.io/v1alpha1"


@dataclass(frozen=True, slots=True)
class Created:
    """An object and the collection in which it is created; a status is written after it."""

    collection: str
    body: JsonObject
    status: JsonObject | None = None


def namespace_of(number: int) -> str:
    """Return the namespace of a pool."""
    return f"team-{number % NAMESPACES}"


def workload_of(number: int, role: str) -> str:
    """Return the name of a pool's Deployment."""
    return f"model-{number}-{role}"


def workloads(pools: int) -> list[tuple[str, str]]:
    """Return namespace and name of every Deployment of a fleet."""
    return [(namespace_of(number), workload_of(number, role)) for number in range(pools) for role in ROLES]


def shared_objects() -> list[JsonObject]:
    """Return what all pools refer to: node pools and profiles of both GPU types."""
    found: list[JsonObject] = []
    for name, accelerator in _ACCELERATORS.items():
        found.append(
            {
                "apiVersion": _FOREBAY,
                "kind": "GPUNodePool",
                "metadata": {"name": name},
                "spec": {
                    "accelerator": accelerator,
                    "gpusPerNode": _GPUS_PER_NODE,
                    "pricePerGPUHour": "3.99" if name == "h100" else "1.10",
                    "nodeSelector": {"nvidia.com/gpu.product": accelerator},
                    "leadTimePrior": {"p50": "3m", "p90": "5m"},
                },
            }
        )
        found.append(
            {
                "apiVersion": _FOREBAY,
                "kind": "ServingProfile",
                "metadata": {"name": name},
                "spec": {
                    "model": "bench",
                    "accelerator": accelerator,
                    "gpusPerReplica": 1,
                    "source": "made up for this benchmark",
                    "maxBatch": 32,
                    "kvCacheTokens": 120_000,
                    "linear": {
                        "prefillBase": "20ms",
                        "prefillPerThousandTokens": "160ms",
                        "decodeBase": "15ms",
                        "decodePerSequence": "500us",
                        "decodePerThousandKVTokens": "50us",
                    },
                },
            }
        )
    found += [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace_of(number)}}
        for number in range(NAMESPACES)
    ]
    return found


def nodes(pools: int) -> Iterator[Created]:
    """Yield GPU nodes with room for the fleet and a fifth more, half of each type."""
    count = max(2, round(1.2 * len(ROLES) * pools / _GPUS_PER_NODE))
    for number in range(count):
        name = f"node-{number}"
        resources = {"cpu": "192", "memory": "2048Gi", "pods": "110", "nvidia.com/gpu": str(_GPUS_PER_NODE)}
        accelerator = list(_ACCELERATORS.values())[number % 2]
        labels = {"kubernetes.io/hostname": name, "nvidia.com/gpu.product": accelerator}
        yield Created(
            "/api/v1/nodes",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "status": {
                    "capacity": resources,
                    "allocatable": resources,
                    "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
                },
            },
        )


def pool_objects(number: int) -> Iterator[Created]:
    """Yield a pool's Deployments, their pods and, last, the pool. Pods of one type fill that type's nodes."""
    namespace = namespace_of(number)
    accelerator = "h100" if number % 2 == 0 else "l40s"
    for index, role in enumerate(ROLES):
        place = (number // 2) * len(ROLES) + index
        node = 2 * (place // _GPUS_PER_NODE) + number % 2
        yield from _workload(namespace, workload_of(number, role), f"node-{node}")
    roles = {
        role: {
            "variants": [
                {
                    "name": workload_of(number, role),
                    "target": {"kind": "Deployment", "name": workload_of(number, role)},
                    "nodePool": accelerator,
                    "gpusPerReplica": 1,
                    "maxReplicas": 8,
                    "profileRef": {"name": accelerator},
                }
            ]
        }
        for role in ROLES
    }
    slo = {"ttft": ("500ms", "800ms", "1s", "2s")[number % 4], "itl": ("40ms", "60ms")[number // 4 % 2]}
    yield Created(
        f"/apis/{_FOREBAY}/namespaces/{namespace}/inferencepools",
        {
            "apiVersion": _FOREBAY,
            "kind": "InferencePool",
            "metadata": {"name": f"model-{number}"},
            "spec": {"slo": slo, "telemetry": {"engine": "vllm"}, "roles": roles},
        },
    )


def _workload(namespace: str, name: str, node: str) -> Iterator[Created]:
    labels = {"app": name, "app.kubernetes.io/part-of": "bench"}
    container = {
        "name": "engine",
        "image": "registry.example/vllm-openai:v0.11.0",
        "args": [
            "--model",
            "meta-llama/Llama-2-70b-chat-hf",
            "--max-model-len",
            "8192",
            "--enable-prefix-caching",
        ],
        "env": [{"name": f"SETTING_{number}", "value": "some value of usual length"} for number in range(12)],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
    }
    yield Created(
        f"/apis/apps/v1/namespaces/{namespace}/deployments",
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
    )
    now = time.time()
    created, ready = (_stamp(now + after) for after in (0.0, _START_UP_SECONDS))
    yield Created(
        f"/api/v1/namespaces/{namespace}/pods",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{name}-5b9c7d8f6-x2x4z", "labels": labels},
            "spec": {"nodeName": node, "containers": [container]},
        },
        status={
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": created},
                {"type": "Ready", "status": "True", "lastTransitionTime": ready},
            ],
        },
    )


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


async def create_fleet(kubeconfig: Path, pools: int) -> None:
    """Create nodes and pools.

    Raises:
        ApiError: the API server refused something.
    """
    configuration = await load_configuration(str(kubeconfig), None)
    async with KubeApi(configuration, timeout_seconds=60.0, parallel=_PARALLEL) as api:
        async for batch in _batches(nodes(pools)):
            await asyncio.gather(*(_create_node(api, item) for item in batch))
        async for batch in _batches(item for number in range(pools) for item in pool_objects(number)):
            await asyncio.gather(*(_create(api, item) for item in batch))


async def _batches(items: Iterator[Created]) -> AsyncIterator[Sequence[Created]]:
    batch: list[Created] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


async def _create(api: KubeApi, item: Created) -> None:
    made = await api.post(item.collection, item.body)
    if item.status is not None:
        path = f"{item.collection}/{made['metadata']['name']}/status"
        await api.merge_patch(path, {"status": item.status})


async def _create_node(api: KubeApi, item: Created) -> None:
    """Create a node and take off the taint that admission puts on each new one until a controller looks."""
    await _create(api, item)
    await api.merge_patch(f"{item.collection}/{item.body['metadata']['name']}", {"spec": {"taints": None}})


def stop_controllers(cluster: devcluster.LocalCluster) -> None:
    """End what would undo this fleet, or use the machine beside the operator."""
    for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
        cluster.components[name].kill()
