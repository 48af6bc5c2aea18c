"""Find the past of new pools between rounds: a saved state, or else Prometheus history. Then the pools join."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from forebay.flow.fleet import Pool, PoolKey
from forebay.flow.observation import Problem
from forebay.runtime.past import PoolPast, WaitingPool, has_minutes
from forebay.runtime.statefiles import StateFiles
from forebay.telemetry.source import History, PoolTarget, TelemetrySource

logger = logging.getLogger(__name__)

_TOGETHER = 20
"""Pools whose histories are read by the same queries."""
_PATIENCE_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 60.0
_MOST_READ_AHEAD = 4
"""Histories that may wait to be used: one that waits for long leaves a gap before the first live minute."""


class WarmUp:
    """Finds the past of pools that are new.

    A pool with a saved state needs no history. Histories are read for a few pools at a time, which may take an
    hour in a large fleet: a pool that has waited for a minute takes part in decisions without a past, and is given
    it later. The same holds for a pool whose history cannot be read: the source is asked again, less and less
    often, for an hour.

    Args:
        source: of the history.
        files: saved states, which are preferred to history; None without a state directory.
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
        self._waiting: dict[PoolKey, WaitingPool] = {}
        """All pools that wait; some of them are also in one of the following."""
        self._asked: dict[PoolKey, WaitingPool] = {}
        """Pools whose histories are to be read now."""
        self._arrived: dict[PoolKey, PoolPast] = {}
        """Pools whose histories were read, or never will be."""
        self._restorable: dict[PoolKey, PoolPast] = {}
        """Pools with a state file."""
        self._reader: asyncio.Task[None] | None = None
        self._together = _TOGETHER
        self._room = asyncio.Event()
        self._known: set[PoolKey] = set()

    def start(self, pool: Pool, target: Callable[[], PoolTarget]) -> None:
        """Begin to look for a pool's past, or ask for it again when it is time. Call it in every round."""
        waiting = self._waiting.get(pool.key)
        if waiting is not None:
            waiting.pool, waiting.target = pool, target
            if waiting.next_seconds is not None and self._wall_clock() >= waiting.next_seconds:
                self._ask(waiting)
            return
        if pool.key in self._known:
            return
        waiting = self._waiting[pool.key] = WaitingPool(pool, target, self._wall_clock())
        if self._files is not None and self._files.has(pool.key):
            self._restorable[pool.key] = PoolPast(waiting, saved=True)
            return
        self._ask(waiting)

    def is_known(self, key: PoolKey) -> bool:
        """Whether the pool takes part in decisions."""
        return key in self._known

    def is_waiting(self, key: PoolKey) -> bool:
        """Whether the pool is still to be given its past; it may already take part in decisions."""
        return key in self._waiting

    @property
    def waiting(self) -> int:
        """Return how many pools wait for their past."""
        return len(self._waiting)

    def join_late(self) -> list[PoolKey]:
        """Return the pools that have waited for too long: they take part from now on, and go on waiting."""
        late = self._wall_clock() - _LONGEST_WAIT_SECONDS
        joined = [
            key for key, item in self._waiting.items() if item.since_seconds <= late and key not in self._known
        ]
        self._known.update(joined)
        return joined

    def take_without_past(self) -> list[PoolPast]:
        """Return the pools for which nothing was found; they take part from now on."""
        return [self._take(key) for key, item in list(self._arrived.items()) if not item.has_history]

    def take_one(self) -> PoolPast | None:
        """Return the next past that was found, ``None`` if there is none; its pool takes part from now on.

        Saved states go first: restoring one takes milliseconds.
        """
        first = next(iter(self._restorable), None) or next(iter(self._arrived), None)
        return None if first is None else self._take(first)

    def ask_instead(self, past: PoolPast) -> None:
        """Ask for a history, since the saved state was unusable; the time already waited counts."""
        key = past.pool.key
        # A pool that has waited for a minute joins late in the next round, and releases nothing until then.
        self._known.discard(key)
        self._waiting[key] = past.waited
        self._ask(past.waited)

    def keep_only(self, keys: Iterable[PoolKey]) -> None:
        """Forget pools that are gone."""
        kept = set(keys)
        self._known &= kept
        for memory in (self._waiting, self._asked, self._arrived, self._restorable):
            for key in memory.keys() - kept:
                del memory[key]
        self._room.set()

    async def stop(self) -> None:
        """Cancel what is under way."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def _take(self, key: PoolKey) -> PoolPast:
        self._known.add(key)
        self._waiting.pop(key, None)
        self._room.set()
        restorable = self._restorable.pop(key, None)
        return self._arrived.pop(key) if restorable is None else restorable

    def _ask(self, waiting: WaitingPool) -> None:
        waiting.next_seconds = None
        if self._history_seconds <= 0:
            self._arrived[waiting.pool.key] = PoolPast(waiting)
            return
        self._asked[waiting.pool.key] = waiting
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_all(), name="warm-up")

    async def _read_all(self) -> None:
        while self._asked:
            if len(self._arrived) >= _MOST_READ_AHEAD:
                self._room.clear()
                await self._room.wait()
                continue
            some = list(islice(self._asked.values(), self._together))
            histories = await self._read(some)
            for waiting in some:
                # Skip a pool that is gone, and a new pool of the same name.
                if self._asked.get(waiting.pool.key) is waiting:
                    self._answered(waiting, histories.get(waiting.pool.key), only_one=len(some) == 1)
            await asyncio.sleep(0)  # a source that refuses at once does not give way

    def _answered(self, waiting: WaitingPool, history: History | None, *, only_one: bool) -> None:
        if history is None and not only_one:
            # Another pool of the same query may be the cause: this one stays in line and is asked for with fewer.
            return
        del self._asked[waiting.pool.key]
        if history is None and waiting.plan_retry(self._wall_clock()):
            return
        if history is None:
            logger.warning("the history of %s could not be read for an hour; it starts without", waiting.pool.key)
        self._arrived[waiting.pool.key] = PoolPast(waiting, history)

    async def _read(self, some: Sequence[WaitingPool]) -> Mapping[PoolKey, History]:
        """Return the histories that could be read; where one could not, fewer are asked for together next time."""
        histories = await self._ask_source(some)
        why = next((each.freshness.detail for each in histories.values() if _is_unreadable(each)), "")
        if why:
            logger.log(self._level, "the history of %s could not be read: %s", _named(some), why)
        read = {key: history for key, history in histories.items() if not _is_unreadable(history)}
        complete = len(read) == len(some)
        self._together = min(_TOGETHER, 2 * self._together) if complete else max(1, len(some) // 2)
        return read

    async def _ask_source(self, some: Sequence[WaitingPool]) -> Mapping[PoolKey, History]:
        now = self._wall_clock()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                targets = [waiting.target() for waiting in some]
                return await self._source.history(targets, now - self._history_seconds, now)
        except TimeoutError:
            logger.log(self._level, "the history of %s did not come in time", _named(some))
        except Exception:  # whatever the source raises, these pools are asked for again later
            logger.log(self._level, "the history of %s could not be read", _named(some), exc_info=True)
        return {}

    @property
    def _level(self) -> int:
        """Return the log level of a failure: a warning once, not once for each pool of a fleet."""
        return logging.WARNING if self._together == _TOGETHER else logging.DEBUG


def _is_unreadable(history: History) -> bool:
    """Whether nothing is known because the source did not answer; minutes from before an outage are usable."""
    return history.freshness.problem is Problem.UNREACHABLE and not has_minutes(history)


def _named(some: Sequence[WaitingPool]) -> str:
    others = f" and {len(some) - 1} others" if len(some) > 1 else ""
    return f"{some[0].pool.key}{others}"
