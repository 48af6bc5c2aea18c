"""The forecaster of one pool's demand: quantiles at its lead times, scored, capped and kept across restarts."""

import copy
import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

import numpy as np

from forebay.flow.forecast import DemandForecast, Quantiles
from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import snapshot
from forebay.forecast.cap import RateCap
from forebay.forecast.future import ExternalForecast, with_known_loads
from forebay.forecast.history import CountHistory
from forebay.forecast.jobs import Job, JobResult, RefitJob, Refitted, Warmed, WarmJob, first_scale
from forebay.forecast.levels import DAYS_KEPT
from forebay.forecast.phase import MAX_HORIZON, Phase
from forebay.forecast.resolution import ONE_MINUTE, Resolution
from forebay.forecast.tracks import Track

PHASES = 2
"""Copies at one-minute steps, for minutes that end at :00 and at :30: a forecast is 30 s old at most."""
LATE_STEPS = 15
"""A sample this much older than the newest is late; more than that, twice in a row, is a clock stepped back."""
TRAINING_MINIMUM = 120
HORIZONS_KEPT = 4
INLINE_STEPS = 360
"""History up to this long is replayed at once; a longer one is a job."""
RESCALE_FACTOR = 6.0
EARLY_CHECKS = (30, 60, 120, 240)
SCALE_PERIOD = 60
"""Steps between checks of the scale once the history is long."""


class Taken(StrEnum):
    """What became of a sample."""

    YES = "taken"
    DUPLICATE = "duplicate"
    LATE = "late"
    CLOCK_STEPPED = "clock stepped back"


