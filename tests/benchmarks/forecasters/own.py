"""Forebay's forecaster over a recorded series, exactly as the operator drives it."""

import time
from dataclasses import dataclass

import numpy as np

from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import ONE_MINUTE, Forecaster
from tests.benchmarks.forecasters.series import Series

EPOCH_DAY = 20_000
"""Any midnight (UTC)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnRun:
    """Quantiles per horizon and origin in counts per step, and what they cost."""

    quantiles: dict[int, FloatArray]
    update_milliseconds: float
    """CPU per series and step, all horizons, both targets, both half-minute phases at one minute."""
    refit_seconds_per_day: float
    state_kilobytes: float


def run(series: Series, horizons: tuple[int, ...]) -> OwnRun:
    """Feed ``series`` step by step, ask for every horizon after each, and run the jobs that come due."""
    step = series.resolution.step_seconds
    leads = {horizon: horizon * step - 1.0 for horizon in horizons}
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=leads.values(), resolution=series.resolution)
    found = {horizon: np.full((len(series.counts), 3), np.nan) for horizon in horizons}
    first = EPOCH_DAY * series.resolution.steps_per_day
    timed_from = len(series.counts) - series.resolution.steps_per_day
    update_seconds = refit_seconds = 0.0
    for index, count in enumerate(series.counts.tolist(), start=first):
        t, end = index - first, (index + 1) * float(step)
        began = time.process_time()
        forecaster.update(end, count)
        for horizon, lead in leads.items():
            forecast = forecaster.forecast(
                at_seconds=end, lead_time_seconds=lead, last_minute_per_second=count / step
            )
            if forecast is not None:
                chosen = forecast.at_horizon
                found[horizon][t] = np.array([chosen.q50, chosen.q90, chosen.q99]) * step
        if t >= timed_from:
            if series.resolution is ONE_MINUTE:
                forecaster.update(end + 30.0, count)
            update_seconds += time.process_time() - began
        began = time.process_time()
        job = forecaster.job()
        if job is not None:
            forecaster.apply(job.run())
            refit_seconds += time.process_time() - began
    return OwnRun(
        quantiles=found,
        update_milliseconds=1000.0 * update_seconds / series.resolution.steps_per_day,
        refit_seconds_per_day=refit_seconds / series.days,
        state_kilobytes=len(forecaster.snapshot()) / 1000.0,
    )
