"""Rounds and pauses with a state directory: which files are written, kept and removed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.flow.fleet import PoolKey
from forebay.flow.observation import Freshness
from forebay.pipeline import FleetState
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.statefiles import StateFiles
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from forebay.telemetry.source import History, PoolTarget
from tests.unit.runtime.pasts import POOL
from tests.unit.runtime.rig import CHAT, STATUS, Rig

OTHER = PoolKey("serving", "other")

Build = Callable[[], Rig]


class Turns:
    """Histories that are read as soon as a test opens the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def history(
        self, targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float
    ) -> Mapping[PoolKey, History]:
        await self.gate.wait()
        start = at_seconds - 1800.0
        past = History(
            start_seconds=start, requests_per_minute=np.full(30, 60.0), freshness=Freshness(signal="history")
        )
        return {target.key: past for target in targets}


@pytest.fixture
def files(tmp_path: Path) -> StateFiles:
    return StateFiles(tmp_path)


@pytest.fixture
async def build(
    files: StateFiles, store: Store, memory_api: Any, clock: Any, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Build]:
    """Make a rig over one pool with a state directory, as often as a test starts the operator."""
    monkeypatch.setattr("forebay.runtime.warmup._PATIENCE_SECONDS", 3600.0)
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 1))
    memory_api.objects[STATUS] = objects.pool()
    made: list[Rig] = []

    def build_one() -> Rig:
        rig = Rig(store, memory_api, clock, monkeypatch, files=files, history_seconds=1800.0)
        made.append(rig)
        return rig

    yield build_one
    for rig in made:
        with suppress(RuntimeError):  # a test has closed it already
            await rig.loop.close()


async def pause(rig: Rig) -> None:
    """Have a pause that has no time left: one piece of each kind."""
    await asyncio.sleep(0)
    await rig.loop.use_pause(asyncio.get_running_loop().time())


def known_until_seconds(folder: Path, key: PoolKey = CHAT) -> Any:
    """Return the end of what a saved forecaster was given; ``None`` for a cold one."""
    head, _, _rest = (folder / f"{key.namespace}_{key.name}.state").read_bytes().partition(b"\n")
    return json.loads(head)["fed_until_seconds"]


def save_warm(files: StateFiles, key: PoolKey, until_seconds: float) -> None:
    """Save a state that knows of half an hour."""
    state = FleetState()
    state.warm_start(replace(POOL, key=key), requests_per_minute=[60.0] * 30, end_seconds=until_seconds)
    assert files.save(state, [key]) == 1


async def test_a_pool_that_waits_for_its_history_is_not_saved_until_it_has_it(
    build: Build, tmp_path: Path, files: StateFiles, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the history of a large fleet on a new volume: cold states were saved and took its place."""
    monkeypatch.setattr("forebay.runtime.pause._SAVE_SECONDS", 0.0)
    rig, turns = build(), Turns()
    monkeypatch.setattr(rig.telemetry, "history", turns.history)
    asked_seconds = clock.now
    await rig.loop.round()
    await pause(rig)
    clock.now += 61.0
    await rig.loop.round()
    await pause(rig)
    assert rig.loop.record_of(CHAT) is not None, "it takes part"
    assert not files.has(CHAT), "what it knows is worth nothing"
    turns.gate.set()
    await pause(rig)
    assert rig.warm_up.waiting == 0
    assert known_until_seconds(tmp_path) == pytest.approx(asked_seconds, abs=30.0), "steps take turns"


async def test_a_pool_with_a_saved_state_has_it_back_after_the_first_pause(
    build: Build, tmp_path: Path, files: StateFiles, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects what was saved of a large fleet: cold states replaced it while pools waited for their histories."""
    monkeypatch.setattr("forebay.runtime.pause._SAVE_SECONDS", 0.0)
    save_warm(files, CHAT, clock.now - 600.0)
    rig = build()
    monkeypatch.setattr(rig.telemetry, "history", Turns().history)
    await rig.loop.round()
    clock.now += 61.0
    await rig.loop.round()
    assert rig.loop.record_of(CHAT) is not None
    await pause(rig)
    assert rig.warm_up.waiting == 0
    await rig.loop.round()
    await pause(rig)
    assert known_until_seconds(tmp_path) == clock.now - 661.0


async def test_on_exit_a_pool_that_waits_does_not_replace_what_was_saved_of_it(
    build: Build, tmp_path: Path, files: StateFiles, clock: Any
) -> None:
    """Protects saved states from an operator that is stopped before it has restored them."""
    save_warm(files, CHAT, clock.now - 600.0)
    rig = build()
    await rig.loop.round()
    clock.now += 61.0
    await rig.loop.round()
    await rig.loop.close()
    assert known_until_seconds(tmp_path) == clock.now - 661.0


async def test_the_files_of_all_pools_that_exist_are_kept(
    build: Build, files: StateFiles, clock: Any, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects saved states from a new leader, and those of pools that cannot be used as they are written."""
    monkeypatch.setattr("forebay.runtime.pause._SAVE_SECONDS", 0.0)
    gone = PoolKey("serving", "gone")
    for key in (CHAT, OTHER, gone):
        save_warm(files, key, clock.now - 600.0)
    rig = build()
    bad = objects.pool("other", slo={"ttft": "soon"})
    rig.store.apply(Kind.POOLS, bad)
    rig.api.objects[STATUS.replace("/chat/", "/other/")] = bad
    assert await rig.loop.round()
    await pause(rig)
    assert [files.has(key) for key in (CHAT, OTHER, gone)] == [True, True, False]


async def test_no_file_is_removed_before_the_cluster_was_seen(
    build: Build, files: StateFiles, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects saved states from a round that fails before it knows which pools there are."""
    monkeypatch.setattr("forebay.runtime.pause._SAVE_SECONDS", 0.0)
    save_warm(files, CHAT, clock.now)
    rig = build()

    async def fail(keeper: RosterKeeper, now_seconds: float) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(RosterKeeper, "build", fail)
    assert not await rig.loop.round()
    await pause(rig)
    assert files.has(CHAT)


async def test_a_pool_that_can_be_used_again_has_its_state_back(
    build: Build, files: StateFiles, clock: Any, objects: Any
) -> None:
    save_warm(files, CHAT, clock.now - 600.0)
    rig = build()
    for generation, spec in ((2, {"slo": {"ttft": "soon"}}), (3, {})):
        await rig.loop.round()
        await pause(rig)
        body = objects.pool(**spec)
        body["metadata"]["generation"] = generation
        rig.store.apply(Kind.POOLS, body)
    await rig.loop.round()
    await pause(rig)
    assert rig.loop._decider._state.memory(POOL).fed_until_seconds == clock.now - 600.0


async def test_a_pool_whose_saved_state_is_damaged_is_given_its_history(
    build: Build, tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a pool from starting cold: what was saved is of no use, but Prometheus has its history."""
    (tmp_path / "serving_chat.state").write_bytes(b"damaged")
    rig, turns = build(), Turns()
    turns.gate.set()
    monkeypatch.setattr(rig.telemetry, "history", turns.history)
    await rig.loop.round()
    await pause(rig)
    assert rig.warm_up.waiting == 1
    await pause(rig)
    assert rig.warm_up.waiting == 0
    assert rig.loop._decider._state.memory(POOL).fed_until_seconds == pytest.approx(clock.now, abs=30.0)
