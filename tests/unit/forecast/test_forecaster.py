"""The forecaster as its callers see it: samples in, forecasts out."""

import math

import numpy as np
import pytest

from forebay.flow.forecast import DemandForecast
from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import Forecaster, Taken
from tests.unit.forecast.traffic import DAY, daily

START = 20_000 * DAY


def fed(counts: FloatArray, *, lead_times: tuple[float, ...] = (299.0,), start: int = START) -> Forecaster:
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=lead_times)
    forecaster.warm(counts, start_index=start)
    return forecaster


def ask(forecaster: Forecaster, end_index: int, lead_time: float = 299.0) -> DemandForecast | None:
    return forecaster.forecast(
        at_seconds=end_index * 60.0, lead_time_seconds=lead_time, last_minute_per_second=10.0
    )


def test_quantiles_ascend_and_surround_a_steady_rate() -> None:
    counts = np.random.default_rng(1).poisson(600.0, DAY // 2).astype(np.float64)
    forecast = ask(fed(counts), START + DAY // 2)
    assert forecast is not None
    for quantiles in (forecast.at_horizon, forecast.maximum):
        assert quantiles.q50 <= quantiles.q90 <= quantiles.q99
    assert forecast.at_horizon.q50 == pytest.approx(10.0, rel=0.05)
    assert 10.0 < forecast.at_horizon.q90 < 11.5
    assert forecast.maximum.q50 > forecast.at_horizon.q50


def test_no_forecast_before_five_samples() -> None:
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=(60.0,))
    for minute in range(4):
        forecaster.update((START + minute + 1) * 60.0, 30.0)
        assert ask(forecaster, START + minute + 1, 60.0) is None
    forecaster.update((START + 5) * 60.0, 30.0)
    assert ask(forecaster, START + 5, 60.0) is not None


def test_blind_is_not_quiet() -> None:
    forecaster = fed(daily(0.2))
    end = START + len(daily(0.2))
    before = ask(forecaster, end)
    assert before is not None
    for minute in range(1, 10):
        forecaster.update((end + minute) * 60.0, math.nan)
        held = ask(forecaster, end + minute)
        if minute <= 5:
            assert held is not None
            assert held.at_horizon == before.at_horizon
        else:
            assert held is None


@pytest.mark.parametrize(("shift", "expected"), [(0, Taken.DUPLICATE), (-3, Taken.LATE)])
def test_old_samples_change_nothing(shift: int, expected: Taken) -> None:
    forecaster = fed(daily(0.2))
    end = START + len(daily(0.2))
    before = ask(forecaster, end)
    assert forecaster.update((end + shift) * 60.0, 1e6) is expected
    assert ask(forecaster, end) == before


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="counter reset"):
        fed(daily(0.2)).update((START + 500) * 60.0, -1.0)
