"""A pool's past as it was found, a saved state or a history, and how it is given to the fleet's state."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from forebay.flow.fleet import Pool, PoolKey
from forebay.pipeline import FleetState
from forebay.runtime.statefiles import StateFiles
from forebay.telemetry.source import History, PoolTarget

logger = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 30.0
_LONGEST_RETRY_SECONDS = 600.0
_GIVE_UP_SECONDS = 3600.0
"""After the first attempt that failed, a pool starts without history: the server may never answer."""


@dataclass(slots=True)
class WaitingPool:
    """A pool that waits for its past."""

    pool: Pool
    target: Callable[[], PoolTarget]
    since_seconds: float
    failed_since_seconds: float | None = None
    """Time of the first attempt that failed; ``None`` before that."""
    retry_delay_seconds: float = _FIRST_RETRY_SECONDS
    """Delay after the next failure."""
    next_seconds: float | None = None
    """When to ask again; ``None`` while no retry is planned."""

    def plan_retry(self, now_seconds: float) -> bool:
        """Plan the next attempt after a failure; False after an hour of failures."""
        if self.failed_since_seconds is None:
            self.failed_since_seconds = now_seconds
        again = now_seconds + self.retry_delay_seconds
        if again - self.failed_since_seconds > _GIVE_UP_SECONDS:
            return False
        self.next_seconds = again
        self.retry_delay_seconds = min(2.0 * self.retry_delay_seconds, _LONGEST_RETRY_SECONDS)
        return True


@dataclass(frozen=True, slots=True)
class PoolPast:
    """What a pool starts from: a saved state, a history, or (with neither) nothing."""

    waited: WaitingPool
    history: History | None = None
    saved: bool = False
    """Whether there is a state file."""

    @property
    def pool(self) -> Pool:
        """Return the pool, as it was in the last round."""
        return self.waited.pool

    @property
    def has_history(self) -> bool:
        """Whether at least one minute of history is known."""
        return has_minutes(self.history)


def has_minutes(history: History | None) -> bool:
    """Whether at least one minute of a history is known."""
    return history is not None and history.known_minutes > 0


def give_pasts(
    state: FleetState,
    pasts: Iterable[PoolPast],
    lead_times_seconds: Mapping[PoolKey, Sequence[float]],
    files: StateFiles | None,
) -> list[PoolPast]:
    """Give pools their past. Call it in the thread that owns ``state``.

    Returns the pasts whose saved state was unusable; ask for history instead.
    """
    return [past for past in pasts if not _give(state, past, lead_times_seconds.get(past.pool.key, ()), files)]


def _give(
    state: FleetState, past: PoolPast, lead_times_seconds: Sequence[float], files: StateFiles | None
) -> bool:
    key = past.pool.key
    try:
        if past.saved:
            return files is not None and files.restore(state, key)
        _feed(state, past, lead_times_seconds)
    except Exception:  # an error in one pool's past must not hold up the other pools
        logger.exception("the past of %s could not be used", key)
        if past.saved:
            return False
        state.drop(key)  # it may be half fed
    return True


def _feed(state: FleetState, past: PoolPast, lead_times_seconds: Sequence[float]) -> None:
    """Give a pool its history, or end its wait if there is none."""
    history = past.history
    if history is None or not past.has_history:
        state.go_without_past(past.pool.key)
        return
    minutes = history.requests_per_minute
    state.warm_start(
        past.pool,
        requests_per_minute=minutes.tolist(),
        end_seconds=history.end_seconds,
        lead_times_seconds=lead_times_seconds,
    )
