"""Windows of residuals: quantiles without sorting."""

import numpy as np
import pytest

from forebay.forecast.windows import QuantileWindow


def test_quantiles_are_those_of_the_last_values() -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal(500)
    window = QuantileWindow(100)
    for value in values:
        window.push(float(value))
    ranks = np.sort(values[-100:])
    position = 101 * 0.9 - 1.0
    lower = int(position)
    expected = ranks[lower] + (position - lower) * (ranks[lower + 1] - ranks[lower])
    assert window.quantiles((0.9,))[0] == pytest.approx(expected, rel=1e-3)
    assert window.quantiles((0.999,))[0] == pytest.approx(ranks[-1], rel=1e-3)
    assert window.values() == pytest.approx(values[-100:], rel=1e-3)


def test_conformal_rank_covers_the_next_value() -> None:
    """With 9 exchangeable values the .9 quantile is the largest: the next one lies below it in 9 of 10 cases."""
    window = QuantileWindow(9)
    for value in range(9):
        window.push(float(value))
    assert window.quantiles((0.9,)) == (8.0,)


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        QuantileWindow(0)
