"""The error budget."""

import pytest

from forebay.sizing.budget import MissWindow, fading_half_life


def _spent(share: float, *, hours: float = 24.0) -> MissWindow:
    budget = MissWindow()
    budget.push(missed=share * 1e6, finished=1e6, elapsed=hours * 3600.0, half_life=21_600.0)
    return budget


def test_an_untouched_window_says_nothing() -> None:
    budget = MissWindow()
    assert budget.attainment is None
    assert budget.left(0.99) is None


def test_the_budget_left_is_a_share_and_old_misses_fade() -> None:
    budget = _spent(0.02)
    assert budget.left(0.99) == pytest.approx(-1.0)
    assert budget.attainment == pytest.approx(0.98)
    budget.push(missed=0.0, finished=1e6, elapsed=21_600.0, half_life=21_600.0)
    assert budget.left(0.99) == pytest.approx(1.0 - 0.01e6 / 0.015e6)


def test_the_burn_rate_is_misses_over_those_allowed() -> None:
    budget = MissWindow()
    assert budget.burn_rate(0.99) is None
    budget.push(missed=30.0, finished=1000.0, elapsed=15.0, half_life=fading_half_life(3600.0))
    assert budget.burn_rate(0.99) == pytest.approx(3.0)
    assert budget.burn_rate(0.9) == pytest.approx(0.3)
