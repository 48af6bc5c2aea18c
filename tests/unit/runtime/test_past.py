"""A pool's past: saved states, and history that is read in the pauses."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.flow.fleet import Pool, PoolKey, Slo
from forebay.flow.observation import Freshness
from forebay.pipeline import FleetState, StateError
from forebay.runtime.memory import StateFiles
from forebay.runtime.warmup import WarmUp
from forebay.telemetry.source import History, PoolTarget

CHAT = PoolKey("serving", "chat")
POOL = Pool(key=CHAT, slo=Slo(ttft_seconds=1.0, itl_seconds=0.05), variants=())
TARGET = PoolTarget(key=CHAT, slo=POOL.slo, engine="vllm", workloads=())


class State(FleetState):
    """Snapshots that a test can see through."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[PoolKey, bytes] = {}
        self.warmed: list[tuple[int, float]] = []

    def snapshot(self, key: PoolKey) -> bytes | None:
        return self.kept.get(key)

    def restore(self, key: PoolKey, data: bytes) -> None:
        if data == b"damaged":
            raise StateError("damaged")
        self.kept[key] = data

    def warm_start(
        self, pool: Pool, *, requests_per_minute: Any, end_seconds: float, lead_times_seconds: Any = ()
    ) -> None:
        self.warmed.append((len(list(requests_per_minute)), end_seconds))


def test_states_are_saved_restored_and_forgotten_with_their_pools(tmp_path: Path) -> None:
    files, state = StateFiles(tmp_path / "states"), State()
    state.kept[CHAT] = b"memory"
    assert files.save(state, [CHAT, PoolKey("serving", "new")]) == 1
    fresh = State()
    assert files.restore(fresh, CHAT)
    assert fresh.kept == {CHAT: b"memory"}
    files.forget_others([])
    assert not files.restore(State(), CHAT)


