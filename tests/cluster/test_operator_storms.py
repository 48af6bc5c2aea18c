"""The operator and writes that are refused because somebody else wrote in between."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devcluster import Cluster
from devcluster.rest import mapping
from devcluster.waiting import eventually
from runoperator import RunningOperator
from runoperator.scenario import Stage, Step, steps

TARGETS = ("chat-prefill", "chat-decode")


@pytest.fixture
def stage(cluster: Cluster, namespace: str) -> Iterator[Stage]:
    """A prefill/decode pool with nodes of its own; ends what the test started."""
    with Stage(cluster, namespace, nodes=3) as stage:
        yield stage


def deployment_path(stage: Stage, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/{name}"


def spec_changes(stage: Stage) -> int:
    """Return how often the targets' specs changed since they were made; labels do not count."""
    rest = stage.cluster.rest()
    return sum(
        int(str(mapping(rest.get(deployment_path(stage, n)), "metadata")["generation"])) - 1 for n in TARGETS
    )


@contextmanager
def relabelled(stage: Stage, *, most_seconds: float) -> Iterator[None]:
    """Have somebody write labels of the targets all the time, at most for a while."""
    stopped = threading.Event()

    def write() -> None:
        rest, turn = stage.cluster.rest(), 0
        while not stopped.wait(0.01):
            turn += 1
            for name in TARGETS:
                rest.patch(deployment_path(stage, name), {"metadata": {"labels": {"turn": str(turn)}}})

    end = threading.Timer(most_seconds, stopped.set)
    thread = threading.Thread(target=write, name="relabel", daemon=True)
    end.start()
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        end.cancel()
        thread.join(10.0)


def each_write_is_one_step(stage: Stage, operator: RunningOperator) -> None:
    """Assert that the targets changed exactly as often as the operator says that it wrote."""
    assert spec_changes(stage) == operator.metric("forebay_scale_writes_total", result="Written")


@pytest.mark.timeout(240)
def test_conflicts_on_its_writes_delay_scaling_and_never_double_it(stage: Stage) -> None:
    """Protects the optimistic lock: who wrote in between wins, and the next round decides anew."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    assert spec_changes(stage) == 0
    with relabelled(stage, most_seconds=90.0):
        operator = stage.operate()
        eventually(
            lambda: operator.metric("forebay_scale_writes_total", result="WriteConflict") >= 2,
            timeout_seconds=80,
            describe=stage.story,
        )
    eventually(lambda: stage.replicas()["chat-prefill"] >= 3, timeout_seconds=60, describe=stage.story)
    eventually(lambda: each_write_is_one_step(stage, operator), timeout_seconds=20, describe=stage.story)
    assert max(stage.replicas().values()) <= 16
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0
