"""Scale-ins on a real API server with the real controllers: the chosen pods go, and nothing else may change."""

import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from devcluster import Cluster, ColdStart, NodePool
from devcluster.waiting import eventually
from forebay.actuation.kube import KubeApi, load_configuration
from forebay.actuation.scale import ScaleResult, ScaleWriter
from forebay.actuation.targets import TargetDirectory, TargetRef
from forebay.actuation.victims import COST_BEFORE, DELETION_COST, RemovalWish, VictimMarks, choose
from forebay.runtime.act import candidate
from forebay.runtime.watch.records import PodRecord, parse_pod
from runoperator import NAMESPACE, SERVICE_ACCOUNT
from runoperator.scenario import engine_deployment

NAME = "chat"


@pytest.fixture
def kubeconfig(cluster: Cluster) -> Path:
    """Credentials of the account that the plain install gives the operator."""
    return cluster.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT)


def pods(cluster: Cluster, namespace: str) -> list[PodRecord]:
    found = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-l", f"app={NAME}", "-o", "json"))
    return [pod for item in found["items"] if (pod := parse_pod(item)) is not None and not pod.terminating]


def serve(cluster: Cluster, namespace: str, replicas: int) -> list[PodRecord]:
    """Deploy engines, and wait until all are Ready."""
    pool = NodePool(f"h100-{namespace}", cold_start=ColdStart(image_pull_seconds=0, model_load_seconds=0))
    cluster.add_gpu_nodes(pool)
    cluster.apply(engine_deployment(NAME, pool, namespace=namespace, replicas=replicas))
    eventually(
        lambda: sum(pod.ready for pod in pods(cluster, namespace)) == replicas,
        timeout_seconds=120,
        describe=lambda: str(pods(cluster, namespace)),
    )
    return pods(cluster, namespace)


async def scale_in(
    kubeconfig: Path, namespace: str, found: list[PodRecord], replicas: int, choice: RemovalWish
) -> list[str]:
    """Choose, mark and scale as the operator does; return the names of the chosen pods."""
    target = TargetRef(namespace, "apps/v1", "Deployment", NAME)
    async with KubeApi(await load_configuration(str(kubeconfig))) as api:
        victims = choose([candidate(pod) for pod in found], len(found) - replicas, choice)
        assert await VictimMarks(api).mark(victims) == ""
        writer = ScaleWriter(api, TargetDirectory(api), lambda: 0.0)
        outcome = await writer.scale(target, replicas, current=len(found))
        assert outcome.result is ScaleResult.WRITTEN
    return [pod.name for pod in victims]


async def test_exactly_the_chosen_pods_go(cluster: Cluster, namespace: str, kubeconfig: Path) -> None:
    """The busiest would go by age: the requests that pods hold are given against it, three times over."""
    found = serve(cluster, namespace, 6)
    for replicas in (5, 3, 2):
        by_age = sorted(found, key=lambda pod: (pod.created_seconds, pod.name))
        held = {(namespace, pod.name): float(number) for number, pod in enumerate(by_age)}
        chosen = await scale_in(kubeconfig, namespace, found, replicas, RemovalWish(requests=held))
        assert chosen == [pod.name for pod in by_age[: len(found) - replicas]]
        eventually(
            lambda left=replicas: len(pods(cluster, namespace)) == left,  # type: ignore[misc]
            timeout_seconds=60,
            describe=lambda: str(pods(cluster, namespace)),
        )
        left = {pod.name for pod in pods(cluster, namespace)}
        assert left == {pod.name for pod in found} - set(chosen)
        found = pods(cluster, namespace)


async def test_a_pod_on_a_node_that_empties_goes_first(cluster: Cluster, namespace: str, kubeconfig: Path) -> None:
    found = serve(cluster, namespace, 3)
    cluster.kubectl("label", "pods", "-n", namespace, "--all", "touched=yes")  # a change between look and mark
    node = found[1].node
    assert node is not None
    on_it = {pod.name for pod in found if pod.node == node}
    chosen = await scale_in(kubeconfig, namespace, found, 2, RemovalWish(emptying={node}))
    assert set(chosen) <= on_it
    eventually(lambda: len(pods(cluster, namespace)) == 2, timeout_seconds=60)
    assert not {pod.name for pod in pods(cluster, namespace)} & set(chosen)


async def test_a_mark_is_taken_back_from_a_survivor(cluster: Cluster, namespace: str, kubeconfig: Path) -> None:
    found = serve(cluster, namespace, 2)
    async with KubeApi(await load_configuration(str(kubeconfig))) as api:
        marks = VictimMarks(api)
        assert await marks.mark([candidate(found[0])]) == ""
        marked = next(pod for pod in pods(cluster, namespace) if pod.name == found[0].name)
        assert marked.cost_before == ""
        assert await marks.clear([candidate(marked)]) == ""
    assert next(pod for pod in pods(cluster, namespace) if pod.name == found[0].name).cost_before is None


FORBIDDEN: dict[str, dict[str, Any]] = {
    "an image": {"spec": {"containers": [{"name": "engine", "image": "mine"}]}},
    "another label": {"metadata": {"labels": {"app": "other"}}},
    "another annotation": {"metadata": {"annotations": {"iam.amazonaws.com/role": "admin"}}},
    "an owner": {"metadata": {"ownerReferences": None}},
    "a finalizer": {"metadata": {"finalizers": ["example.org/never"]}},
}


def test_the_right_to_patch_pods_is_held_to_the_marks(cluster: Cluster, namespace: str, kubeconfig: Path) -> None:
    """Protects from an operator whose account could put its own image into any pod."""
    (pod,) = serve(cluster, namespace, 1)

    rest = cluster.rest(kubeconfig)

    def patch(body: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod.name}"
        rest.request("PATCH", path, body, content_type="application/strategic-merge-patch+json")

    def refused(body: dict[str, Any]) -> None:
        with pytest.raises(ApiException, match="Forebay changes no"):
            patch(body)

    # A policy is in force some moments after it was created.
    eventually(lambda: refused(FORBIDDEN["another label"]), timeout_seconds=60)
    for body in FORBIDDEN.values():
        refused(body)
    patch({"metadata": {"annotations": {DELETION_COST: "-5", COST_BEFORE: ""}}})
    patch({"metadata": {"labels": {"forebay.io/serving": "false"}}})
