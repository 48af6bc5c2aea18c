"""The operator and requests that are refused: somebody else wrote in between, or the API server is too busy."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devcluster import Cluster
from devcluster.rest import mapping, text
from devcluster.waiting import eventually
from forebay.runtime.process import EXIT_LEASE_LOST
from runoperator import NAMESPACE, SERVICE_ACCOUNT, RunningOperator
from runoperator.scenario import Stage, Step, steps
from tests.cluster.api_proxy import WRITES, Storm, api_proxy, kubeconfig_through

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


def test_labels_written_all_the_time_neither_refuse_nor_double_a_write(stage: Stage) -> None:
    """Protects the lock from being too wide: it is on the count, which a write of labels does not change."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    assert spec_changes(stage) == 0
    with relabelled(stage, most_seconds=90.0):
        operator = stage.operate()
        eventually(lambda: stage.replicas()["chat-prefill"] >= 3, timeout_seconds=120, describe=stage.story)
    eventually(lambda: each_write_is_one_step(stage, operator), timeout_seconds=120, describe=stage.story)
    assert operator.metric("forebay_scale_writes_total", result="WriteConflict") == 0
    assert max(stage.replicas().values()) <= 16
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0


RETRY_AFTER_SECONDS = 5


@pytest.fixture
def storm() -> Storm:
    return Storm(retry_after_seconds=RETRY_AFTER_SECONDS)


@pytest.fixture
def through_proxy(stage: Stage, storm: Storm, tmp_path: Path) -> Iterator[Path]:
    """The operator's own credentials, by way of the proxy."""
    own = stage.cluster.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT)
    with api_proxy(stage.cluster, storm) as url:
        yield kubeconfig_through(url, own, tmp_path / "kubeconfig")


class Racer:
    """Somebody else who sets each target's count to two just before the operator's first write of it arrives."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.raced: set[str] = set()

    def __call__(self, method: str, path: str) -> bool:
        """Write first, and refuse nothing."""
        if method == "PATCH" and path.endswith("/scale") and path not in self.raced:
            self.raced.add(path)
            self._stage.cluster.rest().patch(path.removesuffix("/scale"), {"spec": {"replicas": 2}})
        return False


def test_who_sets_the_count_in_between_wins_and_the_next_round_decides_anew(
    stage: Stage, storm: Storm, through_proxy: Path
) -> None:
    """Protects the optimistic lock: no count is written over one that the decision has not seen."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    with storm.rages(racer := Racer(stage)):
        operator = stage.operate(kubeconfig=through_proxy)
        eventually(
            lambda: operator.metric("forebay_scale_writes_total", result="WriteConflict") == len(TARGETS),
            timeout_seconds=120,
            describe=stage.story,
        )
        eventually(lambda: min(stage.replicas().values()) >= 3, timeout_seconds=120, describe=stage.story)
    assert len(racer.raced) == len(TARGETS)
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0


def writes_but_the_lease(method: str, path: str) -> bool:
    return method in WRITES and "/leases" not in path


def everything(method: str, path: str) -> bool:
    return True


def test_a_busy_api_server_is_left_in_peace_and_told_of_afterwards(
    stage: Stage, storm: Storm, through_proxy: Path
) -> None:
    """Protects the API server from its client, and the fleet from steps that were decided in a storm."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    with storm.rages(writes_but_the_lease):
        operator = stage.operate({"interval": "1s"}, kubeconfig=through_proxy)
        began = operator.metric("forebay_rounds_total", outcome="ok")
        eventually(
            lambda: operator.metric("forebay_rounds_total", outcome="ok") >= began + 20,
            timeout_seconds=180,
            describe=operator.log,
        )
        assert stage.replicas() == dict.fromkeys(TARGETS, 1)
        assert operator.exit_status() is None
    bursts = refusals_by_pause(storm)
    assert len(storm.refused) / len(bursts) <= 8, bursts
    assert all(later - earlier >= RETRY_AFTER_SECONDS - 1.0 for earlier, later in itertools.pairwise(bursts))
    eventually(lambda: stage.replicas()["chat-prefill"] >= 3, timeout_seconds=120, describe=stage.story)
    eventually(lambda: each_write_is_one_step(stage, operator), timeout_seconds=120, describe=stage.story)
    eventually(
        lambda: stage.condition("ScalingLimited")["reason"] != "WriteFailed",
        timeout_seconds=120,
        describe=stage.story,
    )
    # What went wrong is told, although the status can say by now that all is well.
    told = stage.cluster.rest().items(f"/api/v1/namespaces/{stage.namespace}/events")
    assert [event for event in told if "the API server is busy" in text(event, "message")], told
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0


def refusals_by_pause(storm: Storm) -> list[float]:
    """Return when each burst of refusals began; a second without any ends one."""
    starts: list[float] = []
    last = float("-inf")
    for at, _, _ in sorted(storm.refused):
        if at - last > 1.0:
            starts.append(at)
        last = at
    return starts


def test_an_api_server_that_answers_nothing_ends_the_leader_and_the_next_one_waits(
    stage: Stage, storm: Storm, through_proxy: Path
) -> None:
    """Protects the single writer: who cannot renew its lease goes; whoever starts in the storm waits it out."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    operator = stage.operate(kubeconfig=through_proxy)
    eventually(lambda: stage.replicas()["chat-prefill"] >= 3, timeout_seconds=180, describe=stage.story)
    with storm.rages(everything):
        before = stage.replicas()
        eventually(lambda: operator.exit_status() is not None, timeout_seconds=120, describe=operator.log)
        assert operator.exit_status() == EXIT_LEASE_LOST, operator.log()
        storm.refused.clear()
        operator.component.start()
        eventually(lambda: "waiting:" in operator.log(), timeout_seconds=120, describe=operator.log)
        eventually(lambda: len(storm.refused) >= 12, timeout_seconds=120, describe=operator.log)
        assert operator.exit_status() is None
        assert stage.replicas() == before
        seconds = storm.refused[-1][0] - storm.refused[0][0]
        assert len(storm.refused) <= 6 * seconds + 10, storm.refused
    eventually(operator.is_ready, timeout_seconds=120, describe=operator.log)
    eventually(lambda: operator.metric("forebay_leader") == 1, timeout_seconds=120, describe=operator.log)
    eventually(
        lambda: operator.metric("forebay_rounds_total", outcome="ok") >= 3,
        timeout_seconds=120,
        describe=operator.log,
    )
    assert min(stage.replicas().values()) >= 3
