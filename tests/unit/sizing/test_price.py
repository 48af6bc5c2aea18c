"""The price of a miss is the one at which the model expects as many misses as the objective allows."""

import numpy as np
import pytest

from forebay.flow.fleet import Role
from forebay.sizing.price import (
    PRICES,
    SLACK,
    RoleModel,
    RolePrice,
    Spending,
    misses_at_prices,
    role_prices,
)
from tests.unit.sizing.test_regret import curve

HALF_LIFE = 43_200.0
RATE = 10.0
SHARES = 0.2 / PRICES
"""Share of requests that misses at each price, in the tests' model."""


def model(price: float | None, shares: object = SHARES) -> RoleModel:
    """Return a model whose replicas are those that pay at ``price``."""
    at_prices = RATE * np.asarray(shares)
    now = 0.0 if price is None else float(np.interp(price, PRICES, at_prices))
    return RoleModel(misses_at_prices=at_prices, misses_with_what_is=now, requests_per_second=RATE)


def run(
    spending: Spending, *, target: float, rounds: int, missed: dict[Role, float], shares: object = SHARES
) -> dict[Role, RolePrice]:
    prices: dict[Role, RolePrice] = {}
    for _ in range(rounds):
        counts = {role: share * RATE * 15.0 for role, share in missed.items()}
        spending.take(
            finished=RATE * 15.0, missed=counts, hopeless={}, elapsed=15.0, seen=15.0, half_life=HALF_LIFE
        )
        models = {role: model(spending.roles[role].price, shares) for role in missed}
        prices = role_prices(spending, models, target=target, half_life=HALF_LIFE, elapsed=15.0, seen=15.0)
    return prices


@pytest.mark.parametrize("target", [0.9, 0.95, 0.99, 0.999])
def test_a_model_that_is_right_spends_what_is_allowed(target: float) -> None:
    spending, share = Spending(cold=False), 0.001
    for _ in range(4000):
        prices = run(spending, target=target, rounds=1, missed={Role.SERVE: share})
        share = float(np.interp(prices[Role.SERVE].price, PRICES, SHARES))
    assert share == pytest.approx((1.0 - target) * (1.0 - SLACK), rel=0.25)
    assert prices[Role.SERVE].bias == pytest.approx(1.0, rel=0.2)


def test_a_higher_target_has_a_higher_price() -> None:
    found = [
        run(Spending(cold=False), target=target, rounds=40, missed={Role.SERVE: 0.0})[Role.SERVE].price
        for target in (0.5, 0.9, 0.95, 0.99, 0.999)
    ]
    assert found == sorted(found)
    assert found[-1] > 50 * found[0]


def test_a_model_that_predicts_too_many_misses_is_corrected_per_role() -> None:
    missed = {Role.PREFILL: 0.0005, Role.DECODE: 0.02}
    prices = run(Spending(cold=False), target=0.97, rounds=2000, missed=missed)
    assert prices[Role.PREFILL].bias < prices[Role.DECODE].bias
    assert prices[Role.PREFILL].price < prices[Role.DECODE].price
    assert prices[Role.PREFILL].allowed_share > prices[Role.DECODE].allowed_share


def test_a_pool_without_history_is_more_careful_at_first() -> None:
    cold, warm = (
        run(Spending(cold=cold), target=0.99, rounds=4, missed={Role.SERVE: 0.0})[Role.SERVE]
        for cold in (True, False)
    )
    assert cold.price > warm.price


def test_misses_by_surprise_raise_the_price_no_more_than_bounded() -> None:
    calm = run(Spending(cold=False), target=0.99, rounds=2000, missed={Role.SERVE: 0.0085})[Role.SERVE]
    shocked = Spending(cold=False)
    run(shocked, target=0.99, rounds=2000, missed={Role.SERVE: 0.0085})
    after = run(shocked, target=0.99, rounds=20, missed={Role.SERVE: 1.0})[Role.SERVE]
    assert calm.price < after.price < 8.0 * calm.price


def test_what_no_idle_system_could_serve_is_not_steered_by() -> None:
    spending = Spending(cold=False)
    for _ in range(200):
        spending.take(
            finished=150.0,
            missed={Role.PREFILL: 15.0},
            hopeless={Role.PREFILL: 15.0},
            elapsed=15.0,
            seen=15.0,
            half_life=HALF_LIFE,
        )
    assert spending.missed == 0.0
    assert spending.roles[Role.PREFILL].missed == 0.0


def test_the_curve_says_what_each_price_would_miss() -> None:
    found = misses_at_prices(curve(8.0), 0.5, 8.0)
    assert np.all(np.diff(found) <= 1e-12)
    assert found[0] == 8.0
    assert found[-1] < 1e-3


def test_time_in_which_nothing_was_counted_changes_no_bias() -> None:
    spending = Spending(cold=False)
    before = run(spending, target=0.99, rounds=500, missed={Role.SERVE: 0.004})[Role.SERVE]
    for _ in range(500):
        after = role_prices(
            spending, {Role.SERVE: model(before.price)}, target=0.99, half_life=HALF_LIFE, elapsed=15.0, seen=15.0
        )
    assert after[Role.SERVE].bias == pytest.approx(before.bias, rel=1e-6)


def test_a_week_in_which_the_pool_was_not_seen_is_no_week_of_predictions() -> None:
    spending, week = Spending(cold=False), 604_800.0
    before = run(spending, target=0.99, rounds=500, missed={Role.SERVE: 0.004})[Role.SERVE]
    counts = {Role.SERVE: 0.004 * RATE * 15.0}
    spending.take(finished=RATE * 15.0, missed=counts, hopeless={}, elapsed=week, seen=15.0, half_life=HALF_LIFE)
    after = role_prices(
        spending, {Role.SERVE: model(before.price)}, target=0.99, half_life=HALF_LIFE, elapsed=week, seen=15.0
    )[Role.SERVE]
    assert spending.seconds < 60.0
    assert after.bias == pytest.approx(1.0, rel=0.1) or before.bias < after.bias <= 1.0
