"""Give new pools their past, in the pauses between rounds: a saved state, or else history. Then they join."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from forebay.flow.fleet import Pool, PoolKey
from forebay.flow.observation import Problem
from forebay.pipeline import FleetState
from forebay.runtime.memory import StateFiles
from forebay.telemetry.source import History, PoolTarget, TelemetrySource

logger = logging.getLogger(__name__)

_TOGETHER = 20
"""Pools whose histories are read by the same queries."""
_PATIENCE_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 60.0
_MOST_WAITING = 4
"""Histories that may wait when others are read: an old one would leave a gap before the first live minute."""
_FIRST_PUT_OFF_SECONDS = 30.0
_LONGEST_PUT_OFF_SECONDS = 600.0
_GIVE_UP_SECONDS = 3600.0
"""After the first time that a pool's history could not be read: nobody waits for a server that never answers."""


@dataclass(slots=True)
class Waiting:
    """A pool that waits for its past."""

    pool: Pool
    target: Callable[[], PoolTarget]
    since_seconds: float
    failed_since_seconds: float | None = None
    """Since when its history could not be read; ``None`` where nobody has tried yet."""
    put_off_seconds: float = _FIRST_PUT_OFF_SECONDS
    """How long to put off the next attempt after one that fails."""
    next_seconds: float | None = None
    """When to ask again; ``None`` where that is not put off."""

    def put_off(self, now_seconds: float) -> bool:
        """Plan to ask again after an attempt that failed; False if there have been enough of them."""
        if self.failed_since_seconds is None:
            self.failed_since_seconds = now_seconds
        again = now_seconds + self.put_off_seconds
        if again - self.failed_since_seconds > _GIVE_UP_SECONDS:
            return False
        self.next_seconds = again
        self.put_off_seconds = min(2.0 * self.put_off_seconds, _LONGEST_PUT_OFF_SECONDS)
        return True


@dataclass(frozen=True, slots=True)
class Warmed:
    """A pool that need not wait any longer: for a saved state, for a history, or for neither."""

    waited: Waiting
    history: History | None = None
    saved: bool = False
    """Whether there is a file of it."""

    @property
    def pool(self) -> Pool:
        """Return the pool, as it was in the last round."""
        return self.waited.pool


