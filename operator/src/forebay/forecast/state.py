"""The learned state of a series: one model, a stream per half minute, tracks per horizon, and their upkeep."""

import math
from collections.abc import Iterable

import numpy as np

from forebay.forecast.follower import Follower
from forebay.forecast.future import OutsideForecast
from forebay.forecast.history import CountHistory
from forebay.forecast.jobs import Warmed, WarmJob, first_scale
from forebay.forecast.levels import DAYS_KEPT
from forebay.forecast.phase import StreamForecaster
from forebay.forecast.resolution import Resolution
from forebay.forecast.samples import SampleClock
from forebay.forecast.tracks import Track

HORIZONS_KEPT = 4
"""Number of horizons with state; beyond it, the least recently used is dropped."""
INLINE_STEPS = 360
"""History up to this long (in steps) is replayed at once (.1 s); a longer one becomes a job."""
DAYS_REPLAYED = 2
"""Days of counts that are kept for lead times to come once there is a model, which remembers the week itself: as
many as a new pool's history has by default."""
RESCALE_FACTOR = 6.0
"""The scale of the transform is renewed when the mean of a day exceeds it by this factor (a launch)."""
EARLY_CHECKS = (30, 60, 120, 240)
SCALE_PERIOD = 60
"""Steps between checks of the scale once the history is long."""


