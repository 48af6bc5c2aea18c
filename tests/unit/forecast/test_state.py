"""State: horizons on demand, work off the loop, restarts, clocks that step, and what users know."""

import numpy as np
import pytest

from forebay.flow.settings import KnownLoad, PolicySettings
from forebay.forecast import TEN_MINUTES, Forecaster, OutsideForecast, Taken
from forebay.forecast.history import CountHistory
from forebay.forecast.jobs import WarmJob
from forebay.forecast.snapshot import MAGIC, VERSION, pack_curve, unpack_curve
from tests.unit.forecast.driver import Driver, quantiles
from tests.unit.forecast.traffic import daily


def warmed(days: float = 0.2, *, seed: int = 20, horizon: int = 5) -> Driver:
    driver = Driver(horizon=horizon)
    driver.warm(daily(days, mean=1200.0, seed=seed))
    return driver


# --- horizons ------------------------------------------------------------------------------------------------


def test_a_new_lead_time_is_served_by_the_nearest_longer_until_its_state_is_warm() -> None:
    driver = warmed(0.3)
    first = driver.ask(lead_time_seconds=130.0)
    assert first is not None
    assert set(driver.forecaster.horizons) == {5}
    job = driver.forecaster.job()
    assert isinstance(job, WarmJob)
    result = job.run()
    driver.jobs = False
    driver.feed(daily(0.01, mean=1200.0, seed=21))
    driver.forecaster.apply(result)
    assert set(driver.forecaster.horizons) == {5, 3}
    own, other = driver.ask(lead_time_seconds=130.0), driver.ask()
    assert own is not None
    assert other is not None
    assert own.at_horizon != other.at_horizon


def test_a_horizon_that_was_warmed_late_knows_as_much_as_one_from_the_start() -> None:
    counts = daily(0.2, mean=1200.0, seed=22)
    late = Driver(horizon=5)
    late.warm(counts)
    late.forecaster.prepare([119.0])
    early = Driver(horizon=2)
    early.warm(counts)
    next_counts = daily(0.21, mean=1200.0, seed=22)[-10:]
    late.feed(next_counts)
    early.feed(next_counts)
    asked = late.ask(lead_time_seconds=119.0)
    expected = early.ask(lead_time_seconds=119.0)
    assert asked is not None
    assert expected is not None
    assert asked.at_horizon.q99 == pytest.approx(expected.at_horizon.q99, rel=0.01)


def test_the_horizon_that_nobody_asks_for_is_dropped() -> None:
    driver = warmed(0.1)
    for minutes in (1, 2, 3, 4):
        driver.ask(lead_time_seconds=60.0 * minutes - 1.0)
        driver.feed([1200.0])
    assert len(driver.forecaster.horizons) == 4
    assert 4 in driver.forecaster.horizons
    assert driver.ask() is not None


@pytest.mark.parametrize("lead_time", [-1.0, float("nan")])
def test_an_impossible_lead_time_is_refused(lead_time: float) -> None:
    with pytest.raises(ValueError, match="lead time"):
        warmed(0.05).ask(lead_time_seconds=lead_time)


def test_a_lead_time_of_three_hours_has_a_horizon_of_its_own() -> None:
    """Lead times above an hour were answered as if they were an hour."""
    driver = warmed(0.3, horizon=5)
    assert driver.forecaster.horizon(3 * 3600.0) == 181
    forecast = driver.ask(lead_time_seconds=3 * 3600.0)
    job = driver.forecaster.job()
    if job is not None:
        driver.forecaster.apply(job.run())
        forecast = driver.ask(lead_time_seconds=3 * 3600.0)
    assert forecast is not None
    assert 181 in driver.forecaster.horizons


# --- restarts ------------------------------------------------------------------------------------------------


def test_a_restored_forecaster_goes_on_as_the_one_that_was_saved() -> None:
    driver = warmed(0.3)
    saved = driver.forecaster.snapshot()
    assert len(saved) < 300_000
    other = Driver()
    other.forecaster = Forecaster.restore(saved, PolicySettings())
    other.index = driver.index
    assert other.forecaster.horizons == driver.forecaster.horizons
    after = daily(0.02, mean=1200.0, seed=24)
    expected, found = quantiles(driver.feed(after)), quantiles(other.feed(after))
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_restart_is_a_gap() -> None:
    driver = warmed(0.2)
    other = Driver()
    other.forecaster = Forecaster.restore(driver.forecaster.snapshot(), PolicySettings())
    other.index = driver.index + 45
    forecast = other.feed([1200.0])[0]
    assert forecast is not None
    assert forecast.at_horizon.q50 > 5.0


