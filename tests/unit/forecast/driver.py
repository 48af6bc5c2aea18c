"""Drives a forecaster over counts, as the operator does, and keeps what it said."""

from collections.abc import Iterable

import numpy as np

from forebay.flow.forecast import DemandForecast
from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import ONE_MINUTE, Forecaster, Resolution

FIRST_DAY = 20_000
"""Any midnight (UTC), in days since the epoch."""


class Driver:
    """Feeds counts step by step from a midnight on, runs the jobs that are due, and asks after every step."""

    def __init__(
        self,
        *,
        horizon: int = 5,
        resolution: Resolution = ONE_MINUTE,
        settings: PolicySettings | None = None,
        jobs: bool = True,
    ) -> None:
        self.jobs = jobs
        self.resolution = resolution
        self.lead_time_seconds = horizon * resolution.step_seconds - 1.0
        self.index = FIRST_DAY * resolution.steps_per_day
        self.forecaster = Forecaster(
            settings or PolicySettings(), lead_times_seconds=[self.lead_time_seconds], resolution=resolution
        )

    @property
    def now_seconds(self) -> float:
        """Return the end of the newest step."""
        return float(self.index * self.resolution.step_seconds)

    def warm(self, counts: FloatArray) -> None:
        """Feed history in one pass."""
        self.forecaster.warm(counts, start_index=self.index)
        self.index += len(counts)

    def ask(self, count: float = 0.0, *, lead_time_seconds: float | None = None) -> DemandForecast | None:
        """Ask now."""
        return self.forecaster.forecast(
            at_seconds=self.now_seconds,
            lead_time_seconds=self.lead_time_seconds if lead_time_seconds is None else lead_time_seconds,
            last_minute_per_second=count / self.resolution.step_seconds,
        )

    def feed(self, counts: Iterable[float]) -> list[DemandForecast | None]:
        """Feed live counts and return the forecast after each."""
        found = []
        for count in counts:
            self.index += 1
            self.forecaster.update(self.now_seconds, float(count))
            job = self.forecaster.job() if self.jobs else None
            if job is not None:
                self.forecaster.apply(job.run())
            found.append(self.ask(float(count)))
        return found


def quantiles(forecasts: Iterable[DemandForecast | None], *, maximum: bool = False) -> FloatArray:
    """Return (forecasts, 3) in requests per second; NaN where there was none."""
    rows = []
    for forecast in forecasts:
        if forecast is None:
            rows.append((np.nan, np.nan, np.nan))
            continue
        chosen = forecast.maximum if maximum else forecast.at_horizon
        rows.append((chosen.q50, chosen.q90, chosen.q99))
    return np.array(rows)
