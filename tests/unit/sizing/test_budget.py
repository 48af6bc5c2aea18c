"""The error budget and the price of a miss."""

import math

import pytest

from forebay.flow.settings import PolicySettings
from forebay.sizing.budget import ErrorBudget, price_factor

SETTINGS = PolicySettings()


def _spent(share: float, *, hours: float = 24.0) -> ErrorBudget:
    budget = ErrorBudget()
    budget.push(missed=share * 1e6, finished=1e6, elapsed=hours * 3600.0, half_life=21_600.0)
    return budget


def test_an_untouched_window_says_nothing() -> None:
    budget = ErrorBudget()
    assert budget.attainment is None
    assert budget.left(0.99) is None
    assert budget.error(target=0.99, settings=SETTINGS) == 0.0


def test_spending_as_allowed_leaves_the_price_alone() -> None:
    budget = _spent(0.01 * (1.0 - SETTINGS.budget_slack))
    assert budget.error(target=0.99, settings=SETTINGS) == pytest.approx(0.0)
    assert price_factor(0.0, SETTINGS) == 1.0


def test_saving_cuts_the_price_further_than_overspending_raises_it() -> None:
    saved = _spent(0.0).error(target=0.99, settings=SETTINGS)
    overspent = _spent(0.5).error(target=0.99, settings=SETTINGS)
    assert saved == SETTINGS.budget_error_min
    assert overspent == SETTINGS.budget_error_max
    assert price_factor(saved, SETTINGS) == pytest.approx(math.exp(-0.5))
    assert 1.0 / price_factor(saved, SETTINGS) > price_factor(overspent, SETTINGS)


def test_the_first_minutes_do_not_overreact() -> None:
    assert abs(_spent(0.02, hours=0.05).error(target=0.99, settings=SETTINGS)) < 0.1
    assert _spent(0.02).error(target=0.99, settings=SETTINGS) == SETTINGS.budget_error_max


def test_a_silence_does_not_move_the_price() -> None:
    budget = ErrorBudget()
    for _ in range(120):
        budget.push(missed=0.0, finished=900.0, elapsed=15.0, half_life=21_600.0)
    before = budget.error(target=0.99, settings=SETTINGS)
    for _ in range(20):
        budget.push(missed=0.0, finished=1.0, elapsed=15.0, half_life=21_600.0)
    assert before == pytest.approx(budget.error(target=0.99, settings=SETTINGS), abs=0.05)


def test_the_budget_left_is_a_share_and_old_misses_fade() -> None:
    budget = _spent(0.02)
    assert budget.left(0.99) == pytest.approx(-1.0)
    assert budget.attainment == pytest.approx(0.98)
    budget.push(missed=0.0, finished=1e6, elapsed=21_600.0, half_life=21_600.0)
    assert budget.left(0.99) == pytest.approx(1.0 - 0.01e6 / 0.015e6)
