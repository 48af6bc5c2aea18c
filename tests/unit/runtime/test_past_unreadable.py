"""Histories that cannot be read: asked for again, less and less often, by fewer pools together, for an hour."""

from typing import Any

import pytest

from forebay.runtime.past import give_pasts
from forebay.runtime.warmup import WarmUp
from tests.unit.runtime.pasts import CHAT, POOL, Past, State, drained, settled, some_pools, start


def new(past: Past, clock: Any) -> WarmUp:
    return WarmUp(past, None, history_seconds=1800.0, wall_clock=clock)  # type: ignore[arg-type]


def away() -> Past:
    past = Past(30)
    past.is_away = True
    return past


def broken() -> Past:
    return Past(30, RuntimeError("a bug"))


def silent() -> Past:
    return Past(None)


def come_back(past: Past) -> None:
    past.is_away, past.error, past.minutes = False, None, 30


async def rounds(warm_up: WarmUp, clock: Any, seconds: float) -> None:
    """Run so many seconds of rounds."""
    for _ in range(int(seconds // 15.0)):
        clock.now += 15.0
        start(warm_up, [POOL])
        await settled()


@pytest.mark.parametrize("fault", [away, broken, silent])
async def test_a_history_that_could_not_be_read_is_read_when_the_server_is_back(
    clock: Any, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    """Protects the daily pattern of a fleet that starts before its Prometheus: nobody asked again."""
    past = fault()
    monkeypatch.setattr("forebay.runtime.warmup._PATIENCE_SECONDS", 0.0)
    warm_up, state = new(past, clock), State()
    start(warm_up, [POOL])
    await settled()
    assert warm_up.take_without_past() == []
    assert not warm_up.is_known(CHAT)
    await rounds(warm_up, clock, 60.0)
    assert warm_up.join_late() == [CHAT], "it takes part, and waits on"
    assert warm_up.is_waiting(CHAT)
    monkeypatch.setattr("forebay.runtime.warmup._PATIENCE_SECONDS", 30.0)
    come_back(past)
    await rounds(warm_up, clock, 60.0)
    arrived = await drained(warm_up)
    assert give_pasts(state, arrived, {}, None) == []
    assert state.warmed == [(30, 1800.0)]
    assert not warm_up.is_waiting(CHAT)


async def test_attempts_become_rarer_and_end_after_an_hour(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Protects a pool from being held for ever by a server that never answers about its history."""
    past = away()
    warm_up, state = new(past, clock), State()
    started, asked = clock.now, []
    start(warm_up, [POOL])
    await settled()
    state.await_past(POOL)
    for _ in range(2 * 240):
        before = len(past.asked)
        await rounds(warm_up, clock, 15.0)
        if len(past.asked) > before:
            asked.append(clock.now - started)
    without = warm_up.take_without_past()
    assert asked == [30.0, 90.0, 210.0, 450.0, 930.0, 1530.0, 2130.0, 2730.0, 3330.0]
    assert [item.pool.key for item in without] == [CHAT]
    give_pasts(state, without, {}, None)
    assert not state.memory(POOL).awaits_past
    assert not warm_up.is_waiting(CHAT)
    assert caplog.text.count("could not be read: it is away") == 1, "told once, and not at each attempt"
    assert caplog.text.count("could not be read for an hour") == 1


async def test_what_came_before_the_server_fell_silent_is_used(clock: Any) -> None:
    past = Past(30)
    past.falls_silent = True
    warm_up, state = new(past, clock), State()
    start(warm_up, [POOL])
    give_pasts(state, await drained(warm_up), {}, None)
    assert state.warmed == [(30, 1800.0)]


async def test_one_pool_that_the_server_will_not_answer_about_does_not_cost_the_others_their_history(
    clock: Any,
) -> None:
    """Protects pools whose histories are asked for together: fewer are, until the one is on its own."""
    past, pools = Past(30), some_pools(40)
    past.bad = {pools[25].key}
    warm_up, given = new(past, clock), set()
    start(warm_up, pools)
    while some := await drained(warm_up):
        given |= {item.pool.key for item in some}
    assert given == {pool.key for pool in pools} - past.bad
    assert past.asked == [20, 20, 10, 5, 10, 5, 2, 1, 1, 2, 4, 7], "halves, and more of the others again"
    clock.now += 30.0
    start(warm_up, pools)
    await settled()
    assert past.asked[12:] == [1]


async def test_a_server_that_is_back_is_asked_about_many_pools_together_again(clock: Any) -> None:
    past, pools = away(), some_pools(60)
    warm_up = new(past, clock)
    start(warm_up, pools)
    await settled()
    assert past.asked[:5] == [20, 10, 5, 2, 1]
    come_back(past)
    clock.now += 30.0
    past.asked.clear()
    start(warm_up, pools)
    arrived = []
    while some := await drained(warm_up):
        arrived += some
    assert len(arrived) == 60
    assert past.asked == [1, 2, 4, 8, 16, 20, 9]
