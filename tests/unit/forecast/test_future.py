"""Known loads by lead time, and the user's own forecast."""

import numpy as np
import pytest

from forebay.flow.forecast import DemandForecast, Quantiles
from forebay.flow.settings import KnownLoad
from forebay.forecast import OutsideForecast
from forebay.forecast.future import with_known_loads
from forebay.forecast.tracks import Track

LAUNCH = KnownLoad(start_seconds=1000.0, end_seconds=2000.0, requests_per_second=50.0, name="launch")


def at(seconds: float, *, lead_time: float = 300.0) -> DemandForecast:
    low = Quantiles(1.0, 2.0, 3.0)
    quiet = DemandForecast(lead_time_seconds=lead_time, at_horizon=low, maximum=low, rate_cap=3.5, now=1.0)
    return with_known_loads(quiet, at_seconds=seconds, tolerance_seconds=60.0, loads=[LAUNCH])


@pytest.mark.parametrize(
    ("seconds", "horizon_raised", "maximum_raised"),
    [
        (600.0, False, False),
        (660.0, True, True),
        (1500.0, True, True),
        (1800.0, False, True),
        (2001.0, False, False),
    ],
)
def test_a_known_load_counts_when_the_lead_time_reaches_it(
    seconds: float, horizon_raised: bool, maximum_raised: bool
) -> None:
    forecast = at(seconds)
    assert (forecast.at_horizon.q50 == 50.0) is horizon_raised
    assert (forecast.maximum.q50 == 50.0) is maximum_raised
    assert (forecast.rate_cap >= 50.0) is maximum_raised
    assert ("launch" in forecast.source) is maximum_raised


def test_an_external_forecast_speaks_for_the_times_it_has() -> None:
    external = OutsideForecast(
        target_seconds=np.array([0.0, 600.0, 1200.0]), requests_per_second=np.array([1.0, 7.0, 1.0])
    )
    tracks = (Track(5, False), Track(15, True), Track(40, False))
    points = external.points(300.0, 60, tracks)
    assert points[0] == pytest.approx(60.0 * (1.0 + 6.0 * 570.0 / 600.0))
    assert points[1] == pytest.approx(60.0 * 7.0, rel=0.06)
    assert np.isnan(points[2])


def test_an_external_forecast_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        OutsideForecast(target_seconds=np.array([2.0, 1.0]), requests_per_second=np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="as many"):
        OutsideForecast(target_seconds=np.array([1.0]), requests_per_second=np.array([]))
