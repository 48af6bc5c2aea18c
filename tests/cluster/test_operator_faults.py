"""What breaks around the operator: Prometheus, the operator itself, other writers, targets, nodes."""

import json
import subprocess
import sys
import time
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


def always(stage: Stage, seconds: float, *, least: int) -> None:
    """Assert that no target has fewer than ``least`` replicas for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert min(stage.replicas().values()) >= least, stage.story()
        time.sleep(0.5)


def test_without_prometheus_capacity_is_held_and_released_when_it_is_back(stage: Stage) -> None:
    """Protects the promise that lost telemetry never scales anything down."""
    stage.deploy(replicas=4, restart_guard="15s")
    stage.serve(steps(Step(400, 0.3)))
    stage.operate()
    eventually(
        lambda: stage.condition("MetricsFresh")["status"] == "True", timeout_seconds=120, describe=stage.story
    )
    assert set(stage.replicas().values()) == {4}
    stage.prometheus.kill()
    eventually(
        lambda: stage.condition("MetricsFresh")["status"] == "False", timeout_seconds=120, describe=stage.story
    )
    always(stage, 20.0, least=4)
    stage.prometheus.restart()
    eventually(
        lambda: stage.condition("MetricsFresh")["status"] == "True", timeout_seconds=180, describe=stage.story
    )
    eventually(lambda: min(stage.replicas().values()) < 4, timeout_seconds=180, describe=stage.story)


def test_killed_in_mid_action_it_neither_dips_nor_steps_twice(stage: Stage) -> None:
    """Protects a scale-out in progress from a crash: what was ordered stays, and is not ordered again."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    operator = stage.operate()
    eventually(lambda: stage.replicas()["chat-prefill"] > 1, timeout_seconds=180, describe=stage.story)
    operator.kill()
    before = stage.replicas()
    operator.restart()
    end = time.monotonic() + 25.0
    while time.monotonic() < end:
        now = stage.replicas()
        assert all(now[name] >= before[name] for name in before), stage.story()
        assert max(now.values()) <= 16
        time.sleep(0.5)
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0


def test_of_two_operators_one_writes_and_the_other_takes_over(stage: Stage) -> None:
    """Protects the single writer, and the take-over within 30 s."""
    stage.deploy()
    first = stage.operate(prometheus=False)
    eventually(lambda: first.metric("forebay_leader") == 1, describe=first.log)
    second = stage.operate(name="second", prometheus=False)
    for _ in range(10):
        assert (first.metric("forebay_leader"), second.metric("forebay_leader")) == (1, 0)
        assert second.metric("forebay_status_writes_total") == 0
        time.sleep(0.3)
    first.kill()
    started = time.monotonic()
    eventually(lambda: second.metric("forebay_leader") == 1, timeout_seconds=120, describe=second.log)
    assert time.monotonic() - started < 30
    stage.add_pool("late", target="later")
    eventually(lambda: bool(stage.condition("TargetsFound", pool="late")), describe=second.log)


def test_a_person_who_scales_by_hand_is_left_alone_for_a_while(stage: Stage) -> None:
    """Protects on-call: a manual change is reported, respected for the window, and then taken over again."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    operator = stage.operate({"conflict-window": "20s"})
    eventually(lambda: stage.replicas()["chat-prefill"] >= 3, timeout_seconds=180, describe=stage.story)
    time.sleep(2.0)
    stage.cluster.kubectl("scale", "deployment/chat-prefill", "--replicas=14", "-n", stage.namespace)
    stage.await_condition("Conflicted", "True", seconds=120)
    assert "kubectl set Deployment chat-prefill to 14 replicas" in str(stage.condition("Conflicted")["message"])
    assert stage.replicas()["chat-prefill"] == 14
    eventually(
        lambda: stage.condition("Conflicted")["status"] == "False", timeout_seconds=120, describe=stage.story
    )

    operator.kill()
    stage.cluster.kubectl("scale", "deployment/chat-prefill", "--replicas=15", "-n", stage.namespace)
    operator.restart()
    stage.await_condition("Conflicted", "True", seconds=120)
    assert "kubectl set Deployment chat-prefill to 15 replicas" in str(stage.condition("Conflicted")["message"])


def test_an_hpa_on_the_target_is_reported_and_not_fought(stage: Stage) -> None:
    """Protects from two autoscalers on one number."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    stage.add_hpa("chat-prefill")
    stage.operate()
    stage.await_condition("Conflicted", "True", seconds=120)
    assert "HorizontalPodAutoscaler chat-prefill also scales" in str(stage.condition("Conflicted")["message"])
    eventually(lambda: stage.recommended("prefill") >= 1, timeout_seconds=120, describe=stage.story)
    always(stage, 10.0, least=1)
    assert stage.replicas()["chat-prefill"] == 1


