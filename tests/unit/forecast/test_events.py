"""What traffic does to forecasters: flash crowds, level shifts, dead weekends, launches, and traces that stop."""

import math

import numpy as np

from forebay.forecast import TEN_MINUTES
from tests.unit.forecast.driver import Driver, quantiles
from tests.unit.forecast.traffic import DAY, daily, on_off


def test_a_flash_crowd_is_followed_and_forgotten() -> None:
    calm = daily(0.5, mean=1200.0, swing=0.2, seed=1)
    crowd = 4.0 * daily(0.03, mean=1200.0, swing=0.0, seed=2)
    driver = Driver()
    driver.warm(calm)
    forecasts = driver.feed(crowd)
    during = quantiles(forecasts)
    after = quantiles(driver.feed(daily(0.1, mean=1200.0, swing=0.0, seed=3)))
    assert any(forecast is not None and forecast.demoted for forecast in forecasts), "it loses to persistence"
    assert during[8:, 0].min() > 0.75 * 80.0, "so within eight minutes it says no less than persistence"
    assert during[:, 2].max() < 2.2 * 80.0, "and the cap holds"
    assert after[10, 0] < 1.3 * 20.0, "and goes when the crowd goes"
    assert after[120:, 2].max() < 2.0 * 20.0, "two hours later nothing is kept in reserve for it"


def test_a_level_shift_is_covered_from_the_first_hour_on() -> None:
    driver = Driver()
    driver.warm(daily(0.5, mean=1200.0, swing=0.2, seed=4))
    shifted = 1.8 * daily(1.0, mean=1200.0, swing=0.2, seed=5)[DAY // 2 :]
    found = quantiles(driver.feed(shifted))
    actual = shifted[60 + 5 :] / 60.0
    assert np.mean(actual <= found[60:-5, 2]) > 0.97
    assert np.mean(np.abs(found[60:-5, 0] / actual - 1.0)) < 0.12


def test_monday_after_a_dead_weekend_is_covered() -> None:
    """Ten-minute steps: five working days, two days at a fiftieth, then Monday."""
    week = daily(8.0, mean=1200.0, noise=0.03, seed=6)[::10] * 10.0
    dead = slice(5 * 144, 7 * 144)
    week[dead] = np.random.default_rng(7).poisson(week[dead] / 50.0)
    driver = Driver(horizon=1, resolution=TEN_MINUTES, jobs=False)
    found = quantiles(driver.feed(week))
    saturday = week[5 * 144 + 72 : 7 * 144 - 12] / 600.0
    assert np.median(found[5 * 144 + 72 : 7 * 144 - 12, 0] / saturday) < 1.3, "the weekend costs what it needs"
    monday = week[7 * 144 + 1 :] / 600.0
    assert np.mean(monday <= found[7 * 144 : -1, 2]) > 0.97


def test_a_launch_renews_the_scale_of_the_transform() -> None:
    """A scale thousands of times too small would make the 99th percentile explode."""
    driver = Driver()
    driver.warm(np.random.default_rng(8).poisson(0.3, 200).astype(np.float64))
    ramp = np.random.default_rng(9).poisson(np.geomspace(1.0, 6000.0, 40)).astype(np.float64)
    driver.feed(ramp)
    found = quantiles(driver.feed(daily(0.2, mean=6000.0, swing=0.0, noise=0.02, seed=10)))
    assert found[-60:, 2].max() < 2.0 * 100.0
    assert found[-60:, 2].min() > 1.02 * 100.0


def test_traffic_that_stops_is_followed_to_zero() -> None:
    driver = Driver()
    driver.warm(daily(0.3, mean=1200.0, seed=11))
    found = quantiles(driver.feed(np.zeros(90)))
    assert found[20, 0] < 0.5
    assert found[-1, 1] < 2.0
    assert np.isfinite(found).all()


def test_telemetry_that_stops_is_not_quiet() -> None:
    driver = Driver(horizon=5)
    driver.warm(daily(0.3, mean=1200.0, seed=12))
    before = driver.ask()
    found = driver.feed([math.nan] * 10)
    assert before is not None
    assert all(forecast is not None and forecast.at_horizon == before.at_horizon for forecast in found[:5])
    assert found[5:] == [None] * 5


def test_a_gap_teaches_nothing() -> None:
    """After two hours without samples the forecast is as before, not drawn towards zero."""
    driver = Driver()
    driver.warm(daily(0.3, mean=1200.0, swing=0.0, seed=13))
    driver.feed([math.nan] * 120)
    after = driver.feed(daily(0.01, mean=1200.0, swing=0.0, seed=14))[0]
    assert after is not None
    assert 0.9 * 20.0 < after.at_horizon.q50 < 1.1 * 20.0
    assert after.at_horizon.q99 < 1.6 * 20.0


def test_bursts_are_expected_while_it_is_silent() -> None:
    """On/off traffic: the maximum over five minutes covers the burst to come, and stays below the cap."""
    counts = on_off(0.7, seed=15)
    driver = Driver(horizon=5)
    driver.warm(counts[: DAY // 2])
    forecasts = driver.feed(counts[DAY // 2 :])
    found = quantiles(forecasts, maximum=True)
    tops = np.array([counts[DAY // 2 + k + 1 : DAY // 2 + k + 6].max() / 60.0 for k in range(len(found) - 5)])
    assert 0.85 < np.mean(tops <= found[:-5, 1]) < 0.97
    assert found[:, 2].max() < 1.3 * counts.max() / 60.0