class Forecaster:
    """Forecasts of one series of request counts.

    Pure: time comes in with the samples. One instance per pool; not safe for use from two threads, but
    ``job().run()`` may run in another thread while this one goes on.
    """

    def __init__(
        self,
        settings: PolicySettings,
        *,
        lead_times_seconds: Iterable[float] = (),
        resolution: Resolution = ONE_MINUTE,
    ) -> None:
        self.settings = settings
        self.resolution = resolution
        self.phase_count = PHASES if resolution.step_seconds == ONE_MINUTE.step_seconds else 1
        self.history = CountHistory(DAYS_KEPT * resolution.steps_per_day)
        self.phases: list[Phase] = []
        self.cap = RateCap(settings)
        self.external: ExternalForecast | None = None
        self._wanted = [self.horizon(lead_time) for lead_time in lead_times_seconds]
        self._asked: dict[int, int] = {}
        self._late: dict[int, int] = {}
        self._next_fit = 0
        self._next_scale = 0

    def horizon(self, lead_time_seconds: float) -> int:
        """Return the whole steps ahead at which capacity ordered now serves its first full step.

        Raises:
            ValueError: the lead time is negative or not a number.
        """
        if not lead_time_seconds >= 0.0:
            raise ValueError(f"a lead time must be zero or more seconds; got {lead_time_seconds}")
        return int(min(MAX_HORIZON, lead_time_seconds // self.resolution.step_seconds + 1))

    @property
    def horizons(self) -> tuple[int, ...]:
        """Return the horizons, in steps, that have state."""
        return tuple(dict.fromkeys(track.horizon for track in self.phases[0].tracks)) if self.phases else ()

    # --- samples -----------------------------------------------------------------------------------------------

    def warm(self, counts: FloatArray, *, start_index: int) -> None:
        """Replay history before the first live sample, in one pass.

        ``counts`` are requests per step, NaN where unknown; ``start_index`` is the first one's step number since
        the epoch (Unix minutes at one-minute steps). Takes about .2 ms per step and lead time.
        """
        for index, count in enumerate(counts.tolist(), start=start_index):
            self.history.put(index, count)
        day = self.resolution.steps_per_day
        recent = counts[-day:]
        known = recent[np.isfinite(recent)]
        if len(known):
            end_seconds = (start_index + len(counts)) * self.resolution.step_seconds
            self.cap.observe(end_seconds, float(known.max()) / self.resolution.step_seconds)
        self.cap.seen_seconds += float(np.isfinite(counts).sum()) * self.resolution.step_seconds
        if self._wanted:
            self._build(self._wanted)

    def update(self, end_seconds: float, count: float) -> Taken:
        """Take the requests counted in the step that ended at ``end_seconds`` (Unix), NaN if there is no sample.

        At one-minute steps, minutes that end at :00 and minutes that end at :30 both belong here, each in order.
        Missing steps between are gaps. A duplicate or a late sample changes nothing; a clock that was stepped back
        is followed with the second sample that says so.

        Raises:
            ValueError: ``count`` is negative.
        """
        if count < 0.0:
            raise ValueError(f"a count of requests cannot be negative; got {count} (was a counter reset missed?)")
        count = count if math.isfinite(count) else math.nan
        step_seconds = self.resolution.step_seconds
        grid = round(end_seconds * self.phase_count / step_seconds)
        which, index = grid % self.phase_count, grid // self.phase_count - 1
        newest = self._newest(which)
        taken = Taken.YES
        if newest is not None and index <= newest:
            taken = self._old(which, index, newest)
            if taken is not Taken.CLOCK_STEPPED:
                return taken
        self._late.pop(which, None)
        if math.isfinite(count):
            self.cap.observe(end_seconds, count / step_seconds)
            self.cap.seen_seconds += step_seconds / self.phase_count
        if which == 0:
            self.history.put(index, count)
        if self.phases:
            self._advance(self.phases[which], index, count, end_seconds)
            self._check_scale_early()
        elif self._wanted and len(self.history) <= INLINE_STEPS:
            self._build(self._wanted)
        return taken

    def _newest(self, which: int) -> int | None:
        return self.phases[which].index if self.phases else (self.history.last if which == 0 else None)

    def _old(self, which: int, index: int, newest: int) -> Taken:
        if index == newest:
            return Taken.DUPLICATE
        before = self._late.get(which)
        if newest - index <= LATE_STEPS:
            return Taken.LATE
        self._late[which] = index
        if before is None or before >= index:
            return Taken.LATE
        if which == 0:
            self.history.rewind(index - 1)
        if self.phases:
            self.phases[which].rewind(index - 1)
        self.cap.rewind((index + 1) * self.resolution.step_seconds)
        return Taken.CLOCK_STEPPED

    def _advance(self, phase: Phase, index: int, count: float, end_seconds: float) -> None:
        start = index if phase.index is None else max(phase.index + 1, index - self.history.size)
        for missing in range(start, index):
            phase.step(missing, math.nan)
        external = None
        if self.external is not None:
            external = self.external.points(end_seconds, self.resolution.step_seconds, phase.tracks)
        phase.step(index, count, external)

    # --- state per horizon -------------------------------------------------------------------------------------

    def prepare(self, lead_times_seconds: Iterable[float]) -> None:
        """Have state for these lead times now, whatever it takes (about 2 s per week of history)."""
        missing = {self.horizon(lead) for lead in lead_times_seconds} - set(self.horizons)
        self._wanted += sorted(missing - set(self._wanted))
        if not self._wanted:
            return
        if not self.phases:
            self._build(self._wanted)
            return
        self._take_over(self._warm_job(self._wanted, replaces=False).run())

    def _warm_job(self, horizons: Iterable[int], *, replaces: bool, scale: float | None = None) -> WarmJob:
        start, counts = self.history.kept()
        return WarmJob(
            resolution=self.resolution,
            tracks=tuple(Track(horizon, kind) for horizon in sorted(set(horizons)) for kind in (False, True)),
            start_index=start,
            counts=counts,
            scale=scale if scale is not None else self.phases[0].scale,
            replaces=replaces,
        )

    def _build(self, horizons: Iterable[int]) -> None:
        scale = first_scale(self.history.kept()[1])
        if scale is None:
            return
        self._take_over(self._warm_job(horizons, replaces=True, scale=self._better_scale() or scale).run())

    def _take_over(self, warmed: Warmed) -> None:
        phase = warmed.phase
        if phase.index is not None:
            for index, count in enumerate(self.history.since(phase.index + 1).tolist(), start=phase.index + 1):
                phase.step(index, count)
        if warmed.replaces or not self.phases:
            self._adopt_phase(phase)
        else:
            for mine in self.phases:
                mine.adopt(phase)
        self._wanted = [horizon for horizon in self._wanted if horizon not in self.horizons]
        self._forget_horizons()

    def _adopt_phase(self, phase: Phase) -> None:
        """Let ``phase`` take the whole minutes, and a copy of it the others.

        The copy is at the same step, so that its first own sample counts as seen already.
        """
        copies = [copy.deepcopy(phase) for _ in range(1, self.phase_count)]
        for twin in copies:
            twin.training = None
        self.phases = [phase, *copies]

    def _forget_horizons(self) -> None:
        while len(self.horizons) > HORIZONS_KEPT:
            oldest = min(self.horizons, key=lambda horizon: self._asked.get(horizon, -1))
            for phase in self.phases:
                phase.drop(oldest)

    def _better_scale(self) -> float | None:
        """Return the mean of the last day if the scale is far below it, else ``None``."""
        recent = self.history.since((self.history.last or 0) - self.resolution.steps_per_day + 1)
        known = recent[np.isfinite(recent)]
        if not len(known):
            return None
        scale = self.phases[0].scale if self.phases else (first_scale(self.history.kept()[1]) or 1.0)
        mean = float(known.mean())
        return mean if mean > RESCALE_FACTOR * scale else None

    def _check_scale_early(self) -> None:
        """Correct the scale while the history is short: the first minutes of a launch say little."""
        if len(self.history) in EARLY_CHECKS and self._better_scale() is not None:
            self._build(self.horizons)

    # --- work off the loop -------------------------------------------------------------------------------------

    def job(self) -> Job | None:
        """Return work that is due, or ``None``. Run it anywhere, then hand its result to ``apply``."""
        if not self.phases:
            scale = first_scale(self.history.kept()[1]) if self._wanted else None
            return self._warm_job(self._wanted, replaces=True, scale=scale) if scale is not None else None
        better = None
        if (self.phases[0].index or 0) >= self._next_scale:
            self._next_scale = (self.phases[0].index or 0) + SCALE_PERIOD
            better = self._better_scale()
        if better is not None:
            return self._warm_job([*self.horizons, *self._wanted], replaces=True, scale=better)
        if self._wanted:
            return self._warm_job(self._wanted, replaces=False)
        return self._refit_job()

    def _refit_job(self) -> RefitJob | None:
        phase = self.phases[0]
        if phase.training is None or phase.index is None or phase.index < self._next_fit:
            return None
        ready = [row for row, count in enumerate(phase.training.count.tolist()) if count >= TRAINING_MINIMUM]
        if not ready:
            return None
        self._next_fit = phase.index + self.resolution.refit_period
        return RefitJob(rows=tuple(phase.training.training(row, phase.tracks[row]) for row in ready))

    def apply(self, result: JobResult) -> None:
        """Use the ``result`` of a job; samples taken since it was handed out are caught up with."""
        if isinstance(result, Refitted):
            for phase in self.phases:
                phase.use(result.coefficients)
            return
        self._take_over(result)

    # --- across restarts ---------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the state as bytes: about 60 KB and 40 KB more per horizon.

        Only the phase of whole minutes is kept: the other one has the same statistics, and is copied from it.
        """
        arrays: snapshot.Arrays = {
            "step_seconds": np.array([self.resolution.step_seconds], dtype=np.int64),
            "next": np.array([self._next_fit, self._next_scale], dtype=np.int64),
            "cap": np.array([self.cap.highest, self.cap.at_seconds, self.cap.seen_seconds]),
            **{f"history.{name}": array for name, array in snapshot.history_arrays(self.history).items()},
        }
        if self.phases:
            arrays |= {f"phase.{name}": array for name, array in snapshot.phase_arrays(self.phases[0]).items()}
        return snapshot.dump(arrays)

    @classmethod
    def restore(
        cls,
        data: bytes,
        settings: PolicySettings,
        *,
        lead_times_seconds: Iterable[float] = (),
        resolution: Resolution = ONE_MINUTE,
    ) -> Self:
        """Return the forecaster that ``snapshot`` saved; what it missed since then is a gap.

        Raises:
            ValueError: ``data`` is damaged, of another version or of another sampling step.
        """
        arrays = snapshot.parse(data)
        forecaster = cls(settings, lead_times_seconds=lead_times_seconds, resolution=resolution)
        try:
            if int(arrays["step_seconds"][0]) != resolution.step_seconds:
                raise ValueError("the saved forecaster state was kept at another sampling step; remove it")
            snapshot.load_history(forecaster.history, arrays)
            forecaster._next_fit, forecaster._next_scale = (int(value) for value in arrays["next"])
            cap = forecaster.cap
            cap.highest, cap.at_seconds, cap.seen_seconds = (float(value) for value in arrays["cap"])
        except KeyError as error:
            raise ValueError(f"the saved forecaster state lacks {error}; remove it to start afresh") from error
        own = {name.removeprefix("phase."): array for name, array in arrays.items() if name.startswith("phase.")}
        if own:
            forecaster._adopt_phase(snapshot.phase_from(resolution, own, training=True))
        forecaster._wanted = [horizon for horizon in forecaster._wanted if horizon not in forecaster.horizons]
        return forecaster

    # --- forecasts ---------------------------------------------------------------------------------------------

    def forecast(
        self,
        *,
        at_seconds: float,
        lead_time_seconds: float,
        last_minute_per_second: float,
        last_half_minute_per_second: float | None = None,
    ) -> DemandForecast | None:
        """Return the demand expected ``lead_time_seconds`` after ``at_seconds``.

        ``None`` while too little is known: fewer than five samples ever, or none for longer than the lead time
        (hold then: the forecaster is blind, which is not the same as quiet). A lead time without state of its own
        is answered by the nearest longer one until its warm-up job is applied.
        """
        self.cap.observe(at_seconds, last_minute_per_second)
        if not self.settings.forecast_enabled:
            return None
        horizon = self._serving(self.horizon(lead_time_seconds))
        phase = self._freshest(at_seconds, horizon)
        if phase is None:
            return None
        point, highest = phase.tracks.index(Track(horizon, False)), phase.tracks.index(Track(horizon, True))
        demoted = bool(phase.scores.demoted[point] or phase.scores.demoted[highest])
        at_horizon = self._quantiles(phase, point, demoted=demoted)
        maximum = self._quantiles(phase, highest, demoted=demoted)
        cap = max(self.cap.at(at_seconds), at_horizon.q50)
        forecast = DemandForecast(
            lead_time_seconds=lead_time_seconds,
            at_horizon=_cut(at_horizon, cap),
            maximum=_cut(maximum, cap),
            rate_cap=cap,
            now=rate_now(last_minute_per_second, last_half_minute_per_second),
            demoted=demoted,
            score=phase.scores.report(point),
            source="mixture, at least persistence" if demoted else "mixture",
        )
        return with_known_loads(
            forecast,
            at_seconds=at_seconds,
            tolerance_seconds=self.resolution.step_seconds,
            loads=self.settings.known_loads,
        )

    def _serving(self, horizon: int) -> int:
        """Return the horizon whose state answers for ``horizon``, and remember that it was asked for."""
        if horizon not in self.horizons and horizon not in self._wanted:
            self._wanted.append(horizon)
            if len(self.history) <= INLINE_STEPS:
                self.prepare(())
        if not self.phases:
            return horizon
        longer = [known for known in self.horizons if known >= horizon]
        serving = min(longer) if longer else max(self.horizons)
        self._asked[serving] = self.phases[0].index or 0
        return serving

    def _freshest(self, at_seconds: float, horizon: int) -> Phase | None:
        best, best_end = None, -math.inf
        for which, phase in enumerate(self.phases):
            if phase.issued_index is None:
                continue
            end = (phase.issued_index + 1 + which / self.phase_count) * self.resolution.step_seconds
            if end > best_end:
                best, best_end = phase, end
        if best is None or at_seconds - best_end > horizon * self.resolution.step_seconds:
            return None
        return best

    def _quantiles(self, phase: Phase, row: int, *, demoted: bool) -> Quantiles:
        z = np.maximum(phase.issued[row], phase.issued_persistence[row]) if demoted else phase.issued[row]
        rates = (phase.scale * np.expm1(np.maximum(z, 0.0)) / self.resolution.step_seconds).tolist()
        return Quantiles(rates[0], rates[1], rates[2])


def rate_now(last_minute_per_second: float, last_half_minute_per_second: float | None) -> float:
    """Return the present rate: of the last minute, or of the last half if that is higher by more than noise."""
    if last_half_minute_per_second is None:
        return last_minute_per_second
    noise = math.sqrt(max(0.0, last_half_minute_per_second) / 30.0)
    return max(last_minute_per_second, last_half_minute_per_second - noise)


def _cut(quantiles: Quantiles, cap: float) -> Quantiles:
    return Quantiles(min(quantiles.q50, cap), min(quantiles.q90, cap), min(quantiles.q99, cap))
