"""Which pods are chosen to go, and how they are marked."""

from dataclasses import replace

import pytest

from forebay.actuation.kube import ApiError
from forebay.actuation.victims import (
    CHOSEN_BY,
    COST_BEFORE,
    DELETION_COST,
    LOWEST_COST,
    PARKED_AT,
    PARKED_COST,
    SERVING,
    Candidate,
    RemovalWish,
    VictimMarks,
    choose,
)
from tests.unit.runtime.conftest import MemoryApi


def pod(name: str, *, ready: float | None = 100.0, node: str = "n1", cost: int = 0) -> Candidate:
    return Candidate(
        namespace="serving",
        name=name,
        uid=f"uid-{name}",
        node=node,
        ready_seconds=ready,
        deletion_cost=cost,
        cost_before=None,
    )


def chosen(pods: list[Candidate], number: int, choice: RemovalWish | None = None) -> list[str]:
    return [each.name for each in choose(pods, number, choice or RemovalWish())]


def test_nodes_that_empty_go_before_the_fewest_requests_before_the_youngest() -> None:
    pods = [pod("old", ready=1.0), pod("young", ready=9.0), pod("idle"), pod("empties", node="n2")]
    held = {
        ("serving", "old"): 3.0,
        ("serving", "young"): 3.0,
        ("serving", "idle"): 0.0,
        ("serving", "empties"): 8.0,
    }
    choice = RemovalWish(emptying={"n2"}, requests=held)
    assert [chosen(pods, number, choice) for number in (1, 2, 3)] == [
        ["empties"],
        ["empties", "idle"],
        ["empties", "idle", "young"],
    ]


def test_without_telemetry_the_youngest_goes() -> None:
    assert chosen([pod("old", ready=1.0), pod("young", ready=9.0)], 1) == ["young"]


def test_a_pod_that_does_not_report_counts_as_the_busiest() -> None:
    held = {("serving", "busy"): 50.0}
    assert chosen([pod("silent"), pod("busy")], 1, RemovalWish(requests=held)) == ["busy"]


def test_pods_that_are_not_ready_go_by_themselves_and_count() -> None:
    pods = [pod("a"), pod("b", ready=9.0e9), pod("starting", ready=None)]
    assert chosen(pods, 1) == []
    assert chosen(pods, 2) == ["b"]


def test_no_more_go_than_there_are() -> None:
    assert sorted(chosen([pod("a"), pod("b")], 3)) == ["a", "b"]


def test_a_cost_that_somebody_else_set_decides_first() -> None:
    pods = [pod("cheap", cost=-5), pod("idle")]
    assert chosen(pods, 1, RemovalWish(requests={("serving", "cheap"): 9.0, ("serving", "idle"): 0.0})) == [
        "cheap"
    ]


def path(name: str) -> str:
    return f"/api/v1/namespaces/serving/pods/{name}"


async def test_a_mark_is_written_and_taken_back() -> None:
    api = MemoryApi()
    api.objects[path("a")] = {"metadata": {"uid": "uid-a", "annotations": {DELETION_COST: "7", "other": "stays"}}}
    marks, chosen_pod = VictimMarks(api), pod("a", cost=7)
    assert await marks.mark([chosen_pod]) == ""
    found = api.objects[path("a")]["metadata"]["annotations"]
    assert found == {DELETION_COST: LOWEST_COST, COST_BEFORE: "7", CHOSEN_BY: "forebay", "other": "stays"}
    assert await marks.clear([replace(chosen_pod, deletion_cost=int(LOWEST_COST), cost_before="7")]) == ""
    assert api.objects[path("a")]["metadata"]["annotations"] == {DELETION_COST: "7", "other": "stays"}


async def test_a_pod_without_a_cost_has_none_afterwards() -> None:
    api = MemoryApi()
    api.objects[path("a")] = {"metadata": {"uid": "uid-a"}}
    await VictimMarks(api).mark([pod("a")])
    await VictimMarks(api).clear([replace(pod("a"), cost_before="")])
    assert api.objects[path("a")]["metadata"]["annotations"] == {}


async def test_a_marked_pod_is_not_marked_twice() -> None:
    api = MemoryApi()
    await VictimMarks(api).mark([replace(pod("a", cost=int(LOWEST_COST)), cost_before="")])
    assert api.sent == []


async def test_a_parked_pod_that_goes_now_goes_before_other_parked_ones() -> None:
    api = MemoryApi()
    marks = VictimMarks(api)
    api.objects[path("a")] = {"metadata": {"uid": "uid-a", "labels": {SERVING: "true"}}}
    await marks.park([pod("a")], 1_795_132_800.0)
    await marks.mark([replace(pod("a", cost=int(PARKED_COST)), cost_before="")])
    notes = api.objects[path("a")]["metadata"]["annotations"]
    assert (notes[DELETION_COST], notes[COST_BEFORE]) == (LOWEST_COST, "")
    assert PARKED_AT in notes


@pytest.mark.parametrize("before", ["cheap", "2147483648", "-" + "9" * 5000, "0", "NaN"])
async def test_a_cost_that_kubernetes_would_refuse_is_not_given_back(before: str) -> None:
    api = MemoryApi()
    api.objects[path("a")] = {"metadata": {"uid": "uid-a", "annotations": {COST_BEFORE: before}}}
    assert await VictimMarks(api).unpark([replace(pod("a"), cost_before=before)]) == ""
    assert api.objects[path("a")]["metadata"]["annotations"] == {}


@pytest.mark.parametrize(
    ("status", "said"), [(404, ""), (409, ""), (403, "rbac.scaling.pods"), (500, "could not be marked")]
)
async def test_what_fails_is_said_but_for_pods_that_are_gone(status: int, said: str) -> None:
    api = MemoryApi()
    api.failures = [ApiError("no", status=status)]
    told = await VictimMarks(api).mark([pod("a")])
    assert said in told
    assert bool(told) == bool(said)


async def test_a_pod_is_parked_and_comes_back() -> None:
    api = MemoryApi()
    api.objects[path("a")] = {"metadata": {"uid": "uid-a", "labels": {SERVING: "true"}}}
    marks = VictimMarks(api)
    assert await marks.park([pod("a", cost=7)], 1_795_132_800.0) == ""
    metadata = api.objects[path("a")]["metadata"]
    assert metadata["labels"] == {SERVING: "false"}
    assert metadata["annotations"] == {
        DELETION_COST: PARKED_COST,
        COST_BEFORE: "7",
        CHOSEN_BY: "forebay",
        PARKED_AT: "2026-11-20T00:00:00Z",
    }
    assert await marks.unpark([replace(pod("a"), cost_before="7")]) == ""
    metadata = api.objects[path("a")]["metadata"]
    assert (metadata["labels"], metadata["annotations"]) == ({SERVING: "true"}, {DELETION_COST: "7"})
