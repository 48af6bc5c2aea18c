"""Pods whose template has the label are parked, come back, go, and are never forgotten."""

from dataclasses import replace
from typing import Any

import pytest

from forebay.actuation.victims import (
    CHOSEN_BY,
    COST_BEFORE,
    DELETION_COST,
    LOWEST_COST,
    PARKED_AT,
    PARKED_COST,
    SERVING,
)
from forebay.flow.decision import FleetDecision
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from tests.unit.runtime.conftest import NOW
from tests.unit.runtime.rig import CHAT, SCALE, STATUS, Rig
from tests.unit.runtime.test_scalein import holds, path


def deployment(objects: Any, replicas: int = 3, **metadata: Any) -> Any:
    body = objects.deployment("chat", replicas, **metadata)
    body["spec"]["template"] = {"metadata": {"labels": {"app": "chat", SERVING: "true"}}}
    return body


def pod(objects: Any, name: str, *, parked: str = "") -> Any:
    body = objects.pod(name, labels={"app": "chat", SERVING: "false" if parked else "true"})
    if parked:
        body["metadata"]["annotations"] = {
            DELETION_COST: PARKED_COST,
            COST_BEFORE: "",
            CHOSEN_BY: "forebay",
            PARKED_AT: parked,
        }
    return body


def put(rig: Rig, body: Any) -> None:
    rig.store.apply(Kind.PODS, body)
    rig.api.objects[path(body["metadata"]["name"])] = body


@pytest.fixture
async def rig(store: Store, memory_api: Any, clock: Any, objects: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.DEPLOYMENTS, deployment(objects))
    memory_api.objects[STATUS] = objects.pool()
    memory_api.objects[SCALE] = {"metadata": {}, "spec": {"replicas": 3}}
    made = Rig(store, memory_api, clock, monkeypatch)
    for name in ("a", "b", "c"):
        put(made, pod(objects, name))
    made.desired = 3
    await made.warm()
    yield made
    await made.loop.close()


def serving(rig: Rig) -> dict[str, str]:
    return {name: rig.api.objects[path(name)]["metadata"]["labels"][SERVING] for name in ("a", "b", "c")}


def events(rig: Rig) -> list[str]:
    return [body["reason"] for _, sent, body in rig.api.sent if sent.endswith("/events")]


