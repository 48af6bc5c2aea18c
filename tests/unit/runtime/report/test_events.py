"""Events: each once in a while, and a flood is cut off."""

from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.events import EventRecorder
from forebay.runtime.watch.records import ResourceRecord, parse_resource


@pytest.fixture
def recorder(memory_api: Any, clock: Any) -> EventRecorder:
    return EventRecorder(memory_api, Metrics(), instance="me", clock=clock, wall_clock=clock)


@pytest.fixture
def pool(objects: Any) -> ResourceRecord:
    return parse_resource(objects.pool())


async def test_an_event_says_about_whom_and_by_whom(
    recorder: EventRecorder, pool: ResourceRecord, memory_api: Any
) -> None:
    assert await recorder.post(pool, "Normal", "ScaledOut", "2 -> 3")
    ((method, path, body),) = memory_api.sent
    assert (method, path) == ("POST", "/api/v1/namespaces/serving/events")
    assert body["involvedObject"]["name"] == "chat"
    assert (body["reason"], body["reportingComponent"], body["reportingInstance"]) == (
        "ScaledOut",
        "forebay",
        "me",
    )


async def test_the_same_news_is_told_once_in_five_minutes(
    recorder: EventRecorder, pool: ResourceRecord, clock: Any
) -> None:
    assert await recorder.post(pool, "Warning", "Lost", "metrics")
    clock.now += 299.0
    assert not await recorder.post(pool, "Warning", "Lost", "metrics")
    assert await recorder.post(pool, "Warning", "Lost", "something else")
    clock.now += 2.0
    assert await recorder.post(pool, "Warning", "Lost", "metrics")


async def test_a_flood_is_cut_off_and_lets_one_through_a_second(
    recorder: EventRecorder, pool: ResourceRecord, clock: Any
) -> None:
    posted = [await recorder.post(pool, "Normal", "X", str(number)) for number in range(80)]
    assert sum(posted) == 50
    clock.now += 3.0
    assert [await recorder.post(pool, "Normal", "Y", str(number)) for number in range(5)] == [True] * 3 + [
        False
    ] * 2


async def test_events_about_cluster_scoped_objects_go_to_default(
    recorder: EventRecorder, memory_api: Any, objects: Any
) -> None:
    await recorder.post(parse_resource(objects.node_pool()), "Normal", "X", "y")
    assert memory_api.sent[0][1] == "/api/v1/namespaces/default/events"


async def test_a_refused_event_is_no_trouble(
    recorder: EventRecorder, pool: ResourceRecord, memory_api: Any
) -> None:
    memory_api.failures = [ApiError("no", status=403)]
    assert not await recorder.post(pool, "Normal", "X", "y")
    await recorder.post_kept()
    assert len(memory_api.sent) == 1


@pytest.mark.parametrize("status", [429, 503, 0])
async def test_what_the_server_was_too_busy_for_is_told_later_with_its_time(
    recorder: EventRecorder, pool: ResourceRecord, memory_api: Any, clock: Any, status: int
) -> None:
    memory_api.failures = [ApiError("busy", status=status)] * 3
    assert not await recorder.post(pool, "Warning", "WriteFailed", "first")
    clock.now += 1.0
    assert not await recorder.post(pool, "Warning", "WriteFailed", "second")
    await recorder.post_kept()
    assert len(memory_api.sent) == 3
    clock.now += 60.0
    await recorder.post_kept()
    told = [body for _, _, body in memory_api.sent[3:]]
    assert [(body["message"], body["firstTimestamp"]) for body in told] == [
        ("first", "2026-11-20T00:00:00Z"),
        ("second", "2026-11-20T00:00:01Z"),
    ]
    await recorder.post_kept()
    assert len(memory_api.sent) == 5


async def test_what_is_kept_is_bounded_and_the_newest_stay(
    recorder: EventRecorder, pool: ResourceRecord, memory_api: Any, clock: Any
) -> None:
    for number in range(60):
        memory_api.failures = [ApiError("busy", status=429)]
        clock.now += 1.0
        await recorder.post(pool, "Warning", "X", str(number))
    memory_api.sent.clear()
    await recorder.post_kept()
    assert [body["message"] for _, _, body in memory_api.sent] == [str(number) for number in range(10, 60)]
