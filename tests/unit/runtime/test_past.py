"""A pool's past: saved states, and history that is read in the pauses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from forebay.flow.fleet import Pool, PoolKey
from forebay.runtime.past import give_pasts
from forebay.runtime.statefiles import StateFiles
from forebay.runtime.warmup import WarmUp
from tests.unit.runtime.pasts import CHAT, POOL, TARGET, Past, State, drained, settled, some_pools, start


def new(past: Past, clock: Any, files: StateFiles | None = None, history_seconds: float = 1800.0) -> WarmUp:
    return WarmUp(past, files, history_seconds=history_seconds, wall_clock=clock)  # type: ignore[arg-type]


async def test_a_pool_joins_when_its_history_came(clock: Any) -> None:
    warm_up, state = new(Past(30), clock), State()
    warm_up.start(POOL, lambda: TARGET)
    warm_up.start(POOL, lambda: TARGET)
    assert not warm_up.is_known(CHAT)
    assert warm_up.is_waiting(CHAT)
    arrived = await drained(warm_up)
    assert warm_up.is_known(CHAT)
    assert not warm_up.is_waiting(CHAT)
    assert give_pasts(state, arrived, {}, None) == []
    assert state.warmed == [(30, 1800.0)]
    warm_up.keep_only([])
    assert not warm_up.is_known(CHAT)


async def test_histories_are_read_ahead_for_a_few_pools_only_and_applied_one_by_one(clock: Any) -> None:
    """A history that waits for hours would leave a gap before the first live minute."""
    past = Past(30)
    warm_up, pools = new(past, clock), some_pools(50)
    start(warm_up, pools)
    joined = []
    for _ in pools:
        await settled()
        assert warm_up.waiting == sum(1 for pool in pools if not warm_up.is_known(pool.key))
        one = warm_up.take_one()
        assert one is not None
        joined.append(one.pool.key)
    assert joined == [pool.key for pool in pools]
    assert warm_up.take_one() is None
    assert warm_up.waiting == 0
    assert past.asked == [20, 20, 10], "the same queries for many"


async def test_a_pool_that_is_gone_does_not_arrive(clock: Any) -> None:
    warm_up = new(Past(30), clock)
    other = replace(POOL, key=PoolKey("serving", "other"))
    start(warm_up, [POOL, other])
    warm_up.keep_only([other.key])
    assert [item.pool.key for item in await drained(warm_up)] == [other.key]
    assert warm_up.waiting == 0


async def test_who_waits_for_long_takes_part_meanwhile_and_is_given_the_past_later(clock: Any) -> None:
    warm_up = new(Past(30), clock)
    warm_up.start(POOL, lambda: TARGET)
    assert warm_up.join_late() == []
    clock.now += 61.0
    assert warm_up.join_late() == [CHAT]
    assert warm_up.join_late() == [], "once"
    assert warm_up.is_known(CHAT)
    assert warm_up.waiting == 1
    await settled()
    warm_up.start(POOL, lambda: TARGET)
    one = warm_up.take_one()
    assert one is not None
    assert one.pool.key == CHAT
    assert warm_up.waiting == 0


async def test_a_pool_that_changed_while_it_waited_is_given_its_past_as_it_is_now(clock: Any) -> None:
    warm_up = new(Past(30), clock)
    start(warm_up, [POOL])
    changed = replace(POOL, slo=replace(POOL.slo, ttft_seconds=2.0))
    start(warm_up, [changed])
    assert [item.pool for item in await drained(warm_up)] == [changed]


async def test_without_a_past_nobody_waits_for_a_turn(clock: Any, tmp_path: Path) -> None:
    for files in (None, StateFiles(tmp_path)):
        warm_up, pools = new(Past(0), clock, files), some_pools(3)
        start(warm_up, pools)
        await settled()
        assert [item.pool.key for item in warm_up.take_without_past()] == [pool.key for pool in pools]


async def test_a_fleet_that_reads_no_history_joins_at_once(clock: Any) -> None:
    past = Past(30)
    warm_up = new(past, clock, history_seconds=0.0)
    start(warm_up, some_pools(50))
    assert len(warm_up.take_without_past()) == 50
    assert past.asked == []


# --- saved states ----------------------------------------------------------------------------------------------


async def test_a_saved_state_goes_before_history_and_waits_for_none(clock: Any, tmp_path: Path) -> None:
    """Protects the start of a large fleet: pools waited an hour for histories that nobody used then."""
    past, files = Past(30), StateFiles(tmp_path)
    pools = some_pools(30)
    for pool in pools:
        (tmp_path / f"serving_{pool.key.name}.state").write_bytes(b"memory")
    warm_up, state = new(past, clock, files), State()
    start(warm_up, pools)
    assert warm_up.take_without_past() == [], "a restore is for the pause"
    for pool in pools:
        one = warm_up.take_one()
        assert one is not None
        assert one.pool.key == pool.key
        assert give_pasts(state, [one], {}, files) == []
    assert state.kept == {pool.key: b"memory" for pool in pools}
    assert state.warmed == []
    assert past.asked == []


async def test_saved_states_do_not_keep_histories_from_being_read(clock: Any, tmp_path: Path) -> None:
    pools = some_pools(10)
    for pool in pools:
        (tmp_path / f"serving_{pool.key.name}.state").write_bytes(b"memory")
    past = Past(30)
    warm_up = new(past, clock, StateFiles(tmp_path))
    start(warm_up, [*pools, POOL])
    await settled()
    assert past.asked == [1]
    arrived = await drained(warm_up)
    assert [item.pool.key for item in arrived] == [*(pool.key for pool in pools), CHAT]


async def test_a_history_that_was_read_is_not_replaced_by_a_state_saved_meanwhile(
    clock: Any, tmp_path: Path
) -> None:
    """Protects a new pool's history: its own cold state, saved while it waited, used to be restored instead."""
    files, state = StateFiles(tmp_path), State()
    warm_up = new(Past(30), clock, files)
    start(warm_up, [POOL])
    await settled()
    (tmp_path / "serving_chat.state").write_bytes(b"cold")
    give_pasts(state, await drained(warm_up), {}, files)
    assert state.kept == {}
    assert state.warmed == [(30, 1800.0)]


