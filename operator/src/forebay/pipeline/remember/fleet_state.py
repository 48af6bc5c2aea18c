"""What the pipeline remembers between rounds, per pool, and how it survives a restart."""

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from forebay.flow.fleet import Pool, PoolKey
from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import Forecaster, OutsideForecast, Warmed, WarmJob
from forebay.forecast.resolution import ONE_MINUTE, Resolution
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.remember.snapshot import StateError, dump, parse
from forebay.pipeline.remember.warm_memory import WarmMemory

__all__ = ["FleetState", "StateError"]


class FleetState:
    """Mutable memory of ``decide``: one entry per pool, made when the pool is first seen.

    Everything in it is derived from observations, so losing it costs accuracy for a while and never correctness.
    Not safe for use from two threads; only ``WarmJob.run`` may run elsewhere meanwhile.
    """

    def __init__(self, resolution: Resolution = ONE_MINUTE, *, stagger_seconds: float = 0.0) -> None:
        """Begin with nothing.

        ``resolution`` is that of all forecasters. Where ``stagger_seconds`` is not zero, the steps of different
        pools end at different multiples of it, so that the rounds of a large fleet cost about the same.
        """
        self._resolutions = tuple(
            replace(resolution, offset_seconds=offset) for offset in _offsets(resolution, stagger_seconds)
        )
        self._pools: dict[PoolKey, PoolMemory] = {}
        self.warm = WarmMemory()
        self._turn = 0

    def keys(self) -> tuple[PoolKey, ...]:
        """Return the pools that have a memory."""
        return tuple(self._pools)

    def memory(self, pool: Pool) -> PoolMemory:
        """Return the memory of ``pool``, made if there is none and kept in step with the pool's settings."""
        found = self._pools.get(pool.key)
        if found is None:
            found = self._pools[pool.key] = PoolMemory(
                forecaster=Forecaster(pool.settings, resolution=self._resolution(pool.key))
            )
            return found
        before = found.forecaster.settings
        if before is pool.settings or before == pool.settings:
            return found
        if _without_loads(before) != _without_loads(pool.settings):
            found.forecaster = Forecaster.restore(
                found.forecaster.snapshot(), pool.settings, resolution=self._resolution(pool.key)
            )
        found.forecaster.settings = pool.settings
        found.forecasts.clear()
        return found

    def drop(self, key: PoolKey) -> None:
        """Forget one pool; unknown pools are ignored."""
        self._pools.pop(key, None)

    # --- heavy work --------------------------------------------------------------------------------------------

    def next_job(self) -> tuple[PoolKey, WarmJob] | None:
        """Return the next heavy work of a forecaster that is due, pools taking turns, or ``None``.

        A warm-up after history or for a new lead time: about a second. Run it anywhere,
        then ``apply`` its result. A pool whose warm-up has not run has no forecast.
        """
        keys = list(self._pools)
        for step in range(len(keys)):
            key = keys[(self._turn + step) % len(keys)]
            job = self._pools[key].forecaster.job()
            if job is not None:
                self._turn = (self._turn + step + 1) % len(keys)
                return key, job
        return None

    def apply(self, key: PoolKey, result: Warmed) -> None:
        """Use the result of a job; a pool that vanished meanwhile is ignored."""
        memory = self._pools.get(key)
        if memory is not None:
            memory.forecaster.apply(result)
            memory.forecasts.clear()

    def work(self, most: int = 1) -> int:
        """Run up to ``most`` jobs here and now, and return how many there were."""
        for done in range(most):
            found = self.next_job()
            if found is None:
                return done
            key, job = found
            try:
                self.apply(key, job.run())
            except Exception as error:
                error.add_note(f"It is the forecaster of {key}.")
                raise
        return most

    # --- what comes from outside -------------------------------------------------------------------------------

    def warm_start(
        self,
        pool: Pool,
        *,
        requests_per_minute: Sequence[float] | FloatArray,
        end_seconds: float,
        lead_times_seconds: Sequence[float] = (),
    ) -> None:
        """Feed counts that precede ``end_seconds`` to the forecaster, newest last; NaN marks a gap.

        They are of minutes, or of the forecasters' steps where these are shorter.

        A forecaster that has seen some live minutes begins anew: history has them, too. Where steps are staggered,
        history is taken for as much later, or earlier.

        """
        resolution = self._resolution(pool.key)
        counts = np.asarray(requests_per_minute, dtype=np.float64)
        if not len(counts):
            return
        memory = self.memory(pool)
        if memory.fed_until_seconds is not None:
            memory.forecaster = Forecaster(pool.settings, resolution=resolution)
            memory.forecasts.clear()
            memory.known_steps = 0
        memory.awaits_past = False
        memory.spending.cold = False
        end = int(end_seconds // resolution.step_seconds)
        memory.forecaster.warm(counts, start_index=end - len(counts))
        memory.forecaster.prepare(lead_times_seconds)
        memory.fed_until_seconds = end * resolution.step_seconds + resolution.offset_seconds
        memory.known_steps += int(np.isfinite(counts).sum())

    def await_past(self, pool: Pool) -> None:
        """Let ``pool`` release nothing until its history has come: decisions go on by what is seen meanwhile."""
        self.memory(pool).awaits_past = True

    def go_without_past(self, key: PoolKey) -> None:
        """Let a pool go on without history; there is none, or it cannot be read."""
        if key in self._pools:
            self._pools[key].awaits_past = False

    def use_external_forecast(self, pool: Pool, forecast: OutsideForecast | None) -> None:
        """Blend a forecast that the user brings into the pool's own, by their scores."""
        self.memory(pool).forecaster.external = forecast

    # --- across restarts ---------------------------------------------------------------------------------------

    def recall_attainment(self, pool: Pool, *, missed: float, finished: float) -> None:
        """Let a pool that has seen no request end yet go on from the counts that an earlier process left."""
        budget = self.memory(pool).budget
        if budget.finished <= 0.0:
            budget.missed, budget.finished = min(missed, finished), finished

    def snapshot(self, key: PoolKey) -> bytes | None:
        """Return the memory of one pool as versioned bytes, or ``None`` if it has none."""
        memory = self._pools.get(key)
        return None if memory is None else dump(memory)

    def restore(self, key: PoolKey, data: bytes) -> None:
        """Take the memory of one pool from ``snapshot``'s bytes; nothing is released for a while afterwards.

        Raises:
            StateError: the bytes are damaged or of another version.
        """
        self._pools[key] = parse(data, PolicySettings(), self._resolution(key))

    def _resolution(self, key: PoolKey) -> Resolution:
        """Return the resolution of one pool's forecaster: always the same one for the same name."""
        return self._resolutions[zlib.crc32(str(key).encode()) % len(self._resolutions)]


def _offsets(resolution: Resolution, stagger_seconds: float) -> list[float]:
    """Return by how much steps can be shifted: multiples that fill a step, none farther than half a step."""
    step = resolution.step_seconds
    count = max(1, int(step // stagger_seconds)) if stagger_seconds > 0.0 else 1
    shifts = [number * stagger_seconds for number in range(count)]
    return [resolution.offset_seconds + (shift if shift <= step / 2.0 else shift - step) for shift in shifts]


def _without_loads(settings: PolicySettings) -> PolicySettings:
    return replace(settings, known_loads=())
