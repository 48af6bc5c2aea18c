"""Convex curves: hulls lose no minimum, and a lack of what is wanted costs more the more misses it makes."""

import numpy as np
import pytest

from forebay.flow.sizing import MissCurve
from forebay.planning.curve import lower_hull, worth_of
from tests.unit.planning.problems import queue_curve


def test_the_hull_bridges_the_saturated_plateau() -> None:
    hull = lower_hull(queue_curve(3.0))
    assert hull.at(0.0) == 3.0
    assert np.all(np.diff(hull.slopes) >= -1e-12)
    assert hull.at(5.0) == pytest.approx(3.0 * 0.25**2)


def test_the_hull_keeps_the_minimum_of_every_linear_cost() -> None:
    curve = queue_curve(7.4)
    hull = lower_hull(curve)
    for price in (0.5, 3.0, 20.0, 400.0):
        direct = min(n + price * m for n, m in zip(curve.capacity, curve.misses_per_second, strict=True))
        bridged = min(n + price * hull.at(n) for n in curve.capacity)
        assert bridged == pytest.approx(direct)


@pytest.mark.parametrize(
    ("capacity", "misses"), [((), ()), ((0.0, 1.0), (1.0,)), ((0.0, 0.0), (1.0, 0.5)), ((1.0, 0.5), (1.0, 0.5))]
)
def test_a_broken_curve_is_refused(capacity: tuple[float, ...], misses: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="miss curve"):
        lower_hull(MissCurve(capacity, misses))


def test_what_is_wanted_is_worth_its_price_and_no_more_is_worth_anything() -> None:
    worth = worth_of(queue_curve(8.0), wanted=9.5, usd_per_miss_rate=20.0, usd_per_capacity=2.0)
    assert np.all(np.diff(worth.slopes) >= -1e-9)
    assert worth.at(9.5) == worth.at(30.0) == 0.0
    assert worth.at(9.0) - worth.at(9.5) > 1000
    missed = lower_hull(queue_curve(8.0))
    difference = (worth.at(4.0) - worth.at(5.0)) - (worth.at(9.0) - worth.at(9.5)) / 0.5
    lost = (missed.at(4.0) - missed.at(5.0)) - (missed.at(9.0) - missed.at(9.5)) / 0.5
    assert difference == pytest.approx(20.0 * lost), "where limits bind, they fall where least is missed"


def test_nothing_wanted_is_worth_nothing() -> None:
    worth = worth_of(queue_curve(1.0), wanted=0.0, usd_per_miss_rate=1.0, usd_per_capacity=2.0)
    assert worth.at(0.0) == worth.at(9.0) == 0.0