def test_what_cannot_be_read_is_refused_with_a_remedy() -> None:
    saved = warmed(0.05).forecaster.snapshot()
    newer = saved[:4] + (9).to_bytes(2, "big") + saved[6:]
    with pytest.raises(ValueError, match=rf"version 9 .* reads version {VERSION}.*warms up"):
        Forecaster.restore(newer, PolicySettings())
    with pytest.raises(ValueError, match="not the saved state"):
        Forecaster.restore(b"hello, world", PolicySettings())
    with pytest.raises(ValueError, match="damaged"):
        Forecaster.restore(saved[: len(saved) // 2], PolicySettings())
    with pytest.raises(ValueError, match="damaged"):
        Forecaster.restore(MAGIC + VERSION.to_bytes(2, "big"), PolicySettings())
    with pytest.raises(ValueError, match="sampling step"):
        Forecaster.restore(saved, PolicySettings(), resolution=TEN_MINUTES)


def test_an_empty_forecaster_can_be_saved() -> None:
    restored = Forecaster.restore(Forecaster(PolicySettings()).snapshot(), PolicySettings())
    assert restored.horizons == ()


def test_curves_of_codes_are_kept_exactly() -> None:
    curve = np.array([0, 65_535, 3, 40_000, 65_535], dtype=np.uint16)
    assert unpack_curve(pack_curve(curve)).tolist() == curve.tolist()


def test_counts_are_kept_within_a_few_thousandths_and_for_less_long_once_there_is_a_model() -> None:
    history = CountHistory(100)
    counts = [0.0, 7.0, np.nan, 1e6, *[60.0] * 40]
    for index, count in enumerate(counts, start=500):
        history.put(index, count)
    start, kept = history.kept()
    assert start == 500
    assert kept == pytest.approx(np.array(counts), rel=2e-4, nan_ok=True)
    history.shorten(30)
    start, kept = history.kept()
    assert (start, history.last, len(history)) == (514, 543, 30)
    history.put(545, 61.0)
    assert history.kept()[1][-3:] == pytest.approx([60.0, np.nan, 61.0], rel=2e-4, nan_ok=True)


# --- clocks --------------------------------------------------------------------------------------------------


def test_a_clock_stepped_back_is_followed_with_the_second_sample() -> None:
    driver = warmed(0.3)
    driver.index -= 40
    driver.index += 1
    assert driver.forecaster.update(driver.now_seconds, 1200.0) is Taken.LATE
    driver.index += 1
    assert driver.forecaster.update(driver.now_seconds, 1200.0) is Taken.CLOCK_STEPPED
    found = quantiles(driver.feed([1200.0] * 3))
    assert np.isfinite(found).all()
    assert found[-1, 0] == pytest.approx(20.0, rel=0.5)


def test_one_stray_old_sample_does_not_turn_the_clock_back() -> None:
    driver = warmed(0.3)
    newest = driver.index
    assert driver.forecaster.update((newest - 100) * 60.0, 5.0) is Taken.LATE
    assert driver.forecaster.update((newest + 1) * 60.0, 1200.0) is Taken.YES
    assert driver.forecaster.update((newest - 50) * 60.0, 5.0) is Taken.LATE


def test_both_half_minutes_are_fed_and_the_fresher_answers() -> None:
    driver = warmed(0.3)
    driver.feed([1200.0])
    whole = driver.ask()
    assert driver.forecaster.update(driver.now_seconds + 30.0, 2400.0) is Taken.YES
    half = driver.forecaster.forecast(
        at_seconds=driver.now_seconds + 30.0, lead_time_seconds=299.0, last_minute_per_second=40.0
    )
    assert whole is not None
    assert half is not None
    assert half.at_horizon.q50 > 1.1 * whole.at_horizon.q50


# --- what users know -----------------------------------------------------------------------------------------


def test_known_loads_and_the_switch_work_on_a_running_forecaster() -> None:
    driver = warmed(0.2)
    start = driver.now_seconds + 200.0
    driver.forecaster.settings = PolicySettings(
        known_loads=(
            KnownLoad(start_seconds=start, end_seconds=start + 600.0, requests_per_second=500.0, name="sale"),
        )
    )
    raised = driver.ask()
    assert raised is not None
    assert raised.at_horizon.q50 == raised.maximum.q99 == raised.rate_cap == 500.0
    assert raised.source.endswith("raised by sale")
    driver.forecaster.settings = PolicySettings(forecast_enabled=False)
    assert driver.ask() is None


def test_a_known_load_needs_no_history() -> None:
    """A launch that is announced must find capacity although nobody has seen a request yet."""
    launch = KnownLoad(start_seconds=1000.0, end_seconds=5000.0, requests_per_second=40.0, name="launch")
    forecaster = Forecaster(PolicySettings(known_loads=(launch,)))
    before, due = (
        forecaster.forecast(at_seconds=at, lead_time_seconds=300.0, last_minute_per_second=0.0)
        for at in (500.0, 800.0)
    )
    assert before is None
    assert due is not None
    assert due.at_horizon.q50 == due.maximum.q50 == 40.0
    assert due.score is None


def test_a_right_external_forecast_takes_over_and_a_wrong_one_does_not() -> None:
    """White noise that only the user's source can foresee."""
    counts = np.random.default_rng(25).choice([600.0, 2400.0], 500)
    errors = []
    for shift in (0, 1):
        driver = Driver(horizon=2)
        ends = np.asarray((driver.index + np.arange(len(counts)) + 0.5) * 60.0, dtype=np.float64)
        driver.forecaster.external = OutsideForecast(
            target_seconds=ends, requests_per_second=np.roll(counts, shift) / 60.0
        )
        found = quantiles(driver.feed(counts))
        errors.append(np.mean(np.abs(found[300:-2, 0] - counts[302:] / 60.0)))
    assert errors[0] < 1.5
    assert errors[1] > 5.0
