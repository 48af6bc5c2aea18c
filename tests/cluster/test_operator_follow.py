"""The operator follows the load, on the real parts: API server, Prometheus, node pools, engines that behave."""

from collections.abc import Iterator

import pytest

from devcluster import Cluster
from devcluster.waiting import eventually
from runoperator.scenario import Stage, Step, steps


@pytest.fixture
def stage(cluster: Cluster, namespace: str) -> Iterator[Stage]:
    """A prefill/decode pool with nodes of its own; ends what the test started."""
    with Stage(cluster, namespace, nodes=3) as stage:
        yield stage


def test_prefill_and_decode_follow_the_load_up_and_down(stage: Stage) -> None:
    """Protects the product's first promise: each role grows with its own need, and shrinks when it is gone."""
    stage.deploy(restart_guard="5s")
    stage.serve(steps(Step(10, 1.0), Step(60, 10.0), Step(400, 0.4)))
    operator = stage.operate()
    most: dict[str, int] = {}

    def grown() -> bool:
        for name, count in stage.replicas().items():
            most[name] = max(most.get(name, 0), count)
        return most["chat-prefill"] >= 4 and most["chat-decode"] >= 4

    eventually(grown, timeout_seconds=180, describe=stage.story)
    eventually(lambda: max(stage.replicas().values()) <= 2, timeout_seconds=200, describe=stage.story)
    reasons = stage.pool()["status"]
    assert isinstance(reasons, dict)
    assert reasons["lastScaleTime"]
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0


def test_recommend_writes_nothing_but_status_and_events(stage: Stage) -> None:
    """Protects the user's trust: under RBAC that allows no scaling, it recommends and nothing moves."""
    stage.deploy(mode="Recommend")
    stage.serve(steps(Step(400, 8.0)))
    operator = stage.operate(kubeconfig=stage.recommend_only())
    eventually(lambda: stage.recommended("prefill") >= 3, timeout_seconds=180, describe=stage.story)
    assert set(stage.replicas().values()) == {1}
    assert operator.metric("forebay_scale_writes_total") == 0
    assert "Forbidden" not in operator.log(200)


def test_auto_without_the_right_to_scale_says_so(stage: Stage) -> None:
    """Protects against silence: what RBAC forbids stands in the status, in a sentence that says what to change."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    stage.operate(kubeconfig=stage.recommend_only())

    def told() -> None:
        limited = stage.condition("ScalingLimited")
        assert limited["status"] == "True"
        assert "may not be scaled: allow Forebay's service account" in str(limited["message"])

    eventually(told, timeout_seconds=180, describe=stage.story)
    assert set(stage.replicas().values()) == {1}
