"""Series that stand still between the ticks of a clock: found, forecast apart, and kept across restarts."""

import numpy as np
import pytest

from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import ONE_MINUTE, Forecaster
from forebay.forecast.phase import Phase
from forebay.forecast.samples import Taken
from forebay.forecast.ticks import ChangeClock
from forebay.forecast.tracks import Track
from tests.unit.forecast.driver import Driver, quantiles
from tests.unit.forecast.traffic import DAY, daily

NEW = Track(9, True)


def ticking(days: float, *, seed: int = 40) -> FloatArray:
    """Return counts that jump every ten minutes by 10 % and stand still but for .5 % of noise between."""
    rng = np.random.default_rng(seed)
    windows = int(days * 144)
    level = np.zeros(windows)
    for k in range(1, windows):
        level[k] = 0.9 * level[k - 1] + 0.1 * rng.standard_normal()
    minutes = np.repeat(60_000.0 * np.exp(level), 10)
    return np.asarray(np.rint(minutes * np.exp(0.005 * rng.standard_normal(len(minutes)))))


def clock_of(counts: FloatArray) -> ChangeClock:
    clock = ChangeClock(60)
    for index, change in enumerate(np.diff(np.log1p(counts)).tolist(), start=1):
        clock.learn(index, change)
    return clock


@pytest.fixture(scope="module")
def warmed() -> Driver:
    driver = Driver(horizon=5)
    driver.warm(ticking(1.25))
    return driver


def test_ways_that_cross_no_tick_are_calm() -> None:
    clock = clock_of(ticking(1.5))
    assert [clock.calm(minute, 5) for minute in range(10)] == [True] * 5 + [False] * 5
    assert not any(clock.calm(minute, 15) for minute in range(60)), "every way of 15 minutes crosses a tick"


def test_ordinary_traffic_has_no_clock() -> None:
    clock = clock_of(daily(2.0, seed=41))
    assert clock.table == pytest.approx([1.0] * 60, abs=0.25)
    assert not any(clock.calm(minute, horizon) for minute in range(60) for horizon in (1, 5, 15))


def test_a_day_must_have_passed() -> None:
    clock = clock_of(ticking(0.5))
    assert not any(clock.calm(minute, 5) for minute in range(60))


def test_a_minute_now_and_then_is_no_class_of_its_own() -> None:
    """One rough minute an hour comes too seldom to be learned apart."""
    rng = np.random.default_rng(42)
    clock = ChangeClock(60)
    for index in range(2 * DAY):
        clock.learn(index, float(rng.standard_normal() * (10.0 if index % 60 == 7 else 1.0)))
    assert not any(clock.calm(minute, 1) for minute in range(60))


def test_forecasts_within_a_window_are_narrow_and_those_across_a_tick_are_not(warmed: Driver) -> None:
    counts = ticking(1.5)[-360:]
    found = quantiles(warmed.feed(counts))[:-5]
    spread = found[:, 2] / found[:, 0]
    inside = np.arange(len(spread)) % 10 < 5
    assert np.median(spread[inside]) < 1.03
    assert np.median(spread[~inside]) > 1.10
    actual = counts[5:] / 60.0
    for kind in (inside, ~inside):
        assert np.mean(actual[kind] <= found[kind, 2]) > 0.96


def test_what_was_learned_apart_survives_a_restart(warmed: Driver) -> None:
    other = Driver(horizon=5)
    saved = warmed.forecaster.snapshot()
    assert len(saved) < 300_000
    other.forecaster = Forecaster.restore(saved, PolicySettings())
    other.index = warmed.index
    assert other.forecaster.horizons == warmed.forecaster.horizons
    after = ticking(0.02, seed=43)
    assert quantiles(other.feed(after)) == pytest.approx(quantiles(warmed.feed(after)), rel=0.05)


def test_tracks_that_come_and_go_take_both_of_their_rows_with_them() -> None:
    phase, other = (Phase(ONE_MINUTE, tracks, 1.0) for tracks in ((Track(2, False), Track(3, False)), (NEW,)))
    phase.divide()
    phase.regressions.weights[:, 0] = [2.0, 3.0, 2.5, 3.5]
    other.regressions.weights[:, 0] = [9.0]
    phase.adopt(other)
    assert phase.regressions.weights[:, 0].tolist() == [2.0, 3.0, 9.0, 2.5, 3.5, 9.0]
    phase.drop(2)
    assert phase.regressions.weights[:, 0].tolist() == [3.0, 9.0, 3.5, 9.0]
    assert len(phase.scores.scored) == 2


def test_a_lead_time_whose_ways_miss_the_ticks_joins_one_whose_ways_all_cross_them() -> None:
    """Protects: the two did not fit together, and the forecaster that they left behind failed in every round."""
    rng, start = np.random.default_rng(0), 1_440 * 20_000
    counts = np.repeat(600.0 * np.exp(0.3 * rng.standard_normal(577)), 5)[:2_880]
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=[240.0])
    forecaster.warm(counts, start_index=start)
    forecaster.prepare([240.0])
    forecaster._state.next_fit = 10**9
    forecaster.prepare([60.0])
    horizons = forecaster.horizons
    assert {forecaster.horizon(60.0), forecaster.horizon(240.0)} <= set(horizons)
    assert forecaster.update((start + len(counts) + 1) * 60.0, 600.0) is Taken.YES
    assert Forecaster.restore(forecaster.snapshot(), PolicySettings()).horizons == horizons
    forecaster._state.next_fit = 0
    refit = forecaster.job()
    assert refit is not None
    forecaster.apply(refit.run())