async def test_a_release_parks_the_pod_and_keeps_the_count(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    holds(rig, monkeypatch, {"a": 4.0, "b": 1.0, "c": 2.0})
    rig.desired = 2
    assert await rig.loop.round()
    assert serving(rig) == {"a": "true", "b": "false", "c": "true"}
    assert rig.scaled() == []
    assert "Parked" in events(rig)
    record = rig.loop.record_of(CHAT)
    assert record is not None
    assert (record["actions"][0]["parked"], record["actions"][0]["result"]) == (["b"], "Parked")


async def test_a_parked_pod_is_no_capacity_and_costs_what_it_costs(
    rig: Rig, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(rig, monkeypatch, {"a": 5.0})
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    rig.desired = 2
    assert await rig.loop.round()
    (seen,) = rig.observed[-1].pools[CHAT].variants
    assert (seen.desired, seen.ready) == (2, 2)
    assert [(each.name, each.since_seconds, each.requests) for each in seen.parked] == [("a", NOW, 5.0)]
    status = rig.api.objects[STATUS]["status"]
    assert status["summary"]["replicas"] == "2/2, 1 parked"
    assert status["roles"][0]["variants"][0]["parked"] == 1


async def test_more_demand_takes_parked_pods_back_before_others_are_ordered(rig: Rig, objects: Any) -> None:
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    rig.desired = 4
    assert await rig.loop.round()
    assert serving(rig)["a"] == "true"
    assert rig.scaled() == [4]


async def test_a_pod_that_comes_back_needs_no_write_of_the_count(rig: Rig, objects: Any) -> None:
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    assert await rig.loop.round()
    assert serving(rig)["a"] == "true"
    assert rig.scaled() == []
    assert "Unparked" in events(rig)


def frees(rig: Rig, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    decide = rig.decide

    def freeing(*given: Any, **named: Any) -> FleetDecision:
        decision = decide(*given, **named)
        pools = {
            key: replace(pool, variants=tuple(replace(each, freed=names) for each in pool.variants))
            for key, pool in decision.pools.items()
        }
        return replace(decision, pools=pools)

    monkeypatch.setattr("forebay.runtime.decider.decide", freeing)


async def test_a_freed_pod_goes_by_the_count(rig: Rig, objects: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    rig.desired = 2
    frees(rig, monkeypatch, "a")
    assert await rig.loop.round()
    assert rig.scaled() == [2]
    assert serving(rig)["a"] == "false"


async def test_a_freed_pod_goes_and_not_one_that_still_holds_requests(
    rig: Rig, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    put(rig, pod(objects, "b", parked="2026-11-20T00:00:00Z"))
    rig.desired = 1
    frees(rig, monkeypatch, "a")
    assert await rig.loop.round()
    costs = {n: rig.api.objects[path(n)]["metadata"]["annotations"][DELETION_COST] for n in ("a", "b")}
    assert costs == {"a": LOWEST_COST, "b": PARKED_COST}
    patched = [sent for method, sent, _ in rig.api.sent if method == "PATCH" and sent in {path("a"), SCALE}]
    assert patched == [path("a"), SCALE]
    assert rig.scaled() == [2]


async def test_what_cannot_come_back_is_ordered_anew(
    rig: Rig, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Any, pods: Any) -> str:
        return "Not allowed." if list(pods) else ""

    monkeypatch.setattr("forebay.actuation.victims.VictimMarks.unpark", refuse)
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    assert await rig.loop.round()
    assert rig.scaled() == [4]


async def test_a_parked_pod_that_is_not_ready_does_not_count_as_back(rig: Rig, objects: Any) -> None:
    body = pod(objects, "a", parked="2026-11-20T00:00:00Z")
    ready = next(item for item in body["status"]["conditions"] if item["type"] == "Ready")
    ready["status"] = "False"
    put(rig, body)
    assert await rig.loop.round()
    assert serving(rig)["a"] == "false"
    assert rig.scaled() == [4]


async def test_a_parked_pod_beyond_the_count_goes_and_does_not_come_back(rig: Rig, objects: Any) -> None:
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    rig.store.apply(Kind.DEPLOYMENTS, deployment(objects, 2, resourceVersion="7"))
    rig.api.objects[SCALE]["spec"]["replicas"] = 2
    assert await rig.loop.round()
    assert serving(rig)["a"] == "false"
    assert rig.scaled() == [3]


async def test_where_pods_may_not_be_parked_they_go_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> str:
        return "Not allowed."

    monkeypatch.setattr("forebay.actuation.victims.VictimMarks.park", refuse)
    rig.desired = 2
    assert await rig.loop.round()
    assert rig.scaled() == [2]


async def test_a_policy_can_do_without(rig: Rig, objects: Any) -> None:
    policy = objects._own("ScalingPolicy", "plain", {"scaleIn": {"park": False}}, namespace="serving")
    body = objects.pool(policyRef={"name": "plain"})
    body["metadata"] |= {"generation": 2, "resourceVersion": "900"}
    rig.store.apply(Kind.POLICIES, policy)
    rig.store.apply(Kind.POOLS, body)
    rig.desired = 2
    assert await rig.loop.round()
    assert rig.scaled() == [2]


@pytest.mark.parametrize("mode", ["Recommend", "Paused"])
async def test_a_pool_that_does_not_act_any_more_gets_its_pods_back(rig: Rig, objects: Any, mode: str) -> None:
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    body = objects.pool(mode=mode)
    body["metadata"] |= {"generation": 2, "resourceVersion": "900"}
    rig.store.apply(Kind.POOLS, body)
    rig.desired = 2
    assert await rig.loop.round()
    assert serving(rig)["a"] == "true"


async def test_a_parked_pod_of_no_pool_gets_its_traffic_back(rig: Rig, objects: Any) -> None:
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    rig.store.apply(Kind.POOLS, objects.pool(), deleted=True)
    assert await rig.loop.round()
    assert serving(rig)["a"] == "true"


async def test_what_another_release_parked_is_left_to_it(rig: Rig, objects: Any) -> None:
    body = pod(objects, "a", parked="2026-11-20T00:00:00Z")
    body["metadata"]["annotations"][CHOSEN_BY] = "forebay:other/release"
    put(rig, body)
    rig.store.apply(Kind.POOLS, objects.pool(), deleted=True)
    assert await rig.loop.round()
    assert serving(rig)["a"] == "false"


async def test_answers_that_outlast_the_grace_are_told(
    rig: Rig, objects: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(rig, monkeypatch, {"a": 2.0})
    put(rig, pod(objects, "a", parked="2026-11-20T00:00:00Z"))
    rig.desired = 2
    clock.now += 45.0
    assert await rig.loop.round()
    conditions = {item["type"]: item for item in rig.api.objects[STATUS]["status"]["conditions"]}
    assert conditions["Progressing"]["reason"] == "GraceTooShort"
    assert "(30 s): raise terminationGracePeriodSeconds" in conditions["Progressing"]["message"]
