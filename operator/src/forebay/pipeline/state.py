"""What the pipeline remembers between rounds, per pool, and how it survives a restart."""

from collections.abc import Iterable

from forebay.flow.fleet import Pool, PoolKey


class StateError(ValueError):
    """A snapshot cannot be restored; the message says why. The pool then starts afresh."""


class FleetState:
    """Mutable memory of ``decide``: one entry per pool, made when the pool is first seen.

    Everything in it is derived from observations, so losing it costs accuracy for a while and never correctness.
    """

    def __init__(self) -> None:
        self._pools: dict[PoolKey, object] = {}

    def keys(self) -> tuple[PoolKey, ...]:
        """Return the pools that have a memory."""
        return tuple(self._pools)

    def drop(self, key: PoolKey) -> None:
        """Forget one pool; unknown pools are ignored."""
        self._pools.pop(key, None)

    def warm_start(self, pool: Pool, *, requests_per_minute: Iterable[float], end_seconds: float) -> None:
        """Feed minute counts that precede ``end_seconds`` (newest last; NaN marks a gap) to the pool's forecaster."""

    def snapshot(self, key: PoolKey) -> bytes | None:
        """Return the memory of one pool as versioned bytes, or ``None`` if it has none."""
        return None

    def restore(self, key: PoolKey, data: bytes) -> None:
        """Take the memory of one pool from ``snapshot``'s bytes.

        Raises:
            StateError: the bytes are damaged or of another version.
        """
