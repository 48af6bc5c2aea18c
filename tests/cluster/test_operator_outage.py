"""The operator and an API server that dies. Last in order: other controllers need a while to recover."""

import time
from collections.abc import Iterator

import pytest

from devcluster import Cluster
from devcluster.waiting import eventually
from runoperator.install import install
from runoperator.scenario import Stage


@pytest.fixture
def stage(cluster: Cluster, namespace: str) -> Iterator[Stage]:
    """A prefill/decode pool with nodes of its own; ends what the test started."""
    with Stage(cluster, namespace, nodes=3) as stage:
        yield stage


@pytest.fixture
def local(cluster: Cluster) -> Cluster:
    """The cluster, where its processes are ours to kill."""
    if cluster.kind != "local":
        pytest.skip(f"kills processes of the control plane; the cluster is of kind {cluster.kind}")
    return cluster


def test_the_operator_outlives_an_api_server_that_is_killed(stage: Stage, local: Cluster) -> None:
    """Protects watches, lease and loop across an outage that is shorter than the lease."""
    stage.deploy()
    operator = stage.operate({"lease-duration": "40s", "renew-deadline": "30s"}, prometheus=False)
    eventually(lambda: bool(stage.condition("Ready")), timeout_seconds=120, describe=stage.story)
    pid_rounds = operator.metric("forebay_rounds_total")
    local.apiserver.kill()
    time.sleep(5.0)
    local.apiserver.restart()
    stage.add_pool("late", target="later")
    eventually(
        lambda: stage.condition("TargetsFound", pool="late")["status"] == "False",
        timeout_seconds=120,
        describe=stage.story,
    )
    assert operator.exit_status() is None, operator.log()
    assert operator.metric("forebay_rounds_total") > pid_rounds


def test_the_operator_outlives_a_crd_that_is_taken_away_and_comes_back(stage: Stage, local: Cluster) -> None:
    """Protects against watches that end for good: kopf takes the answer 404 as final, and ends as a whole."""
    stage.deploy()
    operator = stage.operate(prometheus=False)
    stage.await_condition("ReferencesFound", "True", seconds=120)
    local.kubectl("delete", "crd", "scalingpolicies.forebay.io")
    try:
        eventually(
            lambda: operator.metric("forebay_watch_failures_total") >= 1,
            timeout_seconds=120,
            describe=operator.log,
        )
        rounds = operator.metric("forebay_rounds_total")
        eventually(lambda: operator.metric("forebay_rounds_total") >= rounds + 3, describe=operator.log)
    finally:
        install(local)
    stage.add_pool("late", target="later", policyRef={"name": "never-there"})
    stage.await_condition("ReferencesFound", "False", seconds=120, pool="late")
    assert operator.exit_status() is None, operator.log()
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0


def test_a_leader_that_cannot_renew_ends_with_status_3(stage: Stage, local: Cluster) -> None:
    """Protects against two writers: a leader that lost its lease must not come back to life by itself."""
    stage.deploy()
    operator = stage.operate(prometheus=False)
    eventually(lambda: operator.metric("forebay_leader") == 1, describe=operator.log)
    local.apiserver.kill()
    try:
        eventually(lambda: operator.exit_status() == 3, timeout_seconds=120, describe=operator.log)
    finally:
        local.apiserver.restart()
    assert "lease forebay" in operator.log().splitlines()[-1]