async def test_a_saved_state_of_no_use_is_replaced_by_history(clock: Any, tmp_path: Path) -> None:
    """A pool that takes part already does so without a gap, as one that waits; another one waits on."""
    for waited_seconds, takes_part in ((0.0, False), (61.0, True)):
        (tmp_path / "serving_chat.state").write_bytes(b"damaged")
        files, state = StateFiles(tmp_path), State()
        warm_up = new(Past(30), clock, files)
        start(warm_up, [POOL])
        clock.now += waited_seconds
        warm_up.join_late()
        (useless,) = give_pasts(state, await drained(warm_up), {}, files)
        warm_up.ask_instead(useless)
        assert warm_up.is_waiting(CHAT)
        start(warm_up, [POOL])
        assert warm_up.join_late() == ([CHAT] if takes_part else [])
        assert warm_up.is_known(CHAT) is takes_part
        assert give_pasts(state, await drained(warm_up), {}, files) == []
        assert state.warmed == [(30, 1800.0)]
        assert not warm_up.is_waiting(CHAT)


async def test_a_past_that_cannot_be_used_holds_nobody_up(
    clock: Any, tmp_path: Path, caplog: Any, monkeypatch: Any
) -> None:
    """Protects the fleet from a bug that one pool's past runs into: the pool begins anew, or asks for history."""

    def fail(*_given: Any, **_named: Any) -> None:
        raise ZeroDivisionError("a bug")

    (tmp_path / "serving_chat.state").write_bytes(b"memory")
    other = Pool(key=PoolKey("serving", "other"), slo=POOL.slo, variants=())
    files, state = StateFiles(tmp_path), State()
    warm_up = new(Past(30), clock, files)
    state.await_past(other)
    monkeypatch.setattr(state, "restore", fail)
    monkeypatch.setattr(state, "warm_start", fail)
    start(warm_up, [POOL, other])
    useless = give_pasts(state, await drained(warm_up), {}, files)
    assert [item.pool.key for item in useless] == [CHAT]
    assert state.keys() == (), "nothing is held for ever"
    assert caplog.text.count("could not be used") == 2
