"""Convex curves of misses against capacity, and the cost of having less capacity than wanted."""

from dataclasses import dataclass

import numpy as np

from forebay.flow.sizing import MissCurve
from forebay.flow.trace import FloatArray

FLOOR_WEIGHT = 1000.0
"""Replica prices per reference replica below what is wanted: more than any curve can be worth."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvexCurve:
    """Convex, non-increasing, piecewise linear: ``value[i]`` at ``capacity[i]``; flat beyond the last point."""

    capacity: FloatArray
    value: FloatArray

    def at(self, capacity: float) -> float:
        """Return the value at ``capacity``; left of the first point the first segment goes on."""
        if len(self.capacity) > 1 and capacity < self.capacity[0]:
            return float(self.value[0] + self.slopes[0] * (capacity - self.capacity[0]))
        return float(np.interp(capacity, self.capacity, self.value))

    def times(self, factor: float) -> "ConvexCurve":
        """Return the curve with its values multiplied by ``factor`` (not negative)."""
        return ConvexCurve(self.capacity, self.value * factor)

    @property
    def slopes(self) -> FloatArray:
        """Return the slope of each segment, non-decreasing and at most 0."""
        return np.asarray(np.diff(self.value) / np.diff(self.capacity))


def lower_hull(curve: MissCurve) -> ConvexCurve:
    """Return the greatest convex minorant of ``curve``.

    A saturated queue misses everything, so a miss curve is flat before it falls. The minimum of a linear cost plus
    the curve always lies on the hull, so nothing is lost by replacing the one with the other.

    Raises:
        ValueError: if the curve is empty or its capacities do not ascend.
    """
    if not curve.capacity or len(curve.capacity) != len(curve.misses_per_second):
        raise ValueError("a miss curve needs as many miss rates as capacities, and at least one")
    if any(b <= a for a, b in zip(curve.capacity, curve.capacity[1:], strict=False)):
        raise ValueError("the capacities of a miss curve must ascend")
    hull: list[tuple[float, float]] = []
    lowest = float("inf")
    for capacity, misses in zip(curve.capacity, curve.misses_per_second, strict=True):
        lowest = min(lowest, misses)
        _push(hull, (capacity, lowest))
    points = np.asarray(hull, dtype=np.float64)
    return ConvexCurve(points[:, 0], points[:, 1])


def _push(hull: list[tuple[float, float]], point: tuple[float, float]) -> None:
    while len(hull) >= 2:
        (x1, y1), (x2, y2) = hull[-2], hull[-1]
        if (y2 - y1) * (point[0] - x1) < (point[1] - y1) * (x2 - x1):
            break
        hull.pop()
    hull.append(point)


def worth_of(order: MissCurve, *, wanted: float, usd_per_miss_rate: float, usd_per_capacity: float) -> ConvexCurve:
    """Return what a lack of capacity costs, in US dollars per hour: nothing at ``wanted`` and beyond.

    Below ``wanted`` every reference replica costs `FLOOR_WEIGHT` times ``usd_per_capacity`` and the misses that it
    would have saved: it is missing only where limits keep it away, and these then fall where least is missed.

    Args:
        order: misses per second against reference replicas, at the lead time.
        wanted: reference replicas to have.
        usd_per_miss_rate: US dollars per hour of one miss per second.
        usd_per_capacity: US dollars per hour of one reference replica.
    """
    ordering, wanted = lower_hull(order), max(0.0, wanted)
    knots = np.unique(np.concatenate([ordering.capacity[ordering.capacity < wanted], [0.0, wanted]]))
    middles = (knots[1:] + knots[:-1]) / 2
    usd = _steepness(ordering, middles) * usd_per_miss_rate + FLOOR_WEIGHT * usd_per_capacity
    drop = np.concatenate([[0.0], np.cumsum(usd * np.diff(knots))])
    return _merge(ConvexCurve(knots, drop[-1] - drop))


def _steepness(curve: ConvexCurve, at: FloatArray) -> FloatArray:
    """Return minus the slope at ``at``; 0 beyond the last point."""
    if len(curve.capacity) < 2:
        return np.zeros_like(at)
    index = np.searchsorted(curve.capacity, at, side="right") - 1
    slopes = np.concatenate([-curve.slopes, [0.0]])
    return np.asarray(slopes[np.clip(index, 0, len(slopes) - 1)])


def _merge(curve: ConvexCurve) -> ConvexCurve:
    """Drop the points between segments of equal slope."""
    if len(curve.capacity) < 3:
        return curve
    slopes = curve.slopes
    scale = max(1e-12, float(np.abs(slopes).max()))
    keep = np.concatenate([[True], np.abs(np.diff(slopes)) > 1e-12 * scale, [True]])
    return ConvexCurve(curve.capacity[keep], curve.value[keep])
