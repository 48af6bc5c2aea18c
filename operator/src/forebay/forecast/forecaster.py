"""The forecaster of one pool's demand: quantiles at the pool's lead times."""

import math
from collections.abc import Iterable
from typing import Self

import numpy as np

from forebay.flow.forecast import DemandForecast, Quantiles
from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import snapshot
from forebay.forecast.cap import RateCap
from forebay.forecast.follower import Follower
from forebay.forecast.future import OutsideForecast, with_known_loads
from forebay.forecast.jobs import Warmed, WarmJob
from forebay.forecast.phase import MAX_HORIZON, StreamForecaster
from forebay.forecast.resolution import ONE_MINUTE, Resolution
from forebay.forecast.samples import SampleClock, Taken
from forebay.forecast.state import SeriesState
from forebay.forecast.tracks import Track

MEDIAN_HEADROOM = 1.6
"""The cap is at least this many times the median: it shall stop absurd forecasts, not new maxima."""


class Forecaster:
    """Forecasts of one series of request counts.

    It reads no clock: samples carry their time. There is one instance per pool. It must not be used from two
    threads, but ``job().run()`` may run in another thread meanwhile.
    """

    def __init__(
        self,
        settings: PolicySettings,
        *,
        lead_times_seconds: Iterable[float] = (),
        resolution: Resolution = ONE_MINUTE,
    ) -> None:
        self.external: OutsideForecast | None = None
        """The user's own forecast, replaced whenever a newer one is read."""
        self.resolution = resolution
        self._clock = SampleClock(resolution)
        self._cap = RateCap(settings)
        self._state = SeriesState(resolution, self._clock, [self.horizon(lead) for lead in lead_times_seconds])

    @property
    def settings(self) -> PolicySettings:
        """The policy's constants and known loads; may be replaced at any time."""
        return self._cap.settings

    @settings.setter
    def settings(self, settings: PolicySettings) -> None:
        self._cap.settings = settings

    def horizon(self, lead_time_seconds: float) -> int:
        """Return the whole steps ahead at which capacity ordered now serves its first full step, 240 at most.

        Raises:
            ValueError: the lead time is negative or not a number.
        """
        if not lead_time_seconds >= 0.0:
            raise ValueError(f"a lead time must be zero or more seconds; got {lead_time_seconds}")
        return int(min(MAX_HORIZON, lead_time_seconds // self.resolution.step_seconds + 1))

    @property
    def sample_seconds(self) -> float:
        """Return the time between the ends of two samples: half a step at one-minute steps."""
        return self._clock.sample_seconds

    @property
    def horizons(self) -> tuple[int, ...]:
        """Return the horizons, in steps, that have state of their own."""
        return self._state.horizons

    # --- samples -----------------------------------------------------------------------------------------------

    def warm(self, counts: FloatArray, *, start_index: int) -> None:
        """Replay history before the first live sample, in one pass.

        ``counts`` are requests per step, NaN where unknown; ``start_index`` is the first one's step number since
        the epoch (Unix minutes at one-minute steps). Takes about .2 ms per step and lead time.
        """
        for index, count in enumerate(counts.tolist(), start=start_index):
            self._state.history.put(index, count)
        recent = counts[-self.resolution.steps_per_day :]
        known = recent[np.isfinite(recent)]
        if len(known):
            end_seconds = (start_index + len(counts)) * self.resolution.step_seconds
            self._cap.observe(end_seconds, float(known.max()) / self.resolution.step_seconds)
        self._cap.seen_seconds += float(np.isfinite(counts).sum()) * self.resolution.step_seconds
        self._state.build()

    def update(self, end_seconds: float, count: float) -> Taken:
        """Take the requests counted in the step that ended at ``end_seconds`` (Unix), NaN if there is no sample.

        With one-minute steps, give both the minutes that end at :00 and those that end at :30, each in order.
        Missing steps count as gaps. A duplicate or a late sample changes nothing. After a clock was set back, the
        second sample with the earlier time resets the forecaster to that time.

        Raises:
            ValueError: ``count`` is negative.
        """
        if count < 0.0:
            raise ValueError(f"a count of requests cannot be negative; got {count} (was a counter reset missed?)")
        count = count if math.isfinite(count) else math.nan
        which, index = self._clock.place(end_seconds)
        taken = self._clock.judge(which, index, self._state.newest(which))
        if taken in (Taken.DUPLICATE, Taken.LATE):
            return taken
        if taken is Taken.CLOCK_STEPPED:
            self._state.rewind(which, index - 1)
            self._cap.rewind(end_seconds)
        if math.isfinite(count):
            self._cap.observe(end_seconds, count / self.resolution.step_seconds)
            self._cap.seen_seconds += self.resolution.step_seconds / self._clock.phases
        self._state.take(which, index, count, self.external)
        return taken

    # --- work off the loop -------------------------------------------------------------------------------------

    def prepare(self, lead_times_seconds: Iterable[float]) -> None:
        """Build the state for these lead times now (about 2 s per week of history and lead time)."""
        self._state.prepare([self.horizon(lead) for lead in lead_times_seconds])

    def job(self) -> WarmJob | None:
        """Return work that is due, or ``None``. Run it in any thread, then give its result to ``apply``.

        There is one job at a time: the warm-up of a requested lead time that has no state yet, or of all lead
        times once the traffic is much larger than the scale.
        """
        return self._state.job()

    def apply(self, result: Warmed) -> None:
        """Use the ``result`` of a job; samples taken since it was handed out are caught up with."""
        self._state.apply(result)

    # --- across restarts ---------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the state as bytes: about 30 KB and 40 KB more per horizon.

        Only the stream of whole minutes is saved: the other one forecasts with the model of that stream.
        """
        state, cap = self._state, self._cap
        arrays: snapshot.Arrays = {
            "step_seconds": np.array([self.resolution.step_seconds], dtype=np.int64),
            "cap": np.array([cap.highest, cap.at_seconds, cap.seen_seconds]),
            **{f"history.{name}": array for name, array in snapshot.history_arrays(state.history).items()},
        }
        if state.model is not None:
            arrays |= {f"phase.{name}": array for name, array in snapshot.phase_arrays(state.model).items()}
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
        """Return the forecaster that ``snapshot`` saved. The time since then counts as a gap.

        Raises:
            ValueError: ``data`` is damaged, of another version or of another sampling step.
        """
        arrays = snapshot.parse(data)
        forecaster = cls(settings, lead_times_seconds=lead_times_seconds, resolution=resolution)
        state, cap = forecaster._state, forecaster._cap
        try:
            if int(arrays["step_seconds"][0]) != resolution.step_seconds:
                raise ValueError("the saved forecaster state was kept at another sampling step; remove it")
            snapshot.load_history(state.history, arrays)
            cap.highest, cap.at_seconds, cap.seen_seconds = (float(value) for value in arrays["cap"])
        except KeyError as error:
            raise ValueError(f"the saved forecaster state lacks {error}; remove it to start afresh") from error
        own = {name.removeprefix("phase."): array for name, array in arrays.items() if name.startswith("phase.")}
        if own:
            state.adopt(snapshot.phase_from(resolution, own))
        return forecaster

    # --- forecasts ---------------------------------------------------------------------------------------------

    def forecast(
        self,
        *,
        at_seconds: float,
        lead_time_seconds: float,
        last_minute_per_second: float,
        now_per_second: float | None = None,
    ) -> DemandForecast | None:
        """Return the demand expected ``lead_time_seconds`` after ``at_seconds``.

        ``now_per_second`` is the present rate, where it is known to be above that of the last minute.

        ``None`` while too little is known: there were fewer than five samples (and no known load), or no sample
        for longer than the lead time. The caller must hold then, because missing samples do not mean that demand
        is low. A lead time without state uses that of the nearest longer one until its warm-up job is applied.
        """
        self._cap.observe(at_seconds, last_minute_per_second)
        if not self.settings.forecast_enabled:
            return None
        horizon = self._state.serving(self.horizon(lead_time_seconds))
        stream = self._freshest(at_seconds, horizon) if horizon is not None else None
        now = last_minute_per_second if now_per_second is None else now_per_second
        model = self._state.model
        if horizon is None or stream is None or model is None:
            return None if model is not None else self._known_only(at_seconds, lead_time_seconds, now)
        point, highest = model.tracks.index(Track(horizon, False)), model.tracks.index(Track(horizon, True))
        demoted = bool(model.scores.demoted[point] or model.scores.demoted[highest])
        at_horizon = self._quantiles(model.scale, stream, point, demoted=demoted)
        maximum = self._quantiles(model.scale, stream, highest, demoted=demoted)
        cap = max(self._cap.at(at_seconds), MEDIAN_HEADROOM * at_horizon.q50)
        forecast = DemandForecast(
            lead_time_seconds=lead_time_seconds,
            at_horizon=_cut(at_horizon, cap),
            maximum=_cut(maximum, cap),
            rate_cap=cap,
            now=now,
            demoted=demoted,
            score=model.scores.report(point),
            source="mixture, at least persistence" if demoted else "mixture",
        )
        return self._raised(forecast, at_seconds)

    def _raised(self, forecast: DemandForecast, at_seconds: float) -> DemandForecast:
        return with_known_loads(
            forecast,
            at_seconds=at_seconds,
            tolerance_seconds=self.resolution.step_seconds,
            loads=self.settings.known_loads,
        )

    def _known_only(self, at_seconds: float, lead_time_seconds: float, now: float) -> DemandForecast | None:
        """Return a forecast from known loads alone, before there is any history; ``None`` if no load is known."""
        now = now if math.isfinite(now) else 0.0
        flat = Quantiles(now, now, now)
        reactive = DemandForecast(
            lead_time_seconds=lead_time_seconds,
            at_horizon=flat,
            maximum=flat,
            rate_cap=max(now, self._cap.at(at_seconds)),
            now=now,
            source="present rate",
        )
        raised = self._raised(reactive, at_seconds)
        return raised if raised != reactive else None

    def _freshest(self, at_seconds: float, horizon: int) -> StreamForecaster | Follower | None:
        best: StreamForecaster | Follower | None = None
        best_end = -math.inf
        for which, stream in enumerate(self._state.streams):
            if stream.issued_index is None:
                continue
            end = self._clock.end_seconds(which, stream.issued_index)
            if end > best_end:
                best, best_end = stream, end
        if best is None or at_seconds - best_end > horizon * self.resolution.step_seconds:
            return None
        return best

    def _quantiles(
        self, scale: float, stream: StreamForecaster | Follower, row: int, *, demoted: bool
    ) -> Quantiles:
        z = np.maximum(stream.issued[row], stream.issued_persistence[row]) if demoted else stream.issued[row]
        rates = (scale * np.expm1(np.maximum(z, 0.0)) / self.resolution.step_seconds).tolist()
        return Quantiles(rates[0], rates[1], rates[2])


def _cut(quantiles: Quantiles, cap: float) -> Quantiles:
    return Quantiles(min(quantiles.q50, cap), min(quantiles.q90, cap), min(quantiles.q99, cap))
