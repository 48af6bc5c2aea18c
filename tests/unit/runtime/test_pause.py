"""The pause between rounds: pieces of work in turn, one of each kind at least, no more than the pause holds."""

import asyncio
from collections.abc import Sequence

import pytest

from forebay.flow.fleet import PoolKey
from forebay.pipeline import FleetState
from forebay.runtime.decider import Decider
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.metrics import Metrics
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
        self.kept: list[PoolKey] | None = None

    def save(self, state: FleetState, keys: Sequence[PoolKey]) -> int:
        self.saved.append(list(keys))
        return len(keys)

    def forget_others(self, keys: Sequence[PoolKey]) -> None:
        self.kept = list(keys)


class NobodyNew:
    """A warm-up without new pools, or of pools that wait on."""

    def __init__(self, waiting: Sequence[PoolKey] = ()) -> None:
        self.still = set(waiting)

    def take_one(self) -> None:
        return None

    def is_waiting(self, key: PoolKey) -> bool:
        return key in self.still


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


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


class Pause:
    """The pause's work, with all that it does under a test's control."""

    def __init__(
        self,
        state: FleetState,
        files: Files | None,
        figures: Figures | None = None,
        names: Names | None = None,
        *,
        existing: Sequence[PoolKey] | None = EVERYBODY,
        clock: Clock | None = None,
        warm_up: NobodyNew | None = None,
    ) -> None:
        self.metrics = Metrics()
        self.decider = Decider(state, files)  # type: ignore[arg-type]
        if existing is not None:
            self.decider.begin_round({}, existing)
        for key in EVERYBODY:
            self.decider._records[key] = None  # type: ignore[assignment]
        self.work = PauseWork(
            self.decider,
            warm_up or NobodyNew(),  # type: ignore[arg-type]
            figures or Figures(),  # type: ignore[arg-type]
            names or Names(),  # type: ignore[arg-type]
            self.metrics,
            clock=clock or Clock(),
        )
        self.until = self.work.until
        self.save_all = self.work.save_all

    def failures(self) -> dict[str, float]:
        """Return how many pieces failed, by kind."""
        return {
            sample.labels["piece"]: sample.value
            for family in self.metrics.pause_failures.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }


async def test_a_pause_that_is_over_still_does_one_job() -> None:
    state = Jobs()
    state.left = 3
    await Pause(state, None).until(asyncio.get_running_loop().time())
    assert state.done == 1


async def test_a_long_pause_does_them_all_and_ends_early() -> None:
    state = Jobs()
    state.left = 3
    async with asyncio.timeout(10.0):
        await Pause(state, None).until(asyncio.get_running_loop().time() + 3600.0)
    assert state.done == 3


async def test_memories_are_saved_a_few_at_a_time_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.runtime.pause._SAVED_AT_ONCE", 2)
    files, clock = Files(), Clock()
    work = Pause(Jobs(), files, clock=clock)
    over = asyncio.get_running_loop().time()
    await work.until(over)
    clock.now += 299.0
    await work.until(over)
    assert files.saved == [], "it is not time yet"
    clock.now += 1.0
    await work.until(over)
    assert files.kept == EVERYBODY
    assert files.saved == [EVERYBODY[:2]]
    await work.until(over + 3600.0)
    assert files.saved == [EVERYBODY[:2], EVERYBODY[2:4], EVERYBODY[4:]]
    await work.save_all()
    assert files.saved[-1] == EVERYBODY


async def test_the_time_until_the_first_saving_runs_from_the_first_pause() -> None:
    """Protects the files of a standby that leads after an hour: its first pause must not begin a pass."""
    files, clock = Files(), Clock()
    work = Pause(Jobs(), files, clock=clock)
    clock.now += 3600.0
    await work.until(over())
    assert files.saved == []
    assert files.kept is None
    clock.now += 300.0
    await work.until(over())
    assert files.saved == [EVERYBODY]


async def test_files_are_not_removed_while_it_is_not_known_which_pools_there_are() -> None:
    """Protects saved states from a leader that has not seen a single round through."""
    files = Files()
    await let_save(Pause(Jobs(), files, existing=None, clock=(clock := Clock())), clock)
    assert files.kept is None
    assert files.saved == [EVERYBODY]


