"""Windows of errors: quantiles of bytes."""

import numpy as np
import pytest

from forebay.forecast.codes import decode, encode
from forebay.forecast.windows import ErrorWindows

ONE = np.array([0])


def filled(values: list[float], size: int, *, share: float = 1.0) -> ErrorWindows:
    windows = ErrorWindows(1, 1, size, unit=0.01, share=share)
    for value in values:
        windows.push(ONE, np.array([value]))
    return windows


def test_quantiles_are_those_of_the_last_values() -> None:
    values = np.random.default_rng(3).standard_normal(500)
    windows = filled(values.tolist(), 100)
    ranks = np.sort(values[-100:])
    position = 101 * 0.9 - 1.0
    lower = int(position)
    expected = ranks[lower] + (position - lower) * (ranks[lower + 1] - ranks[lower])
    assert windows.quantiles(ONE)[0, 1] == pytest.approx(expected, rel=0.05)
    assert windows.values(0) == pytest.approx(values[-100:], rel=0.04, abs=0.001)


def test_conformal_rank_covers_the_next_value() -> None:
    """With 9 exchangeable values the .9 quantile is the largest: the next one lies below it in 9 of 10 cases."""
    windows = filled([float(value) for value in range(9)], 9)
    assert windows.quantiles(ONE)[0, 1] == pytest.approx(8.0, rel=0.04)


def test_windows_fill_apart_and_an_empty_one_says_nothing() -> None:
    windows = ErrorWindows(2, 2, 50, unit=0.01)
    for _ in range(20):
        windows.push(np.array([0, 3]), np.array([1.0, -2.0]))
    found = windows.quantiles(np.arange(4))
    assert found[[0, 3], 0] == pytest.approx([1.0, -2.0], rel=0.04)
    assert np.isnan(found[1:3]).all()
    windows.select(np.array([1]))
    assert windows.quantiles(np.array([1]))[0, 2] == pytest.approx(-2.0, rel=0.04)


def test_a_thinned_window_reaches_further_back_and_misses_no_minute_of_a_clock() -> None:
    """One error in ten is large, always at the same minute: every second value would be all of them or none."""
    values = [5.0 if step % 10 == 0 else 0.1 for step in range(4000)]
    windows = filled(values, 500, share=5.0**-0.5)
    large = (windows.values(0) > 1.0).mean()
    assert large == pytest.approx(0.1, abs=0.01)


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ErrorWindows(1, 1, 0, unit=1.0)


def test_a_byte_is_off_by_a_thirtieth_at_most_and_keeps_gaps() -> None:
    values = np.concatenate([np.geomspace(0.05, 7.0, 500), -np.geomspace(0.05, 7.0, 500)])
    assert decode(encode(values, 0.002), 0.002) == pytest.approx(values, rel=0.036)
    edges = decode(encode(np.array([0.0, np.nan, 1e9, -1e9]), 0.002), 0.002)
    assert edges[0] == 0.0
    assert np.isnan(edges[1])
    assert edges[2] == -edges[3] == pytest.approx(7.2, rel=0.05)
