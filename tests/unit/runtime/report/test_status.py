"""Statuses: written when something changed, not when figures breathe, and never twice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.actuation.kube import ApiError
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.figures import Figures
from forebay.runtime.report.status import StatusWriter, merge_difference
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store

PATH = "/apis/forebay.io/v1alpha1/namespaces/serving/inferencepools/chat/status"
JSON = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from("abcd"), JSON), st.dictionaries(st.sampled_from("abcd"), JSON))
def test_the_difference_turns_the_old_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    def merge(base: Any, patch: dict[str, Any]) -> dict[str, Any]:
        merged = dict(base) if isinstance(base, dict) else {}
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = merge(merged.get(key), value) if isinstance(value, dict) else value
        return merged

    patch = merge_difference(old, new)
    assert merge(old, patch) == new
    assert bool(patch) == (old != new)


@pytest.fixture
def writer(memory_api: Any, store: Store, clock: Any, objects: Any) -> StatusWriter:
    body = objects.pool()
    store.apply(Kind.POOLS, body)
    memory_api.objects[PATH] = body
    return StatusWriter(memory_api, store, Metrics(), drift_seconds=60.0, clock=clock)


def record(store: Store) -> Any:
    return store.resources[Kind.POOLS]["serving", "chat"]


def status(demand: str, ready: str = "2/2") -> dict[str, Any]:
    return {"summary": {"replicas": ready, "demand": demand}, "message": f"demand is {demand}"}


async def test_the_same_status_is_written_once(writer: StatusWriter, store: Store, memory_api: Any) -> None:
    assert await writer.write(Kind.POOLS, record(store), status("10.0/s"))
    for _ in range(5):
        assert not await writer.write(Kind.POOLS, record(store), status("10.0/s"))
    assert len(memory_api.changes_sent()) == 1


async def test_drifting_figures_wait_and_small_drift_is_never_written(
    writer: StatusWriter, store: Store, clock: Any
) -> None:
    def figures(demand: float) -> Figures:
        return Figures(numbers={"demand": demand})

    await writer.write(Kind.POOLS, record(store), status("10.0/s"), figures(10.0))
    clock.now += 30.0
    assert not await writer.write(Kind.POOLS, record(store), status("20.0/s"), figures(20.0))
    clock.now += 31.0
    assert not await writer.write(Kind.POOLS, record(store), status("10.5/s"), figures(10.5))
    assert await writer.write(Kind.POOLS, record(store), status("20.0/s"), figures(20.0))


async def test_numbers_that_nobody_remembers_are_told_when_it_is_time(
    writer: StatusWriter, store: Store, clock: Any
) -> None:
    """After a restart nothing is known of the numbers behind the status that is there."""
    await writer.write(Kind.POOLS, record(store), status("10.0/s"))
    clock.now += 61.0
    assert await writer.write(Kind.POOLS, record(store), status("10.1/s"), Figures(numbers={"demand": 10.1}))
    clock.now += 61.0
    assert not await writer.write(Kind.POOLS, record(store), status("10.2/s"), Figures(numbers={"demand": 10.2}))


async def test_a_change_of_replicas_is_written_at_once_with_all_figures(
    writer: StatusWriter, store: Store, memory_api: Any
) -> None:
    await writer.write(Kind.POOLS, record(store), status("10.0/s"))
    assert await writer.write(Kind.POOLS, record(store), status("10.2/s", ready="2/3"))
    assert memory_api.changes_sent()[-1][2] == {
        "status": {"summary": {"replicas": "2/3", "demand": "10.2/s"}, "message": "demand is 10.2/s"}
    }


async def test_where_a_capacity_comes_from_is_told_with_the_next_write_and_causes_none(
    writer: StatusWriter, store: Store, memory_api: Any, clock: Any
) -> None:
    def with_capacity(source: str, ready: int) -> dict[str, Any]:
        return {"roles": [{"role": "serve", "ready": ready, "variants": [{"name": "chat", "capacity": source}]}]}

    assert await writer.write(Kind.POOLS, record(store), with_capacity("profile", 1))
    clock.now += 3600.0
    assert not await writer.write(Kind.POOLS, record(store), with_capacity("profile-corrected", 1))
    assert await writer.write(Kind.POOLS, record(store), with_capacity("profile-corrected", 2))
    sent = memory_api.changes_sent()[-1][2]["status"]["roles"][0]["variants"][0]
    assert sent["capacity"] == "profile-corrected"


async def test_a_condition_that_turns_is_written_at_once_and_one_that_says_it_otherwise_is_not(
    writer: StatusWriter, store: Store
) -> None:
    def with_condition(state: str, message: str) -> dict[str, Any]:
        condition = {"type": "Ready", "status": state, "reason": "Same", "message": message}
        return {"conditions": [{**condition, "lastTransitionTime": "2026-11-20T00:00:00Z"}]}

    assert await writer.write(Kind.POOLS, record(store), with_condition("True", "one"))
    assert not await writer.write(Kind.POOLS, record(store), with_condition("True", "two"))
    assert await writer.write(Kind.POOLS, record(store), with_condition("False", "two"))


async def test_a_pool_that_was_deleted_meanwhile_is_no_trouble(
    writer: StatusWriter, store: Store, memory_api: Any, caplog: pytest.LogCaptureFixture
) -> None:
    memory_api.failures = [ApiError("gone", status=404)]
    assert not await writer.write(Kind.POOLS, record(store), status("10.0/s"))
    assert caplog.records == []


async def test_a_failed_write_is_tried_again_in_the_next_round(
    writer: StatusWriter, store: Store, memory_api: Any
) -> None:
    memory_api.failures = [ApiError("down", status=0)]
    assert not await writer.write(Kind.POOLS, record(store), status("10.0/s"))
    assert await writer.write(Kind.POOLS, record(store), status("10.0/s"))
