"""Rollouts: told from what each kind's controller says, and from pods that do not start."""

from typing import Any

import pytest

from forebay.flow.kinds import BY_KIND
from forebay.flow.observation import Rollout
from forebay.runtime.cluster.rollouts import rollout_of, trouble_of
from forebay.runtime.watch.records import PodRecord, parse_pod
from forebay.runtime.watch.workloads import controller_state, parse_workload

SETTLED = {"observedGeneration": 3, "replicas": 4, "updatedReplicas": 4}
HALF = {"observedGeneration": 3, "replicas": 4, "updatedReplicas": 1}
OLD, NEW = {"app": "chat", "pod-template-hash": "old"}, {"app": "chat", "pod-template-hash": "new"}


def rollout(
    objects: Any, status: dict[str, Any], pods: list[Any] | None = None, *, overdue: int = 0, **spec: Any
) -> Rollout | None:
    body = objects.deployment("chat", 4, generation=3)
    body["spec"] |= spec
    records = [record for pod in pods or () if (record := parse_pod(pod)) is not None]
    row = BY_KIND["Deployment"]
    return rollout_of(parse_workload(row, body | {"status": status}), row, records, overdue=overdue)


def test_a_settled_workload_is_in_no_rollout(objects: Any) -> None:
    assert rollout(objects, SETTLED) is None
    assert rollout(objects, {}) is None


def test_a_rollout_is_told_by_its_controller(objects: Any) -> None:
    found = rollout(objects, HALF)
    assert found is not None
    assert not found.stuck
    assert "is being rolled out" in found.message


def test_a_rollout_is_told_by_its_pods_before_the_controller_says_so(objects: Any) -> None:
    pods = [objects.pod("a", labels=OLD), objects.pod("b", labels=NEW, ready=None)]
    assert rollout(objects, SETTLED, pods) is not None
    assert rollout(objects, SETTLED, pods[:1]) is None


def stalled(reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Progressing", "status": "False", "reason": reason, "message": "no progress"}]}


def test_a_rollout_that_does_not_get_on_is_stuck_and_says_why(objects: Any) -> None:
    """Protects: healthy replicas were withdrawn one by one while the broken pod stayed."""
    assert getattr(rollout(objects, HALF, overdue=1), "stuck", False)
    found = rollout(objects, HALF | stalled("ProgressDeadlineExceeded"))
    assert found is not None
    assert found.stuck
    assert "ProgressDeadlineExceeded: no progress" in found.message
    assert getattr(rollout(objects, HALF, paused=True), "stuck", False)


def test_a_missing_image_is_told(objects: Any) -> None:
    broken = objects.pod("b", labels=NEW, ready=None)
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "vllm:nope"'}
    broken["status"]["containerStatuses"] = [{"restartCount": 0, "state": {"waiting": waiting}}]
    found = rollout(objects, HALF, [objects.pod("a", labels=OLD), broken])
    assert found is not None
    assert found.stuck
    assert 'pod b does not become Ready: ImagePullBackOff: Back-off pulling image "vllm:nope"' in found.message


def test_a_quota_is_quoted(objects: Any) -> None:
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: gpus",
    }
    found = rollout(objects, SETTLED | {"conditions": [failure]})
    assert found is not None
    assert found.stuck
    assert "FailedCreate: exceeded quota: gpus" in found.message


def test_a_paused_workload_of_one_revision_is_left_as_it_is(objects: Any) -> None:
    found = rollout(objects, SETTLED, paused=True)
    assert found is not None
    assert not found.stuck


def pods(*bodies: Any) -> list[PodRecord]:
    return [record for body in bodies if (record := parse_pod(body)) is not None]


def test_only_what_will_not_pass_is_trouble(objects: Any) -> None:
    creating = objects.pod("a", ready=None)
    creating["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": "ContainerCreating"}}}]
    assert trouble_of(pods(creating, objects.pod("b", ready=None, restarts=1))) == ""
    assert "restarted 5 times" in trouble_of(pods(objects.pod("c", ready=None, restarts=5)))


STATEFUL = {"currentRevision": "a", "updateRevision": "b", "replicas": 4}


@pytest.mark.parametrize(
    ("spec", "status", "updating"),
    [
        ({}, STATEFUL, True),
        ({}, STATEFUL | {"updateRevision": "a"}, False),
        ({"updateStrategy": {"type": "OnDelete"}}, STATEFUL, False),
        ({"updateStrategy": {"rollingUpdate": {"partition": 3}}}, STATEFUL | {"updatedReplicas": 1}, False),
        ({"updateStrategy": {"rollingUpdate": {"partition": 2}}}, STATEFUL | {"updatedReplicas": 1}, True),
        ({}, {"stableRS": "a", "currentPodHash": "b"}, True),
        ({}, {"stableRS": "a", "currentPodHash": "a", "observedGeneration": "7"}, False),
        ({}, {"conditions": [{"type": "UpdateInProgress", "status": "True"}]}, True),
        ({}, {"replicas": 3, "selector": "app=chat"}, False),
    ],
)
def test_each_kind_says_it_in_its_own_words(
    spec: dict[str, Any], status: dict[str, Any], *, updating: bool
) -> None:
    state = controller_state({"metadata": {"generation": 7}, "spec": spec, "status": status})
    assert state.updating is updating