class SeriesState:
    """The model, its streams and the kept counts of one series."""

    def __init__(self, resolution: Resolution, clock: SampleClock, horizons: Iterable[int]) -> None:
        self.resolution = resolution
        self.clock = clock
        self.history = CountHistory(DAYS_KEPT * resolution.steps_per_day)
        self.model: StreamForecaster | None = None
        """The learned model, with the stream from which it learns."""
        self.followers: list[Follower] = []
        self._next_scale = 0
        self._wanted = list(dict.fromkeys(horizons))
        self._asked: dict[int, int] = {}

    @property
    def horizons(self) -> tuple[int, ...]:
        """Return the horizons, in steps, that have state."""
        return () if self.model is None else tuple(dict.fromkeys(track.horizon for track in self.model.tracks))

    @property
    def streams(self) -> tuple[StreamForecaster | Follower, ...]:
        """Return the streams by their place in the minute; none while there is no model."""
        return () if self.model is None else (self.model, *self.followers)

    def newest(self, which: int) -> int | None:
        """Return the newest step that phase ``which`` has seen."""
        if self.model is None:
            return self.history.last if which == 0 else None
        return self.streams[which].index

    def rewind(self, which: int, index: int) -> None:
        """Follow a clock that was set back: continue after step ``index``."""
        if which == 0:
            self.history.rewind(index)
        if self.model is not None:
            self.streams[which].rewind(index)

    def take(self, which: int, index: int, count: float, external: OutsideForecast | None) -> None:
        """Take the count of step ``index`` of phase ``which``; the steps skipped before it are gaps."""
        if which == 0:
            self.history.put(index, count)
        if self.model is None:
            if len(self.history) <= INLINE_STEPS:
                self.build()
            return
        stream = self.streams[which]
        start = index if stream.index is None else max(stream.index + 1, index - self.history.size)
        for missing in range(start, index):
            stream.step(missing, math.nan)
        points = None
        if external is not None:
            end_seconds = self.clock.end_seconds(which, index)
            points = external.points(end_seconds, self.resolution.step_seconds, self.model.tracks)
        stream.step(index, count, points)
        if len(self.history) in EARLY_CHECKS and self._better_scale() is not None:
            self._rebuild(self.horizons)

    # --- horizons ----------------------------------------------------------------------------------------------

    def serving(self, horizon: int) -> int | None:
        """Return the horizon whose state is used for ``horizon``; its own state is made now or by a job."""
        self._asked[horizon] = self.history.last or 0
        if horizon not in self.horizons:
            if horizon not in self._wanted:
                self._wanted.append(horizon)
            if len(self.history) <= INLINE_STEPS:
                self.prepare(())
        if self.model is None:
            return None
        longer = [known for known in self.horizons if known >= horizon]
        return min(longer) if longer else max(self.horizons)

    def prepare(self, horizons: Iterable[int]) -> None:
        """Build the state for ``horizons``, and for all that were requested before."""
        self._wanted += sorted(set(horizons) - set(self.horizons) - set(self._wanted))
        if self._wanted and self.model is not None:
            self.apply(self._warm_job(self._wanted, self.model.scale, replaces=False).run())
        else:
            self.build()

    def build(self) -> None:
        """Make the model once there are enough counts for a scale."""
        if self._wanted and self.model is None:
            self._rebuild(self._wanted)

    def adopt(self, model: StreamForecaster) -> None:
        """Use ``model`` for the whole minutes, and a follower of it for the others.

        The follower begins at the same step, so its first own sample counts as already seen.
        """
        self.model = model
        self.history.shorten(DAYS_REPLAYED * self.resolution.steps_per_day)
        self.followers = [Follower(model) for _ in range(1, self.clock.phases)]
        self._settle()

    def _rebuild(self, horizons: Iterable[int]) -> None:
        scale = self._better_scale() or first_scale(self.history.kept()[1])
        if scale is not None:
            self.apply(self._warm_job(horizons, scale, replaces=True).run())

    def _warm_job(self, horizons: Iterable[int], scale: float, *, replaces: bool) -> WarmJob:
        start, counts = self.history.kept()
        return WarmJob(
            resolution=self.resolution,
            tracks=tuple(Track(horizon, kind) for horizon in sorted(set(horizons)) for kind in (False, True)),
            start_index=start,
            counts=counts,
            scale=scale,
            replaces=replaces,
        )

    def _settle(self) -> None:
        self._wanted = [horizon for horizon in self._wanted if horizon not in self.horizons]
        while len(self.horizons) > HORIZONS_KEPT:
            oldest = min(self.horizons, key=lambda horizon: self._asked.get(horizon, -1))
            if self.model is not None:
                self.model.drop(oldest)
        for follower in self.followers:
            follower.take_over()

    def _better_scale(self) -> float | None:
        """Return the mean of the last day if the scale is far below it, else ``None``."""
        recent = self.history.since((self.history.last or 0) - self.resolution.steps_per_day + 1)
        known = recent[np.isfinite(recent)]
        scale = self.model.scale if self.model is not None else first_scale(self.history.kept()[1])
        if scale is None or not len(known):
            return None
        mean = float(known.mean())
        return mean if mean > RESCALE_FACTOR * scale else None

    # --- work off the loop -------------------------------------------------------------------------------------

    def job(self) -> WarmJob | None:
        """Return work that is due, or ``None``; one at a time."""
        if self.model is None:
            scale = first_scale(self.history.kept()[1]) if self._wanted else None
            return self._warm_job(self._wanted, scale, replaces=True) if scale is not None else None
        now = self.model.index or 0
        if now >= self._next_scale:
            self._next_scale = now + SCALE_PERIOD
            better = self._better_scale()
            if better is not None:
                return self._warm_job([*self.horizons, *self._wanted], better, replaces=True)
        if self._wanted:
            return self._warm_job(self._wanted, self.model.scale, replaces=False)
        return None

    def apply(self, warmed: Warmed) -> None:
        """Use the result of a job, and replay the samples that came since the job was handed out."""
        phase = warmed.phase
        if phase.index is not None:
            for index, count in enumerate(self.history.since(phase.index + 1).tolist(), start=phase.index + 1):
                phase.step(index, count)
        if warmed.replaces or self.model is None:
            self.adopt(phase)
            return
        for known in {track.horizon for track in phase.tracks} & set(self.horizons):
            phase.drop(known)
        self.model.adopt(phase)
        self._settle()
