"""A scale-in on the real parts, with streams that last for a minute: parked pods end them, and then go."""

import json
from collections.abc import Iterator

import pytest

from devcluster import Cluster
from devcluster.waiting import eventually
from forebay.actuation.victims import SERVING
from runoperator.scenario import Stage, Step, stepped_trace

DECODE = "app=chat-decode"
DEPLOYMENTS = ("chat-prefill", "chat-decode")


@pytest.fixture
def stage(cluster: Cluster, namespace: str) -> Iterator[Stage]:
    """A prefill/decode pool that has more replicas than it needs."""
    with Stage(cluster, namespace, nodes=2) as stage:
        stage.deploy(replicas=4, restart_guard="5s")
        yield stage


def let_pods_leave_traffic(stage: Stage) -> None:
    """Put the label into the pod templates."""
    labels = {"spec": {"template": {"metadata": {"labels": {SERVING: "true"}}}}}
    for name in DEPLOYMENTS:
        stage.cluster.kubectl("patch", "deployment", name, "-n", stage.namespace, "-p", json.dumps(labels))
        stage.cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", stage.namespace, "--timeout=120s")


def watch_briefly(stage: Stage) -> None:
    patch = json.dumps({"spec": {"scaleIn": {"observe": "5s"}}})
    stage.cluster.kubectl(
        "patch", "scalingpolicies.forebay.io", "fast", "-n", stage.namespace, "--type=merge", "-p", patch
    )


def pods(stage: Stage, selector: str = "") -> set[str]:
    names = stage.cluster.kubectl("get", "pods", "-n", stage.namespace, "-l", selector, "-o", "name")
    return set(names.split())


@pytest.mark.parametrize("parks", [True, False])
def test_no_stream_is_cut_off_where_pods_are_parked(stage: Stage, parks: bool) -> None:
    """Protects users' answers. Without the label no pod is parked, and it is chance what that cuts off."""
    if parks:
        let_pods_leave_traffic(stage)
    watch_briefly(stage)
    streams = (Step(30, 2.0), Step(600, 0.3))
    stage.serve(stepped_trace(streams, input_tokens=500, output_tokens=1500))
    stage.operate()
    parked: set[str] = set()
    everything = pods(stage, DECODE)

    def is_over() -> bool:
        parked.update(pods(stage, f"{SERVING}=false"))
        return len(pods(stage, DECODE)) < len(everything)

    eventually(is_over, timeout_seconds=300, describe=stage.story)
    gone = everything - pods(stage, DECODE)
    if parks:
        assert gone <= parked, "exactly parked pods went"
        assert stage.requests_cut_off() == 0
    else:
        assert parked == set()
