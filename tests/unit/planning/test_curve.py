"""Convex curves: hulls lose no minimum, and the band is convex with the present capacity as its kink."""

import numpy as np
import pytest

from forebay.flow.sizing import MissCurve
from forebay.planning.curve import band, lower_hull
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


def test_the_band_is_steeper_below_the_present_capacity() -> None:
    joined = band(
        queue_curve(4.0),
        queue_curve(8.0),
        present=7.0,
        order_floor=0.0,
        release_floor=0.0,
        usd_per_miss_rate=20.0,
        usd_per_capacity=1.0,
    )
    assert np.all(np.diff(joined.slopes) >= -1e-9)
    gained_by_one_more = joined.at(7.0) - joined.at(8.0)
    lost_by_one_fewer = joined.at(6.0) - joined.at(7.0)
    order = lower_hull(queue_curve(4.0))
    assert gained_by_one_more == pytest.approx(20.0 * (order.at(7.0) - order.at(8.0)))
    assert lost_by_one_fewer > gained_by_one_more * 10


def test_below_the_order_floor_nothing_is_cheaper() -> None:
    joined = band(
        queue_curve(1.0),
        queue_curve(1.0),
        present=0.0,
        order_floor=5.0,
        release_floor=9.0,
        usd_per_miss_rate=1.0,
        usd_per_capacity=2.0,
    )
    assert joined.at(4.0) - joined.at(5.0) > 1000
    assert joined.at(5.0) - joined.at(9.0) < 2.0, "the release floor orders nothing"
