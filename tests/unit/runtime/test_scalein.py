"""Pods of a Deployment are chosen before its count is lowered, and marks of survivors are taken back."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from forebay.actuation.victims import CHOSEN_BY, COST_BEFORE, DELETION_COST, LOWEST_COST
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from forebay.telemetry.source import PodName, PoolTarget
from tests.unit.runtime.rig import CHAT, SCALE, STATUS, Rig


def path(name: str) -> str:
    return f"/api/v1/namespaces/serving/pods/{name}"


@pytest.fixture
async def rig(store: Store, memory_api: Any, clock: Any, objects: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Deployment of three pods, of which all are Ready since the same time."""
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 3))
    for name in ("a", "b", "c"):
        pod = objects.pod(name, node=f"n-{name}")
        store.apply(Kind.PODS, pod)
        memory_api.objects[path(name)] = pod
    memory_api.objects[STATUS] = objects.pool()
    memory_api.objects[SCALE] = {"metadata": {}, "spec": {"replicas": 3}}
    made = Rig(store, memory_api, clock, monkeypatch)
    made.desired = 3
    await made.warm()
    yield made
    await made.loop.close()


def holds(rig: Rig, monkeypatch: pytest.MonkeyPatch, held: Mapping[str, float]) -> None:
    async def pod_requests(
        targets: Sequence[PoolTarget], pods: Collection[PodName], at_seconds: float
    ) -> Mapping[PodName, float]:
        assert [target.workloads[0].name for target in targets] == ["chat"]
        return {pod: held[pod[1]] for pod in pods if pod[1] in held}

    monkeypatch.setattr(rig.telemetry, "pod_requests", pod_requests)


def notes(rig: Rig, name: str) -> dict[str, str]:
    return rig.api.objects[path(name)]["metadata"].get("annotations") or {}


async def test_the_pod_that_holds_least_is_marked_before_the_count_is_lowered(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(rig, monkeypatch, {"a": 4.0, "b": 1.0, "c": 2.0})
    rig.desired = 2
    assert await rig.loop.round()
    assert notes(rig, "b") == {DELETION_COST: LOWEST_COST, COST_BEFORE: "", CHOSEN_BY: "forebay"}
    assert not notes(rig, "a")
    assert not notes(rig, "c")
    patches = [sent for method, sent, _ in rig.api.sent if method == "PATCH" and sent in {path("b"), SCALE}]
    assert patches == [path("b"), SCALE]
    record = rig.loop.record_of(CHAT)
    assert record is not None
    assert record["actions"][0]["victims"] == ["b"]


async def test_a_survivor_gets_its_cost_back(rig: Rig, objects: Any) -> None:
    marked = objects.pod("a")
    marked["metadata"]["annotations"] = {DELETION_COST: LOWEST_COST, COST_BEFORE: "5", CHOSEN_BY: "forebay"}
    rig.store.apply(Kind.PODS, marked)
    rig.api.objects[path("a")] = marked
    assert await rig.loop.round()
    assert notes(rig, "a") == {DELETION_COST: "5"}


async def test_a_mark_stays_while_the_controller_still_has_to_remove_pods(rig: Rig, objects: Any) -> None:
    marked = objects.pod("a")
    marked["metadata"]["annotations"] = {DELETION_COST: LOWEST_COST, COST_BEFORE: "", CHOSEN_BY: "forebay"}
    rig.store.apply(Kind.PODS, marked)
    rig.api.objects[path("a")] = marked
    rig.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 2, resourceVersion="7"))
    rig.desired = 2
    assert await rig.loop.round()
    assert COST_BEFORE in notes(rig, "a")


async def test_without_the_right_it_scales_in_all_the_same_and_says_so(rig: Rig, monkeypatch: Any) -> None:
    async def refuse(*_: Any) -> str:
        return "Kubernetes chose."

    monkeypatch.setattr("forebay.actuation.victims.VictimMarks.mark", refuse)
    rig.desired = 2
    assert await rig.loop.round()
    assert rig.scaled() == [2]
    record = rig.loop.record_of(CHAT)
    assert record is not None
    assert record["actions"][0]["message"].endswith("to 2. Kubernetes chose.")
