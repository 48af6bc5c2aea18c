"""Records: what is kept of each object, read as the scheduler reads it."""

from typing import Any

import pytest

from forebay.flow.kinds import BY_KIND
from forebay.runtime.watch.records import parse_autoscaler, parse_node, parse_pod, pod_gpus
from forebay.runtime.watch.workloads import parse_workload


def test_a_pod_that_finished_is_not_kept(objects: Any) -> None:
    assert parse_pod(objects.pod("a", phase="Succeeded")) is None
    assert parse_pod(objects.pod("a", phase="Failed")) is None


def test_a_ready_pod_knows_its_times(objects: Any) -> None:
    pod = parse_pod(objects.pod("a"))
    assert pod is not None
    assert pod.ready
    assert (pod.scheduled_seconds or 0) - pod.created_seconds == 1.0
    assert (pod.ready_seconds or 0) - pod.created_seconds == 11.0


def test_a_pod_that_is_being_deleted_is_not_ready(objects: Any) -> None:
    pod = parse_pod(objects.pod("a", deleting=True))
    assert pod is not None
    assert not pod.ready


def test_waiting_for_quota_is_not_waiting_for_a_node(objects: Any) -> None:
    body = objects.pod("a", scheduled=None, ready=None)
    waiting = parse_pod(body)
    body["status"]["conditions"][0]["reason"] = "SchedulingGated"
    gated = parse_pod(body)
    assert waiting is not None
    assert gated is not None
    assert (waiting.unschedulable, waiting.gated) == (True, False)
    assert (gated.unschedulable, gated.gated) == (False, True)


def test_the_scheduler_reserves_the_larger_of_init_and_main_containers() -> None:
    def container(gpus: int, **more: Any) -> dict[str, Any]:
        return {"resources": {"requests": {"nvidia.com/gpu": str(gpus)}}, **more}

    assert pod_gpus({"containers": [container(2), container(1)], "initContainers": [container(4)]}) == 4
    sidecar = container(1, restartPolicy="Always")
    assert pod_gpus({"containers": [container(2)], "initContainers": [sidecar]}) == 3
    assert pod_gpus({"containers": [{}]}) == 0
    assert pod_gpus({"containers": [{"resources": {"limits": {"nvidia.com/gpu": "many"}}}]}) == 0


@pytest.mark.parametrize(
    ("changes", "usable"),
    [
        ({}, True),
        ({"gpus": 0}, False),  # the device plugin is not there yet
        ({"ready": "False"}, False),
        ({"cordoned": True}, False),
        ({"taints": ["node.kubernetes.io/not-ready"]}, False),
        ({"taints": ["ToBeDeletedByClusterAutoscaler"]}, False),
        ({"taints": ["nvidia.com/gpu"]}, True),  # keeps others off; GPU pods tolerate it
    ],
)
def test_usable_is_what_the_scheduler_can_use(objects: Any, changes: dict[str, Any], *, usable: bool) -> None:
    assert parse_node(objects.node("n", **changes)).usable is usable


def test_a_deployment_without_replicas_has_one(objects: Any) -> None:
    body = objects.deployment("chat")
    del body["spec"]["replicas"]
    assert parse_workload(BY_KIND["Deployment"], body).replicas == 1


def test_the_hpa_that_keda_made_goes_by_the_name_of_its_scaled_object() -> None:
    body: dict[str, Any] = {
        "metadata": {"name": "hpa", "namespace": "serving"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}},
    }
    found = parse_autoscaler(body)
    assert found is not None
    assert (found.kind, found.target.name) == ("HorizontalPodAutoscaler", "chat")
    body["metadata"]["ownerReferences"] = [{"kind": "ScaledObject", "name": "chat-by-queue"}]
    owned = parse_autoscaler(body)
    assert owned is not None
    assert (owned.kind, owned.name, owned.target) == ("ScaledObject", "chat-by-queue", found.target)
