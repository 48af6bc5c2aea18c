"""Invariants of the forecaster whatever the counts."""

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.forecast.windows import ErrorWindows

ONE = np.array([0])
COUNTS = st.lists(
    st.one_of(st.just(math.nan), st.floats(0.0, 1e7), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60
)


@settings(max_examples=25)
@given(counts=COUNTS, lead_time=st.floats(0.0, 4000.0))
def test_forecasts_are_finite_ordered_and_below_the_cap(counts: list[float], lead_time: float) -> None:
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=[lead_time])
    for minute, count in enumerate(counts, start=1):
        forecaster.update(minute * 60.0, count)
        forecast = forecaster.forecast(
            at_seconds=minute * 60.0, lead_time_seconds=lead_time, last_minute_per_second=count / 60.0
        )
        if forecast is None:
            continue
        for found in (forecast.at_horizon, forecast.maximum):
            assert 0.0 <= found.q50 <= found.q90 <= found.q99 <= forecast.rate_cap
            assert math.isfinite(found.q99)


@settings(max_examples=12)
@given(counts=COUNTS)
@example(counts=[0.0] * 12 + [100.0])  # the experts' weights, kept for a few steps, must be saved too
def test_saving_and_restoring_changes_no_forecast(counts: list[float]) -> None:
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=[60.0])
    for minute, count in enumerate(counts, start=1):
        forecaster.update(minute * 60.0, count)
    restored = Forecaster.restore(forecaster.snapshot(), PolicySettings())
    end = (len(counts) + 1) * 60.0
    asked = []
    for one in (forecaster, restored):
        one.update(end, 100.0)
        asked.append(one.forecast(at_seconds=end, lead_time_seconds=60.0, last_minute_per_second=2.0))
    before, after = asked
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        np.testing.assert_allclose(
            [after.at_horizon.q50, after.maximum.q99],
            [before.at_horizon.q50, before.maximum.q99],
            rtol=1e-9,
        )


@given(values=st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=80), size=st.integers(1, 20))
def test_a_window_holds_the_last_values(values: list[float], size: int) -> None:
    windows = ErrorWindows(1, 1, size, unit=0.002)
    for value in values:
        windows.push(ONE, np.array([value]))
    kept = np.array(values[-size:])
    np.testing.assert_allclose(windows.values(0), kept, rtol=0.034, atol=1e-4)
    low, middle, high = windows.quantiles(ONE)[0]
    assert windows.values(0).min() <= low <= middle <= high <= windows.values(0).max()