def test_a_damaged_state_is_removed_and_the_pool_starts_afresh(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    path = tmp_path / "serving_chat.state"
    path.write_bytes(b"damaged")
    assert not files.restore(State(), CHAT)
    assert not path.exists()


class Past:
    """History that comes, fails or never comes."""

    def __init__(self, minutes: int | None, error: Exception | None = None) -> None:
        self.minutes = minutes
        self.error = error
        self.asked: list[int] = []

    async def history(
        self, targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float
    ) -> Mapping[PoolKey, History]:
        self.asked.append(len(targets))
        if self.error is not None:
            raise self.error
        if self.minutes is None:
            await asyncio.Event().wait()
        rates = np.full(self.minutes or 0, 3.0)
        past = History(start_seconds=0.0, requests_per_minute=rates, freshness=Freshness(signal="arrivals"))
        return {target.key: past for target in targets}


def start(warm_up: WarmUp, pools: Sequence[Pool]) -> None:
    for pool in pools:
        warm_up.start(pool, partial(replace, TARGET, key=pool.key))


async def drained(warm_up: WarmUp) -> Any:
    for _ in range(20):
        await asyncio.sleep(0)
        arrived = warm_up.take_arrived()
        if arrived:
            return arrived
    return []


async def test_a_pool_joins_when_its_history_came(clock: Any) -> None:
    warm_up, state = WarmUp(Past(30), None, history_seconds=1800.0, wall_clock=clock), State()  # type: ignore[arg-type]
    warm_up.start(POOL, lambda: TARGET)
    warm_up.start(POOL, lambda: TARGET)
    assert not warm_up.is_known(CHAT)
    arrived = await drained(warm_up)
    assert warm_up.is_known(CHAT)
    warm_up.apply(state, arrived, {})
    assert state.warmed == [(30, 1800.0)]
    warm_up.keep_only([])
    assert not warm_up.is_known(CHAT)


async def test_a_pool_whose_history_does_not_come_joins_without(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay.runtime.warmup._PATIENCE_SECONDS", 0.0)
    warm_up, state = WarmUp(Past(None), None, history_seconds=1800.0, wall_clock=clock), State()  # type: ignore[arg-type]
    warm_up.start(POOL, lambda: TARGET)
    arrived = await drained(warm_up)
    warm_up.apply(state, arrived, {})
    assert warm_up.is_known(CHAT)
    assert state.warmed == []


async def test_a_saved_state_goes_before_history(clock: Any, tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    (tmp_path / "serving_chat.state").write_bytes(b"memory")
    warm_up, state = WarmUp(Past(30), files, history_seconds=1800.0, wall_clock=clock), State()  # type: ignore[arg-type]
    warm_up.start(POOL, lambda: TARGET)
    warm_up.apply(state, await drained(warm_up), {})
    assert state.kept == {CHAT: b"memory"}
    assert state.warmed == []


async def test_histories_are_read_ahead_for_a_few_pools_only_and_applied_one_by_one(clock: Any) -> None:
    """A history that waits for hours would leave a gap before the first live minute."""
    past = Past(30)
    warm_up = WarmUp(past, None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]
    pools = [replace(POOL, key=PoolKey("serving", f"chat-{number}")) for number in range(50)]
    start(warm_up, pools)
    joined = []
    for _ in pools:
        for _ in range(20):
            await asyncio.sleep(0)
        assert warm_up.waiting == sum(1 for pool in pools if not warm_up.is_known(pool.key))
        one = warm_up.take_one()
        assert one is not None
        joined.append(one.pool.key)
    assert joined == [pool.key for pool in pools]
    assert warm_up.take_one() is None
    assert warm_up.waiting == 0
    assert past.asked == [20, 20, 10], "the same queries for many"


async def test_pools_whose_history_cannot_be_read_join_without(clock: Any) -> None:
    past = Past(30, RuntimeError("a bug"))
    warm_up = WarmUp(past, None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]
    start(warm_up, [POOL])
    (arrived,) = await drained(warm_up)
    assert arrived.history is None
    past.error = None
    other = replace(POOL, key=PoolKey("serving", "other"))
    start(warm_up, [other])
    (arrived,) = await drained(warm_up)
    assert arrived.history is not None


async def test_a_pool_that_is_gone_does_not_arrive(clock: Any) -> None:
    warm_up = WarmUp(Past(30), None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]
    other = replace(POOL, key=PoolKey("serving", "other"))
    start(warm_up, [POOL, other])
    warm_up.keep_only([other.key])
    assert [item.pool.key for item in await drained(warm_up)] == [other.key]
    assert warm_up.waiting == 0


async def test_who_waits_for_long_takes_part_meanwhile_and_is_given_the_past_later(clock: Any) -> None:
    warm_up = WarmUp(Past(30), None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]
    warm_up.start(POOL, lambda: TARGET)
    assert warm_up.join_late() == []
    clock.now += 61.0
    assert warm_up.join_late() == [CHAT]
    assert warm_up.join_late() == [], "once"
    assert warm_up.is_known(CHAT)
    assert warm_up.waiting == 1
    for _ in range(20):
        await asyncio.sleep(0)
    warm_up.start(POOL, lambda: TARGET)
    one = warm_up.take_one()
    assert one is not None
    assert one.pool.key == CHAT
    assert warm_up.waiting == 0


async def test_without_a_past_nobody_waits_for_a_turn(clock: Any) -> None:
    warm_up = WarmUp(Past(0), None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]
    pools = [replace(POOL, key=PoolKey("serving", f"chat-{number}")) for number in range(3)]
    start(warm_up, pools)
    for _ in range(20):
        await asyncio.sleep(0)
    assert [item.pool.key for item in warm_up.take_without_past()] == [pool.key for pool in pools]


async def test_a_fleet_that_reads_no_history_joins_at_once(clock: Any) -> None:
    past = Past(30)
    warm_up = WarmUp(past, None, history_seconds=0.0, wall_clock=clock)  # type: ignore[arg-type]
    start(warm_up, [replace(POOL, key=PoolKey("serving", f"chat-{number}")) for number in range(50)])
    assert len(warm_up.take_without_past()) == 50
    assert past.asked == []
