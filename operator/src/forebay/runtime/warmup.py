"""Warm up new pools from history, off the rounds' path: a pool joins the fleet when its forecaster has a past."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from forebay.flow.fleet import Pool, PoolKey
from forebay.pipeline import FleetState
from forebay.runtime.memory import StateFiles
from forebay.telemetry.source import History, PoolTarget, TelemetrySource

logger = logging.getLogger(__name__)

_PARALLEL = 4
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Warmed:
    """A pool whose history was asked for; None where it could not be read."""

    pool: Pool
    history: History | None


class WarmUp:
    """Reads the history of pools that are new, a few at a time.

    A pool whose history does not come within half a minute joins without it: it starts by holding what it has.

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
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._tasks: dict[PoolKey, asyncio.Task[None]] = {}
        self._arrived: list[Warmed] = []
        self._known: set[PoolKey] = set()

    def start(self, pool: Pool, target: PoolTarget) -> None:
        """Begin to read a pool's history, if that was not begun yet."""
        key = pool.key
        if key not in self._known and key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._read(pool, target), name=f"warm-up {key}")

    def is_known(self, key: PoolKey) -> bool:
        """Whether the pool takes part in decisions."""
        return key in self._known

    def take_arrived(self) -> list[Warmed]:
        """Return pools whose history came since the last call; they take part from now on."""
        arrived, self._arrived = self._arrived, []
        self._known.update(item.pool.key for item in arrived)
        return arrived

    def keep_only(self, keys: Iterable[PoolKey]) -> None:
        """Forget pools that are gone."""
        kept = set(keys)
        self._known &= kept
        for key in self._tasks.keys() - kept:
            self._tasks.pop(key).cancel()

    async def stop(self) -> None:
        """Cancel what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
                continue
            minutes = item.history.requests_per_minute
            state.warm_start(
                item.pool,
                requests_per_minute=minutes.tolist(),
                end_seconds=item.history.start_seconds + 60.0 * len(minutes),
                lead_times_seconds=lead_times_seconds.get(item.pool.key, ()),
            )

    async def _read(self, pool: Pool, target: PoolTarget) -> None:
        history: History | None = None
        now = self._wall_clock()
        try:
            if self._history_seconds > 0:
                async with self._slots, asyncio.timeout(_PATIENCE_SECONDS):
                    history = await self._source.history(target, now - self._history_seconds, now)
        except TimeoutError:
            logger.warning("the history of %s did not come in time; it starts without", pool.key)
        finally:
            self._tasks.pop(pool.key, None)
        self._arrived.append(Warmed(pool, history))