async def test_who_waits_for_a_past_is_not_saved_and_its_file_is_kept() -> None:
    """Protects saved states from being replaced by the few minutes that a waiting pool has seen."""
    files, warm_up = Files(), NobodyNew(EVERYBODY[1:3])
    work = Pause(Jobs(), files, clock=(clock := Clock()), warm_up=warm_up)
    await let_save(work, clock)
    assert files.kept == EVERYBODY
    assert files.saved == [[EVERYBODY[0], *EVERYBODY[3:]]]
    await work.save_all()
    assert files.saved[-1] == [EVERYBODY[0], *EVERYBODY[3:]]


async def test_who_begins_to_wait_in_the_middle_of_a_pass_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the file of a pool that was deleted and made anew while a large fleet is being saved."""
    monkeypatch.setattr("forebay.runtime.pause._SAVED_AT_ONCE", 2)
    files, warm_up = Files(), NobodyNew()
    work = Pause(Jobs(), files, clock=(clock := Clock()), warm_up=warm_up)
    await let_save(work, clock)
    warm_up.still.add(EVERYBODY[2])
    await work.until(over())
    assert files.saved == [EVERYBODY[:2], [EVERYBODY[3]]]


async def let_save(work: Pause, clock: Clock) -> None:
    """Have two short pauses, the second one when it is time to save."""
    await work.until(over())
    clock.now += 300.0
    await work.until(over())


def over() -> float:
    """Return when a pause ends that has no time left."""
    return asyncio.get_running_loop().time()


async def test_figures_that_could_wait_are_told_in_the_pause() -> None:
    now, figures = asyncio.get_running_loop().time(), Figures(9)
    await Pause(Jobs(), None, figures).until(now)
    assert figures.left == 8
    await Pause(Jobs(), None, figures).until(now + 60.0)
    assert figures.left == 0


async def test_metrics_are_looked_up_in_the_pause_one_group_at_least() -> None:
    now, names = asyncio.get_running_loop().time(), Names(3)
    await Pause(Jobs(), None, names=names).until(now)
    assert names.left == 2
    await Pause(Jobs(), None, names=names).until(now + 60.0)
    assert names.left == 0


class BrokenJobs(Jobs):
    """A forecaster's job fails whenever it is tried."""

    tried = 0

    def work(self, most: int = 1) -> int:
        self.tried += 1
        raise ZeroDivisionError("a bug in one pool's forecaster")


async def test_a_piece_that_fails_is_logged_and_ends_its_kind_for_this_pause_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Protects the fleet from a bug in one pool's forecaster: it ended the process."""
    state, figures, files, clock = BrokenJobs(), Figures(9), Files(), Clock()
    work = Pause(state, files, figures, clock=clock)
    async with asyncio.timeout(10.0):
        await work.until(over() + 3600.0)
    assert state.tried == 1, "not again and again for as long as the pause lasts"
    assert figures.left == 0, "the other kinds go on"
    assert work.failures() == {"forecaster": 1.0}
    assert "a bug in one pool's forecaster" in caplog.text
    clock.now += 300.0
    await work.until(over())
    assert state.tried == 2
    assert files.saved == [EVERYBODY]


async def test_a_piece_that_fails_early_in_a_pause_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects the process from a state volume that turns read-only."""
    state, files, clock = Jobs(), Files(), Clock()
    state.left = 3

    def refuse(keys: Sequence[PoolKey]) -> None:
        raise OSError(30, "read-only file system")

    monkeypatch.setattr(files, "forget_others", refuse)
    work = Pause(state, files, clock=clock)
    await let_save(work, clock)
    assert files.saved == []
    await work.until(over())
    assert files.saved == [EVERYBODY], "the pass goes on in the next pause"
    assert state.done == 3


async def test_a_lost_lease_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = Figures()

    async def refused() -> bool:
        raise LeaseLostError("gone")

    monkeypatch.setattr(figures, "tell_some", refused)
    with pytest.raises(LeaseLostError):
        await Pause(Jobs(), None, figures).until(over())