class WarmUp:
    """Finds the past of pools that are new.

    What was saved needs no history. Histories are read for a few pools at a time. A large fleet takes turns, which
    may take an hour: who has waited for a minute takes part in decisions, without a past, and is given it later.
    The same goes for a pool whose history cannot be read: it is asked for again, less and less often, for an hour.

    Args:
        source: of the history.
        files: saved snapshots, which go before history; None without a state directory.
        history_seconds: how far back to read; 0 reads nothing.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        source: TelemetrySource,
        files: StateFiles | None,
        *,
        history_seconds: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._files = files
        self._history_seconds = history_seconds
        self._wall_clock = wall_clock
        self._waiting: dict[PoolKey, Waiting] = {}
        """All pools that wait; some of them are also in one of the following."""
        self._asked: dict[PoolKey, Waiting] = {}
        """Whose histories are to be read now."""
        self._arrived: dict[PoolKey, Warmed] = {}
        """Whose histories were read, or never will be."""
        self._restorable: dict[PoolKey, Warmed] = {}
        self._reader: asyncio.Task[None] | None = None
        self._together = _TOGETHER
        self._room = asyncio.Event()
        self._known: set[PoolKey] = set()

    def start(self, pool: Pool, target: Callable[[], PoolTarget]) -> None:
        """Begin to look for a pool's past, or ask for it again when it is time; to be called in every round."""
        waiting = self._waiting.get(pool.key)
        if waiting is not None:
            waiting.pool, waiting.target = pool, target
            if waiting.next_seconds is not None and self._wall_clock() >= waiting.next_seconds:
                self._ask(waiting)
            return
        if pool.key in self._known:
            return
        waiting = self._waiting[pool.key] = Waiting(pool, target, self._wall_clock())
        if self._files is not None and self._files.has(pool.key):
            self._restorable[pool.key] = Warmed(waiting, saved=True)
            return
        self._ask(waiting)

    def is_known(self, key: PoolKey) -> bool:
        """Whether the pool takes part in decisions."""
        return key in self._known

    def is_waiting(self, key: PoolKey) -> bool:
        """Whether the pool is still to be given its past; it may take part in decisions all the same."""
        return key in self._waiting

    @property
    def waiting(self) -> int:
        """Return how many pools wait for their past."""
        return len(self._waiting)

    def join_late(self) -> list[PoolKey]:
        """Return the pools that have waited for too long: they take part from now on, and wait on."""
        late = self._wall_clock() - _LONGEST_WAIT_SECONDS
        joined = [
            key for key, item in self._waiting.items() if item.since_seconds <= late and key not in self._known
        ]
        self._known.update(joined)
        return joined

    def take_without_past(self) -> list[Warmed]:
        """Return the pools that have nothing to be warmed up with; they take part from now on."""
        return [self._take(key) for key, item in list(self._arrived.items()) if not _has_minutes(item.history)]

    def take_one(self) -> Warmed | None:
        """Return the next pool that has a past, ``None`` if there is none; it takes part from now on.

        Those with a saved state go first: a restore takes milliseconds.
        """
        first = next(iter(self._restorable), None) or next(iter(self._arrived), None)
        return None if first is None else self._take(first)

    def ask_instead(self, item: Warmed) -> None:
        """Ask for a history, since the saved state was of no use; the pool waits on as long as it has."""
        key = item.pool.key
        self._known.discard(key)  # who has waited for a minute joins late in the next round, and releases nothing
        self._waiting[key] = item.waited
        self._ask(item.waited)

    def keep_only(self, keys: Iterable[PoolKey]) -> None:
        """Forget pools that are gone."""
        kept = set(keys)
        self._known &= kept
        for gone in (self._waiting, self._asked, self._arrived, self._restorable):
            for key in gone.keys() - kept:
                del gone[key]
        self._room.set()

    async def stop(self) -> None:
        """Cancel what is under way."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def apply(
        self,
        state: FleetState,
        arrived: Iterable[Warmed],
        lead_times_seconds: Mapping[PoolKey, Sequence[float]],
    ) -> list[Warmed]:
        """Give pools their past; to be called where ``decide`` is called, since it changes the same state.

        Returns those whose saved state was of no use, for `ask_instead`.
        """
        return [item for item in arrived if not self._give(state, item, lead_times_seconds.get(item.pool.key, ()))]

    def _give(self, state: FleetState, item: Warmed, lead_times_seconds: Sequence[float]) -> bool:
        key = item.pool.key
        try:
            if item.saved:
                return self._files is not None and self._files.restore(state, key)
            _feed(state, item, lead_times_seconds)
        except Exception:  # one pool's edge: it must not be held for ever, nor hold up the others
            logger.exception("the past of %s could not be used", key)
            if item.saved:
                return False
            state.drop(key)  # it may be half fed
        return True

    def _take(self, key: PoolKey) -> Warmed:
        self._known.add(key)
        self._waiting.pop(key, None)
        self._room.set()
        restorable = self._restorable.pop(key, None)
        return self._arrived.pop(key) if restorable is None else restorable

    def _ask(self, waiting: Waiting) -> None:
        waiting.next_seconds = None
        if self._history_seconds <= 0:
            self._arrived[waiting.pool.key] = Warmed(waiting)
            return
        self._asked[waiting.pool.key] = waiting
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_all(), name="warm-up")

    async def _read_all(self) -> None:
        while self._asked:
            if len(self._arrived) >= _MOST_WAITING:
                self._room.clear()
                await self._room.wait()
                continue
            some = list(islice(self._asked.values(), self._together))
            histories = await self._read(some)
            for waiting in some:
                if self._asked.get(waiting.pool.key) is waiting:  # neither gone, nor another one of the same name
                    self._answered(waiting, histories.get(waiting.pool.key), alone=len(some) == 1)
            await asyncio.sleep(0)  # a source that refuses at once does not give way

    def _answered(self, waiting: Waiting, history: History | None, *, alone: bool) -> None:
        if history is None and not alone:
            return  # one of the others may be to blame: it stays in line, and is asked for with fewer
        del self._asked[waiting.pool.key]
        if history is None and waiting.put_off(self._wall_clock()):
            return
        if history is None:
            logger.warning("the history of %s could not be read for too long; no past", waiting.pool.key)
        self._arrived[waiting.pool.key] = Warmed(waiting, history)

    async def _read(self, some: Sequence[Waiting]) -> Mapping[PoolKey, History]:
        """Return the histories that could be read; where one could not, fewer are asked for together next time."""
        histories = await self._ask_source(some)
        why = next((each.freshness.detail for each in histories.values() if _is_unreadable(each)), "")
        if why:
            logger.log(self._level, "the history of %s could not be read: %s", _named(some), why)
        read = {key: history for key, history in histories.items() if not _is_unreadable(history)}
        whole = len(read) == len(some)
        self._together = min(_TOGETHER, 2 * self._together) if whole else max(1, len(some) // 2)
        return read

    async def _ask_source(self, some: Sequence[Waiting]) -> Mapping[PoolKey, History]:
        now = self._wall_clock()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                targets = [waiting.target() for waiting in some]
                return await self._source.history(targets, now - self._history_seconds, now)
        except TimeoutError:
            logger.log(self._level, "the history of %s did not come in time", _named(some))
        except Exception:  # a task's edge: whoever's history cannot be read waits on
            logger.log(self._level, "the history of %s could not be read", _named(some), exc_info=True)
        return {}

    @property
    def _level(self) -> int:
        """Return how loudly to tell of a failure: once, and not for each pool of a fleet."""
        return logging.WARNING if self._together == _TOGETHER else logging.DEBUG


def _feed(state: FleetState, item: Warmed, lead_times_seconds: Sequence[float]) -> None:
    """Give a pool its history, or end its wait where there is none."""
    history = item.history
    if history is None or not _has_minutes(history):
        state.go_without_past(item.pool.key)
        return
    minutes = history.requests_per_minute
    state.warm_start(
        item.pool,
        requests_per_minute=minutes.tolist(),
        end_seconds=history.start_seconds + 60.0 * len(minutes),
        lead_times_seconds=lead_times_seconds,
    )


def _has_minutes(history: History | None) -> bool:
    return history is not None and history.known_minutes > 0


def _is_unreadable(history: History) -> bool:
    """Whether nothing is known because the source did not answer; what came before it fell silent is of use."""
    return history.freshness.problem is Problem.UNREACHABLE and not _has_minutes(history)


def _named(some: Sequence[Waiting]) -> str:
    others = f" and {len(some) - 1} others" if len(some) > 1 else ""
    return f"{some[0].pool.key}{others}"
