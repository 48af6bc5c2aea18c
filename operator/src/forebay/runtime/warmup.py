"""Warm up new pools from history, in the pauses between rounds: a pool joins when its forecaster has a past."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from forebay.flow.fleet import Pool, PoolKey
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


@dataclass(frozen=True, slots=True)
class Warmed:
    """A pool whose history was asked for; None where it could not be read."""

    pool: Pool
    history: History | None


class WarmUp:
    """Reads the history of pools that are new, a few at a time.

    A pool whose history does not come within half a minute of being asked for goes on without it. The pools of a
    large fleet take turns, which may take an hour: who has waited for a minute takes part in decisions, without a
    past, and is given it later.

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
        self._asked: dict[PoolKey, tuple[Pool, Callable[[], PoolTarget]]] = {}
        """Whose histories are still to be read."""
        self._reader: asyncio.Task[None] | None = None
        self._arrived: dict[PoolKey, Warmed] = {}
        self._begun: dict[PoolKey, float] = {}
        self._room = asyncio.Event()
        self._known: set[PoolKey] = set()

    def start(self, pool: Pool, target: Callable[[], PoolTarget]) -> None:
        """Begin to read a pool's history, if that was not begun yet."""
        if pool.key in self._begun or pool.key in self._known:
            return
        self._begun[pool.key] = self._wall_clock()
        if self._history_seconds <= 0:
            self._arrived[pool.key] = Warmed(pool, None)
            return
        self._asked[pool.key] = (pool, target)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_all(), name="warm-up")

    def is_known(self, key: PoolKey) -> bool:
        """Whether the pool takes part in decisions."""
        return key in self._known

    @property
    def waiting(self) -> int:
        """Return how many pools wait for their past."""
        return len(self._begun)

    def join_late(self) -> list[PoolKey]:
        """Return the pools that have waited for too long: they take part from now on, and wait on."""
        late = self._wall_clock() - _LONGEST_WAIT_SECONDS
        joined = [key for key, since in self._begun.items() if since <= late and key not in self._known]
        self._known.update(joined)
        return joined

    def take_arrived(self) -> list[Warmed]:
        """Return all pools whose history came; they take part from now on."""
        return [self._take(key) for key in list(self._arrived)]

    def take_without_past(self) -> list[Warmed]:
        """Return the pools that have nothing to be warmed up with; they take part from now on."""
        return [self._take(key) for key, item in list(self._arrived.items()) if not self._has_past(item)]

    def take_one(self) -> Warmed | None:
        """Return the pool whose history came first, ``None`` if there is none; it takes part from now on."""
        first = next(iter(self._arrived), None)
        return None if first is None else self._take(first)

    def _take(self, key: PoolKey) -> Warmed:
        self._known.add(key)
        self._begun.pop(key, None)
        self._room.set()
        return self._arrived.pop(key)

    def _has_past(self, item: Warmed) -> bool:
        return self._files is not None or (item.history is not None and item.history.known_minutes > 0)

    def keep_only(self, keys: Iterable[PoolKey]) -> None:
        """Forget pools that are gone."""
        kept = set(keys)
        self._known &= kept
        for gone in (self._begun, self._asked, self._arrived):
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
    ) -> None:
        """Give pools their past; to be called where ``decide`` is called, since it changes the same state."""
        for item in arrived:
            if self._files is not None and self._files.restore(state, item.pool.key):
                continue
            if item.history is None or not item.history.known_minutes:
                state.go_without_past(item.pool.key)
                continue
            minutes = item.history.requests_per_minute
            state.warm_start(
                item.pool,
                requests_per_minute=minutes.tolist(),
                end_seconds=item.history.start_seconds + 60.0 * len(minutes),
                lead_times_seconds=lead_times_seconds.get(item.pool.key, ()),
            )

    async def _read_all(self) -> None:
        while self._asked:
            while len(self._arrived) >= _MOST_WAITING:
                self._room.clear()
                await self._room.wait()
            some = dict(islice(self._asked.items(), _TOGETHER))
            histories = await self._read([target() for _pool, target in some.values()])
            for key in some:
                asked = self._asked.pop(key, None)
                if asked is not None:
                    self._arrived[key] = Warmed(asked[0], histories.get(key))

    async def _read(self, targets: Sequence[PoolTarget]) -> Mapping[PoolKey, History]:
        """Return histories; nothing where they do not come."""
        now = self._wall_clock()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._source.history(targets, now - self._history_seconds, now)
        except TimeoutError:
            logger.warning("the history of %s did not come in time; no past", _named(targets))
        except Exception:  # a task's edge: whoever's history cannot be read goes on without
            logger.exception("the history of %s could not be read", _named(targets))
        return {}


def _named(targets: Sequence[PoolTarget]) -> str:
    others = f" and {len(targets) - 1} others" if len(targets) > 1 else ""
    return f"{targets[0].key}{others}"
