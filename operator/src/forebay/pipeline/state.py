"""What the pipeline remembers between rounds, per pool, and how it survives a restart."""

from collections.abc import Sequence

import numpy as np

from forebay.flow.fleet import Pool, PoolKey
from forebay.flow.plan import FleetPlan
from forebay.forecast import Forecaster
from forebay.pipeline.memory import PoolMemory


class StateError(ValueError):
    """A snapshot cannot be restored; the message says why. The pool then starts afresh."""


class FleetState:
    """Mutable memory of ``decide``: one entry per pool, made when the pool is first seen.

    Everything in it is derived from observations, so losing it costs accuracy for a while and never correctness.
    """

    def __init__(self) -> None:
        self._pools: dict[PoolKey, PoolMemory] = {}
        self.plan: FleetPlan | None = None
        """The last plan, an incumbent of the next one."""

    def keys(self) -> tuple[PoolKey, ...]:
        """Return the pools that have a memory."""
        return tuple(self._pools)

    def memory(self, pool: Pool) -> PoolMemory:
        """Return the memory of ``pool``, made if there is none."""
        found = self._pools.get(pool.key)
        if found is None:
            found = self._pools[pool.key] = PoolMemory(forecaster=Forecaster(pool.settings))
        elif found.forecaster.settings != pool.settings:
            found.forecaster.settings = pool.settings
        return found

    def drop(self, key: PoolKey) -> None:
        """Forget one pool; unknown pools are ignored."""
        self._pools.pop(key, None)

    def warm_start(
        self,
        pool: Pool,
        *,
        requests_per_minute: Sequence[float],
        end_seconds: float,
        lead_times_seconds: Sequence[float] = (),
    ) -> None:
        """Feed minute counts that precede ``end_seconds`` to the forecaster, newest last; NaN marks a gap."""
        if not len(requests_per_minute):
            return
        memory = self.memory(pool)
        counts = np.asarray(requests_per_minute, dtype=np.float64)
        end_minute = int(end_seconds // 60.0)
        memory.forecaster.warm(counts, start_index=end_minute - len(counts))
        memory.forecaster.prepare(lead_times_seconds)
        memory.fed_until_seconds = end_minute * 60.0

    def snapshot(self, key: PoolKey) -> bytes | None:
        """Return the memory of one pool as versioned bytes, or ``None`` if it has none."""
        return None

    def restore(self, key: PoolKey, data: bytes) -> None:
        """Take the memory of one pool from ``snapshot``'s bytes.

        Raises:
            StateError: the bytes are damaged or of another version.
        """
