"""The pause between rounds: pieces of work in turn, one of each kind at least, no more than the pause holds."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.flow.fleet import PoolKey
from forebay.pipeline import FleetState
from forebay.runtime.pause import PauseWork

EVERYBODY = [PoolKey("serving", f"pool-{number}") for number in range(5)]


class Jobs(FleetState):
    """A state with so many jobs left."""

    left = 0
    done = 0

    def work(self, most: int = 1) -> int:
        done = min(most, self.left)
        self.left, self.done = self.left - done, self.done + done
        return done


class Files:
    """Remembers what it was asked to save."""

    def __init__(self) -> None:
        self.saved: list[list[PoolKey]] = []
        self.kept: list[PoolKey] = []

    def save(self, state: FleetState, keys: Sequence[PoolKey]) -> int:
        self.saved.append(list(keys))
        return len(keys)

    def forget_others(self, keys: Sequence[PoolKey]) -> None:
        self.kept = list(keys)


class NobodyNew:
    """A warm-up without new pools."""

    def take_one(self) -> None:
        return None


@pytest.fixture
def decider() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Figures:
    """So many statuses that could wait."""

    def __init__(self, pieces: int = 0) -> None:
        self.left = pieces

    async def tell_some(self) -> bool:
        self.left = max(0, self.left - 1)
        return self.left > 0


class Names(Figures):
    """So many groups of pools whose metrics are to be looked up."""

    look_up = Figures.tell_some


def pause(
    state: FleetState,
    decider: ThreadPoolExecutor,
    files: Files | None,
    figures: Figures | None = None,
    names: Names | None = None,
) -> PauseWork:
    return PauseWork(
        state,
        decider,
        NobodyNew(),  # type: ignore[arg-type]
        files,  # type: ignore[arg-type]
        tell_some=(figures or Figures()).tell_some,
        look_up=(names or Names()).look_up,
        lead_times_seconds=dict,
        memories=lambda: EVERYBODY,
    )


async def test_a_pause_that_is_over_still_does_one_job(decider: ThreadPoolExecutor) -> None:
    state = Jobs()
    state.left = 3
    await pause(state, decider, None).until(asyncio.get_running_loop().time())
    assert state.done == 1


async def test_a_long_pause_does_them_all_and_ends_early(decider: ThreadPoolExecutor) -> None:
    state = Jobs()
    state.left = 3
    async with asyncio.timeout(10.0):
        await pause(state, decider, None).until(asyncio.get_running_loop().time() + 3600.0)
    assert state.done == 3


async def test_memories_are_saved_a_few_at_a_time_when_it_is_time(
    decider: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay.runtime.pause._SAVED_AT_ONCE", 2)
    files = Files()
    work = pause(Jobs(), decider, files)
    over = asyncio.get_running_loop().time()
    await work.until(over)
    assert files.saved == [], "it is not time yet"
    monkeypatch.setattr("forebay.runtime.pause._SAVE_SECONDS", 0.0)
    await work.until(over)
    assert files.kept == EVERYBODY
    assert files.saved == [EVERYBODY[:2]]
    monkeypatch.setattr("forebay.runtime.pause._SAVE_SECONDS", 300.0)
    await work.until(over + 3600.0)
    assert files.saved == [EVERYBODY[:2], EVERYBODY[2:4], EVERYBODY[4:]]
    await work.save_all()
    assert files.saved[-1] == EVERYBODY


async def test_figures_that_could_wait_are_told_in_the_pause(decider: ThreadPoolExecutor) -> None:
    now, figures = asyncio.get_running_loop().time(), Figures(9)
    await pause(Jobs(), decider, None, figures).until(now)
    assert figures.left == 8
    await pause(Jobs(), decider, None, figures).until(now + 60.0)
    assert figures.left == 0


async def test_metrics_are_looked_up_in_the_pause_one_group_at_least(decider: ThreadPoolExecutor) -> None:
    now, names = asyncio.get_running_loop().time(), Names(3)
    await pause(Jobs(), decider, None, names=names).until(now)
    assert names.left == 2
    await pause(Jobs(), decider, None, names=names).until(now + 60.0)
    assert names.left == 0
