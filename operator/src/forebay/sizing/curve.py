"""Expected misses over the whole forecast distribution, as a function of the replicas bought."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import Role, Slo
from forebay.flow.forecast import Quantiles
from forebay.flow.sizing import MissCurve
from forebay.sizing.queueing import miss_share
from forebay.sizing.work import FloatArray, ReplicaWork

_Z90 = 1.2816
_Z99_MINUS_Z90 = 1.0447
_Z_NODES = np.array([-2.0, -1.2, -0.6, -0.2, 0.2, 0.6, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 3.4, 3.9])
_BURST_NODES = np.array([-1.7321, 0.0, 1.7321])
_BURST_WEIGHTS = np.array([1 / 6, 2 / 3, 1 / 6])
_DENSE_LIMIT = 96
"""Up to this many replicas the curve has a point for each; beyond, points are spaced by about 1 %."""


def _node_weights() -> FloatArray:
    edges = (_Z_NODES[1:] + _Z_NODES[:-1]) / 2.0
    below = np.array([0.5 * math.erfc(-edge / math.sqrt(2.0)) for edge in edges])
    return np.diff(np.concatenate(([0.0], below, [1.0])))


_Z_WEIGHTS = _node_weights()


@dataclass(frozen=True, slots=True)
class DemandNodes:
    """A distribution of demand as a few rates (requests per second) with weights that sum to 1."""

    rates: FloatArray
    weights: FloatArray

    @property
    def mean(self) -> float:
        """Return the expected rate."""
        return float(self.rates @ self.weights)


def demand_nodes(quantiles: Quantiles, rate_cap: float) -> DemandNodes:
    """Return the distribution that three quantiles span: normal to q90, its own spread beyond, cut at the cap."""
    below = (quantiles.q90 - quantiles.q50) / _Z90
    above = max(0.0, (quantiles.q99 - quantiles.q90) / _Z99_MINUS_Z90)
    rates = np.where(_Z_NODES < _Z90, quantiles.q50 + below * _Z_NODES, quantiles.q90 + above * (_Z_NODES - _Z90))
    return DemandNodes(np.clip(rates, 0.0, max(rate_cap, 0.0)), _Z_WEIGHTS)


def certain(rate: float) -> DemandNodes:
    """Return a demand that is known exactly."""
    return DemandNodes(np.array([max(rate, 0.0)]), np.array([1.0]))


@dataclass(frozen=True, slots=True)
class SizedCurve:
    """Expected misses per second for 0, 1, 2 ... replicas of one variant."""

    replicas: FloatArray
    misses_per_second: FloatArray
    erlangs: float
    """Mean offered work in busy replicas."""

    def cheapest(self, miss_price_replica_seconds: float, *, at_least: int = 1) -> int:
        """Return the count that minimises replicas + price x misses per second."""
        first = int(np.searchsorted(self.replicas, at_least))
        if first >= len(self.replicas):
            return at_least
        cost = self.replicas[first:] + miss_price_replica_seconds * self.misses_per_second[first:]
        best = first + int(cost.argmin())
        if best < _DENSE_LIMIT:
            return int(self.replicas[best])
        return self._refine(best, miss_price_replica_seconds, at_least)

    def _refine(self, best: int, price: float, at_least: int) -> int:
        """Search the integers beside a sparse point, on the straight line between points."""
        low = int(self.replicas[max(best - 1, 0)])
        high = int(self.replicas[min(best + 1, len(self.replicas) - 1)])
        between = np.arange(max(low, at_least), high + 1, dtype=np.float64)
        cost = between + price * np.interp(between, self.replicas, self.misses_per_second)
        return int(between[int(np.argmin(cost))])

    def misses_at(self, replicas: float) -> float:
        """Return expected misses per second with ``replicas``."""
        if replicas == int(replicas) < min(len(self.replicas), _DENSE_LIMIT):
            return float(self.misses_per_second[int(replicas)])
        return float(np.interp(replicas, self.replicas, self.misses_per_second))

    def hull(self, weight: float = 1.0) -> MissCurve:
        """Return the lower convex hull, misses multiplied by ``weight``.

        The count that minimises replicas + price x misses is a vertex of the hull for every price, so a program
        that sees only the hull buys the same count.
        """
        keep: list[int] = []
        x, y = self.replicas, self.misses_per_second
        for i in range(len(x)):
            while len(keep) >= 2 and _above_chord(x, y, keep[-2], keep[-1], i):
                keep.pop()
            keep.append(i)
        return MissCurve(tuple(float(x[i]) for i in keep), tuple(float(weight * y[i]) for i in keep))


def _above_chord(x: FloatArray, y: FloatArray, first: int, middle: int, last: int) -> bool:
    left = (y[middle] - y[first]) * (x[last] - x[first])
    return bool(left >= (y[last] - y[first]) * (x[middle] - x[first]))


def _grid(largest: int) -> FloatArray:
    if largest <= _DENSE_LIMIT:
        return np.arange(0, largest + 1, dtype=np.float64)
    sparse: list[int] = []
    count = _DENSE_LIMIT
    while count < largest:
        count += max(1, round(0.01 * count))
        sparse.append(min(count, largest))
    return np.concatenate((np.arange(0, _DENSE_LIMIT + 1), sparse)).astype(np.float64)


def miss_curve(role: Role, demand: DemandNodes, burstiness: float, work: ReplicaWork, slo: Slo) -> SizedCurve:
    """Return expected misses per second against replicas, over demand and sub-minute bursts.

    ``burstiness`` is the relative standard deviation of the rate within a minute beyond Poisson noise. Its three
    nodes are Gauss-Hermite points.
    """
    return miss_curves(role, (demand,), burstiness, work, slo)[0]


def miss_curves(
    role: Role, demands: Sequence[DemandNodes], burstiness: float, work: ReplicaWork, slo: Slo
) -> tuple[SizedCurve, ...]:
    """Return the curves of several demands at once, on one grid of replicas."""
    seconds = work.seconds(role)
    peak = max(float(demand.rates.max()) for demand in demands) * seconds
    largest = math.ceil(peak * (1.0 + 2.0 * burstiness) + 4.0 * math.sqrt(peak) + 3.0)
    replicas = _grid(largest)
    bursts = np.maximum(1.0 + burstiness * _BURST_NODES, 0.0)
    rates = np.concatenate([np.multiply.outer(demand.rates, bursts).ravel() for demand in demands])
    shares = miss_share(role, rates[None, :], replicas[:, None], work, slo)
    curves, first = [], 0
    for demand in demands:
        weights = np.multiply.outer(demand.weights * demand.rates, _BURST_WEIGHTS).ravel()
        # The model of mixed replicas is approximate and may rise by a hair; more replicas never miss more.
        misses = np.minimum.accumulate(shares[:, first : first + len(weights)] @ weights)
        curves.append(SizedCurve(replicas, misses, demand.mean * seconds))
        first += len(weights)
    return tuple(curves)
