"""Engines over two nodes each, under the real LeaderWorkerSet controller."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import devcluster
from devcluster import POOL_LABEL, Cluster
from devcluster.leaderworkerset import leader_worker_sets
from devcluster.stages import PREFIX
from devcluster.targets import LWS
from tests.provisioners.stage import H100, Journey

GROUP_LABEL = "leaderworkerset.sigs.k8s.io/group-index"
SIZE, GPUS = 2, 8


@pytest.fixture
def journey(cluster: Cluster, namespace: str) -> Iterator[Journey]:
    """Six nodes of eight GPUs, and the controller."""
    if not cluster.binaries.is_built(LWS):
        pytest.skip("LeaderWorkerSet is not built: run 'python -m devcluster build --provisioners'")
    with leader_worker_sets(cluster), Journey(cluster, namespace) as journey:
        pool = devcluster.NodePool(journey.name_of(H100), gpus_per_node=GPUS)
        cluster.add_gpu_nodes(pool, 6)
        yield journey
        cluster.kubectl("delete", "leaderworkersets", "--all", "-n", namespace, "--wait=false")
        cluster.kubectl("delete", "nodes", "-l", f"{POOL_LABEL}={pool.name}", "--wait=false")


def deploy(journey: Journey) -> None:
    """Create the node pool and a LeaderWorkerSet of one group."""
    name = journey.name_of(H100)
    pod = {
        "metadata": {"annotations": {f"{PREFIX}{step}-seconds": "1" for step in ("image-pull", "model-load")}},
        "spec": {
            "nodeSelector": {POOL_LABEL: name},
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "engine",
                    "image": "vllm",
                    "resources": {"limits": {"nvidia.com/gpu": str(GPUS)}},
                }
            ],
        },
    }
    journey.cluster.apply(
        [
            {
                "apiVersion": "forebay.io/v1alpha1",
                "kind": "GPUNodePool",
                "metadata": {"name": name},
                "spec": {"accelerator": "h100", "gpusPerNode": GPUS, "nodeSelector": {POOL_LABEL: name}},
            },
            {
                "apiVersion": "leaderworkerset.x-k8s.io/v1",
                "kind": "LeaderWorkerSet",
                "metadata": {"name": "big", "namespace": journey.namespace},
                "spec": {
                    "replicas": 1,
                    "leaderWorkerTemplate": {"size": SIZE, "leaderTemplate": pod, "workerTemplate": pod},
                },
            },
        ]
    )


def want(journey: Journey, replicas: int) -> None:
    """Let the pool have so many groups."""
    variant = {
        "name": "big",
        "target": {"kind": "LeaderWorkerSet", "name": "big"},
        "nodePool": journey.name_of(H100),
        "gpusPerReplica": SIZE * GPUS,
        "minReplicas": replicas,
        "maxReplicas": replicas,
    }
    journey.cluster.apply(
        {
            "apiVersion": "forebay.io/v1alpha1",
            "kind": "InferencePool",
            "metadata": {"name": "chat", "namespace": journey.namespace},
            "spec": {
                "mode": "Auto",
                "slo": {"ttft": "1s", "itl": "60ms"},
                "telemetry": {"engine": "vllm"},
                "roles": {"serve": {"variants": [variant]}},
            },
        }
    )


def told(journey: Journey) -> tuple[int, int]:
    """Return the ready and desired replicas of the pool's status."""
    body: Any = journey.rest.get(f"/apis/forebay.io/v1alpha1/namespaces/{journey.namespace}/inferencepools/chat")
    roles = body.get("status", {}).get("roles") or [{"ready": -1, "desired": -1}]
    return roles[0]["ready"], roles[0]["desired"]


def groups(journey: Journey) -> dict[str, set[str]]:
    """Return the uids of the pods of each group."""
    found: dict[str, set[str]] = {}
    text = journey.cluster.kubectl("get", "pods", "-n", journey.namespace, "-l", GROUP_LABEL, "-o", "json")
    for pod in json.loads(text)["items"]:
        if "deletionTimestamp" not in pod["metadata"]:
            found.setdefault(pod["metadata"]["labels"][GROUP_LABEL], set()).add(pod["metadata"]["uid"])
    return found


def test_groups_are_ordered_counted_and_given_back_whole(journey: Journey) -> None:
    """Protects engines over several nodes: a replica is a group, and the highest goes whatever it costs."""
    deploy(journey)
    want(journey, 3)
    journey.operate()
    journey.until(lambda: told(journey) == (3, 3), seconds=120)
    before = groups(journey)
    assert {index: len(pods) for index, pods in before.items()} == {"0": SIZE, "1": SIZE, "2": SIZE}

    cost = "controller.kubernetes.io/pod-deletion-cost=-1000"
    journey.cluster.kubectl("annotate", "pod", "big-0", "big-0-1", "-n", journey.namespace, cost)
    want(journey, 2)
    journey.until(lambda: set(groups(journey)) == {"0", "1"}, seconds=90)
    assert groups(journey)["0"] == before["0"], "a deletion cost means nothing to this controller"
    journey.until(lambda: told(journey) == (2, 2), seconds=60)

    journey.cluster.kubectl("delete", "pod", "big-0-1", "-n", journey.namespace, "--wait=false")
    journey.until(lambda: told(journey)[0] == 1, seconds=60)  # without its worker the group serves nobody
    journey.until(lambda: told(journey) == (2, 2), seconds=90)
    assert not groups(journey)["0"] & before["0"], "the whole group was made anew"
    assert groups(journey)["1"] == before["1"]
