"""The control loop: it observes, decides, acts and reports, and nothing that one round meets ends it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from forebay.actuation.kube import ApiError
from forebay.actuation.providers.unasked import PodDrivenProvider
from forebay.flow.fleet import PoolKey
from forebay.flow.observation import Freshness, Problem
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from forebay.telemetry.source import History, PoolTarget
from tests.unit.runtime.rig import CHAT, SCALE, STATUS, Rig


@pytest.fixture
async def rig(store: Store, memory_api: Any, clock: Any, objects: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 1))
    memory_api.objects[STATUS] = objects.pool()
    memory_api.objects[SCALE] = {"metadata": {}, "spec": {"replicas": 1}}
    made = Rig(store, memory_api, clock, monkeypatch)
    await made.warm()
    yield made
    await made.loop.close()


async def test_a_decision_is_written_reported_and_remembered(rig: Rig) -> None:
    rig.desired = 3
    assert await rig.loop.round()
    assert rig.scaled() == [3]
    status = rig.api.objects[STATUS]["status"]
    assert status["lastDecision"]["changes"] == ["serve/chat 1 -> 3"]
    events = [body["reason"] for _, path, body in rig.api.sent if path.endswith("/events")]
    assert "ScaledOut" in events
    record = rig.loop.record_of(CHAT)
    assert record is not None
    assert record["actions"][0]["to"] == 3
    assert rig.loop.record_of(PoolKey("serving", "other")) is None


async def test_an_idle_round_writes_nothing(rig: Rig) -> None:
    await rig.loop.round()
    before = len(rig.api.changes_sent())
    for _ in range(5):
        assert await rig.loop.round()
    assert len(rig.api.changes_sent()) == before


async def test_recommend_never_touches_the_target(rig: Rig, objects: Any) -> None:
    body = objects.pool(mode="Recommend")
    body["metadata"] |= {"generation": 2, "resourceVersion": "900"}
    rig.store.apply(Kind.POOLS, body)
    rig.desired = 5
    await rig.loop.round()
    assert rig.scaled() == []
    assert rig.api.objects[STATUS]["status"]["summary"]["recommended"] == "5"


async def test_a_contested_target_is_left_alone(rig: Rig) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    hpa = {"metadata": {"name": "hpa", "namespace": "serving", "uid": "h"}, "spec": {"scaleTargetRef": reference}}
    rig.store.apply(Kind.AUTOSCALERS, hpa)
    rig.desired = 5
    await rig.loop.round()
    assert rig.scaled() == []


async def test_after_409_the_next_round_decides_on_what_is_there(rig: Rig, objects: Any) -> None:
    rig.desired = 3
    rig.api.failures = [ApiError("changed", status=409)]
    assert await rig.loop.round()
    assert rig.world.writes.last == {}
    rig.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 2, resourceVersion="9"))
    await rig.loop.round()
    assert rig.api.sent[-1][0] == "PATCH"
    sent = [body for _, path, body in rig.api.sent if path == SCALE]
    assert sent[-1] == [
        {"op": "test", "path": "/spec", "value": {"replicas": 2}},
        {"op": "add", "path": "/spec/replicas", "value": 3},
    ]


async def test_a_failed_decision_is_counted_and_the_next_round_comes(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.desired = ZeroDivisionError("boom")
    assert not await rig.loop.round()
    assert "a round failed" in caplog.text
    rig.desired = 2
    assert await rig.loop.round()
    assert rig.scaled() == [2]


async def test_a_provider_that_fails_keeps_no_round_from_reporting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, objects: Any
) -> None:
    rig.store.apply(Kind.NODE_POOLS, objects.node_pool("h100"))

    async def fail(*_: Any) -> str:
        raise ApiError("the cloud says no", status=500)

    monkeypatch.setattr(PodDrivenProvider, "ensure", fail)
    rig.desired = 3
    assert not await rig.loop.round(), "the failure is counted"
    assert rig.scaled() == [3]
    assert rig.api.objects[STATUS]["status"]["lastDecision"]["changes"] == ["serve/chat 1 -> 3"]
    assert "node pool h100: its provider could not be asked: the cloud says no" in caplog.text


async def test_a_writer_that_fails_keeps_no_round_from_reporting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(rig.loop._steps.writer, "scale", fail)
    rig.desired = 3
    assert not await rig.loop.round(), "the failure is counted"
    conditions = {each["type"]: each for each in rig.api.objects[STATUS]["status"]["conditions"]}
    assert conditions["ScalingLimited"]["reason"] == "WriteFailed"
    assert "ZeroDivisionError: a bug" in conditions["ScalingLimited"]["message"]


async def test_telemetry_that_hangs_is_unreachable_and_not_zero(rig: Rig) -> None:
    rig.telemetry.hangs = True
    assert await rig.loop.round()
    observed = rig.observed[-1].pools[CHAT]
    assert observed.traffic is None
    assert observed.freshness[0].problem is Problem.UNREACHABLE


async def test_a_lost_lease_ends_the_loop(rig: Rig) -> None:
    rig.desired = LeaseLostError("gone")
    with pytest.raises(LeaseLostError):
        await rig.loop.round()


async def test_a_pool_deleted_between_look_and_report_is_benign(rig: Rig) -> None:
    rig.desired = 1
    del rig.api.objects[STATUS]
    assert await rig.loop.round()


async def test_a_deleted_pool_leaves_no_trace(rig: Rig, objects: Any) -> None:
    await rig.loop.round()
    assert 'pool="chat"' in rig.metrics.exposition().decode()
    rig.store.apply(Kind.POOLS, objects.pool(), deleted=True)
    await rig.loop.round()
    assert rig.loop.record_of(CHAT) is None
    assert 'pool="chat"' not in rig.metrics.exposition().decode()


async def test_a_garbage_pool_gets_a_sentence_and_the_healthy_one_its_replicas(rig: Rig, objects: Any) -> None:
    bad = objects.pool("bad", slo={"ttft": "soon"})
    rig.store.apply(Kind.POOLS, bad)
    path = STATUS.replace("/chat/", "/bad/")
    rig.api.objects[path] = bad
    rig.desired = 2
    await rig.loop.round()
    (condition,) = rig.api.objects[path]["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Ready", "InvalidSpec")
    assert "spec.slo" in condition["message"]
    assert rig.scaled() == [2]


async def test_a_stop_waits_for_the_round_in_progress_and_lets_no_other_begin(rig: Rig) -> None:
    rig.telemetry.hangs = True
    rig.loop._telemetry_patience_seconds = 60.0
    running = asyncio.create_task(rig.loop.run(lambda: None))
    while not rig.loop._one_at_a_time.locked():  # noqa: ASYNC110 - nothing tells when a round begins
        await asyncio.sleep(0)
    await rig.loop.finish(0.01)
    assert rig.loop._one_at_a_time.locked(), "the round goes on, and is cancelled by the caller"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await rig.loop.finish(1.0)
    assert rig.loop._one_at_a_time.locked()


async def test_a_reference_that_leads_nowhere_is_told_and_does_not_stop_scaling(rig: Rig, objects: Any) -> None:
    pool = objects.pool(inferencePoolRef={"name": "gateway"})
    pool["metadata"] |= {"generation": 2, "resourceVersion": "900"}
    rig.store.apply(Kind.POOLS, pool)
    rig.desired = 3
    assert await rig.loop.round()
    assert rig.scaled() == [3]
    conditions = rig.api.objects[STATUS]["status"]["conditions"]
    (told,) = [item for item in conditions if item["type"] == "ReferencesFound"]
    assert (told["status"], told["reason"]) == ("False", "ReferenceMissing")
    assert "gateway in namespace serving" in told["message"]


async def test_a_pool_that_waits_for_its_past_takes_part_after_a_minute_and_is_given_it_in_a_pause(
    rig: Rig, objects: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def history(
        targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float
    ) -> Mapping[PoolKey, History]:
        counts = np.full(30, 60.0)
        past = History(
            start_seconds=at_seconds - 1800.0, requests_per_minute=counts, freshness=Freshness(signal="history")
        )
        return {target.key: past for target in targets}

    monkeypatch.setattr(rig.telemetry, "history", history)
    monkeypatch.setattr(rig.warm_up, "_history_seconds", 1800.0)
    monkeypatch.setattr(rig.loop, "_interval_seconds", 0.01)
    late = "/apis/forebay.io/v1alpha1/namespaces/serving/inferencepools/late/status"
    rig.store.apply(Kind.POOLS, objects.pool("late"))
    rig.api.objects[late] = objects.pool("late")
    await rig.loop.round()
    assert "status" not in rig.api.objects[late]
    assert rig.loop.record_of(PoolKey("serving", "late")) is None
    clock.now += 61.0
    await rig.loop.round()
    assert "conditions" in rig.api.objects[late]["status"]
    assert rig.loop.record_of(PoolKey("serving", "late")) is not None
    assert rig.metrics.registry.get_sample_value("forebay_pools_warming") == 1.0
    warmed = asyncio.Event()

    def came_round() -> None:
        if rig.metrics.registry.get_sample_value("forebay_pools_warming") == 0.0:
            warmed.set()

    running = asyncio.create_task(rig.loop.run(came_round))
    async with asyncio.timeout(10.0):
        await warmed.wait()
    running.cancel()


async def test_a_pool_is_held_until_a_prometheus_that_was_away_has_told_its_history(
    rig: Rig, objects: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the daily pattern: a pool whose history could not be read at the start went without it for good."""
    late, answers = PoolKey("serving", "late"), False

    async def history(
        targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float
    ) -> Mapping[PoolKey, History]:
        counts = np.full(30, 60.0 if answers else np.nan)
        freshness = Freshness(signal="history", problem=None if answers else Problem.UNREACHABLE)
        start = at_seconds - 1800.0
        return {
            target.key: History(start_seconds=start, requests_per_minute=counts, freshness=freshness)
            for target in targets
        }

    monkeypatch.setattr(rig.telemetry, "history", history)
    monkeypatch.setattr(rig.warm_up, "_history_seconds", 1800.0)
    rig.store.apply(Kind.POOLS, objects.pool("late"))
    rig.api.objects[STATUS.replace("/chat/", "/late/")] = objects.pool("late")

    async def a_minute() -> None:
        for _ in range(4):
            await rig.loop.round()
            await asyncio.sleep(0)
            await rig.loop.use_pause(asyncio.get_running_loop().time())
            clock.now += 15.0

    def is_held() -> bool:
        return rig.loop._decider._state._pools[late].awaits_past

    await a_minute()
    assert rig.loop.record_of(late) is None
    await a_minute()
    assert rig.loop.record_of(late) is not None
    assert is_held()
    answers = True
    await a_minute()
    await a_minute()
    assert not is_held()
    assert rig.loop._decider._state._pools[late].fed_until_seconds is not None
    assert rig.warm_up.waiting == 0


async def test_a_standby_follows_without_a_write_and_decides_the_same_in_its_first_round(
    store: Store, memory_api: Any, clock: Any, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a large fleet at a failover: the successor began with nothing, and was warm after an hour."""
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 1))
    memory_api.objects[STATUS] = objects.pool()
    memory_api.objects[SCALE] = {"metadata": {}, "spec": {"replicas": 1}}
    standby = Rig(store, memory_api, clock, monkeypatch)
    standby.desired = 3
    for _ in range(3):
        await standby.loop.follow()
        await standby.loop.use_pause(asyncio.get_running_loop().time())
        clock.now += 15.0
    assert memory_api.changes_sent() == []
    assert [sorted(seen.pools) for seen in standby.observed] == 3 * [[CHAT]]
    assert standby.loop.record_of(CHAT) is None, "the leader has the records"
    await standby.loop.round()
    assert standby.scaled() == [3], "without a round in which the pool is only prepared"
    await standby.loop.close()