def test_a_missing_target_is_reported_until_it_is_there(stage: Stage) -> None:
    """Protects the order of installation: pool first, workload later."""
    stage.deploy()
    operator = stage.operate(prometheus=False)
    stage.add_pool("early", target="later")
    eventually(lambda: stage.condition("TargetsFound", pool="early")["status"] == "False", describe=stage.story)
    assert "Deployment later does not exist" in str(stage.condition("TargetsFound", pool="early")["message"])
    stage.add_deployment("later")
    eventually(lambda: stage.condition("TargetsFound", pool="early")["status"] == "True", describe=stage.story)
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0


def test_pools_deleted_in_mid_round_and_broken_ones_disturb_nobody(stage: Stage) -> None:
    """Protects the fleet from single resources: deletion is benign, a dead reference is a condition."""
    stage.deploy()
    operator = stage.operate({"interval": "1s"}, prometheus=False)
    for turn in range(8):
        stage.add_pool(f"brief-{turn}", target=f"gone-{turn}")
        time.sleep(0.4)
        stage.cluster.kubectl("delete", "inferencepools.forebay.io", f"brief-{turn}", "-n", stage.namespace)
    stage.add_pool("broken", target="later", policyRef={"name": "no-such-policy"})
    eventually(
        lambda: stage.condition("ReferencesFound", pool="broken")["status"] == "False", describe=stage.story
    )
    stage.await_condition("Ready", "True", seconds=120)
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0
    eventually(
        lambda: operator.metric("forebay_watched_objects", kind="inferencepools") == 2, describe=stage.story
    )
    assert "brief-" not in operator.metrics()


def test_without_free_gpus_pending_replicas_count_until_their_deadline(stage: Stage) -> None:
    """Protects from ordering the same replica again and again, and from waiting for ever for a sold-out pool."""
    stage.deploy(replicas=14)
    operator = stage.operate({"provision-deadline": "45s"}, prometheus=False)

    def full() -> None:
        status = stage.node_pool_status()
        assert (status.get("usableGPUs"), status.get("freeGPUs")) == (24, 0)

    def starting() -> int:
        roles = stage.pool_status().get("roles") or []
        return sum(variant["starting"] for role in roles for variant in role["variants"])

    eventually(full, timeout_seconds=120, describe=stage.story)
    eventually(lambda: starting() == 4, timeout_seconds=120, describe=stage.story)

    def blocked() -> None:
        reason = str(stage.node_pool_status().get("blockedReason"))
        assert reason.endswith("got no node before their deadline.")

    eventually(blocked, timeout_seconds=180, describe=stage.story)
    eventually(lambda: starting() == 0, timeout_seconds=120, describe=stage.story)
    assert sum(stage.replicas().values()) == 28
    assert operator.metric("forebay_node_pool_blocked", node_pool=stage.nodes.name) == 1


def test_a_graceful_stop_releases_the_lease(stage: Stage) -> None:
    """Protects rolling updates: the next replica need not wait for the lease to run out."""
    stage.deploy()
    operator = stage.operate({"lease-duration": "40s", "renew-deadline": "30s"}, prometheus=False)
    eventually(lambda: operator.metric("forebay_leader") == 1, describe=operator.log)
    operator.terminate()
    eventually(lambda: operator.exit_status() == 0, timeout_seconds=120, describe=operator.log)
    successor = stage.operate(name="successor", prometheus=False)
    eventually(lambda: successor.metric("forebay_leader") == 1, timeout_seconds=120, describe=successor.log)


def test_explain_says_why_in_plain_words_and_as_json(stage: Stage) -> None:
    """Protects the answer to the question that on-call asks first."""
    stage.deploy()
    operator = stage.operate(prometheus=False)
    eventually(lambda: bool(stage.condition("Ready")), describe=stage.story)
    command = [sys.executable, "-m", "forebay", "explain", f"{stage.namespace}/chat"]
    flags = ["--kubeconfig", str(stage.cluster.kubeconfig), "--operator-url", operator.url]

    def explain(*more: str) -> str:
        return subprocess.run([*command, *flags, *more], capture_output=True, text=True, check=True).stdout

    told = explain()
    assert f"{stage.namespace}/chat  mode Auto" in told
    assert "capacity is held, because arrivals are unknown" in told
    assert "How it came about" in told
    assert json.loads(explain("-o", "json"))["record"]["decision"]["held"] is True
    flags[-1] = "http://127.0.0.1:9"
    assert "Only what the status holds" in explain()
