"""Errors by the minute of the hour."""

import numpy as np
import pytest

from forebay.forecast.clock import HourClock

ROW = np.array([0])


def learned(spread_of_minute_zero: float) -> HourClock:
    clock = HourClock(1, 60)
    rng = np.random.default_rng(2)
    for index in range(60 * 100):
        spread = spread_of_minute_zero if index % 60 == 0 else 1.0
        clock.learn(index, np.array([0]), spread * rng.standard_normal(1))
    return clock


def test_a_rough_minute_is_found() -> None:
    clock = learned(4.0)
    rough, usual = clock.factors(ROW, np.array([60])), clock.factors(ROW, np.array([61]))
    assert rough[0] > 2.5
    assert usual[0] == pytest.approx(0.95, abs=0.2)


def test_chance_is_not_taken_for_a_clock() -> None:
    clock = learned(1.0)
    factors = [float(clock.factors(ROW, np.array([minute]))[0]) for minute in range(60)]
    assert factors == pytest.approx([1.0] * 60, abs=0.1)
