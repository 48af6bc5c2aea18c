"""Expected misses over the whole forecast distribution, as a function of the number of replicas."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from forebay.flow.fleet import Role, Slo
from forebay.flow.forecast import Quantiles
from forebay.flow.sizing import MissCurve
from forebay.sizing.queueing import miss_share
from forebay.sizing.stack import SloStack, WorkStack
from forebay.sizing.work import FloatArray, ReplicaWork

_Z90 = 1.2816
_Z99 = 2.3263
_Z_NODES = np.linspace(-2.0, 4.0, 25)
_Z_BELOW = _Z_NODES[_Z_NODES < _Z90]
_Z_ABOVE = _Z_NODES[_Z_NODES >= _Z90] - _Z90
_DENSE_LIMIT = 96
"""Up to this many replicas the curve has a point for each; beyond, points are spaced by about 1 %."""
_AT_ONCE = 20_000
"""Cells (replicas x rates, over all pools) that are computed together; more would not fit into the CPU's cache."""


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


def demand_nodes(quantiles: Quantiles, rate_cap: float, step_seconds: float = 60.0) -> DemandNodes:
    """Return the distribution of rates behind three quantiles of counts: normal to q90, its own spread beyond.

    The count of one step of ``step_seconds`` has Poisson noise around its rate. The queueing model already
    includes that noise, so its variance is subtracted from the spread. No rate is above ``rate_cap``.
    """
    noise = max(quantiles.q50, 0.0) / step_seconds
    to90 = _without_noise((quantiles.q90 - quantiles.q50) / _Z90, noise)
    to99 = max(to90 * _Z90, _without_noise((quantiles.q99 - quantiles.q50) / _Z99, noise) * _Z99)
    above = (to99 - to90 * _Z90) / (_Z99 - _Z90)
    offsets = np.concatenate((to90 * _Z_BELOW, to90 * _Z90 + above * _Z_ABOVE))
    return DemandNodes(np.minimum(np.maximum(quantiles.q50 + offsets, 0.0), max(rate_cap, 0.0)), _Z_WEIGHTS)


def _without_noise(deviation: float, variance: float) -> float:
    return math.sqrt(max(deviation * deviation - variance, 0.0))


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

    def misses_at_counts(self, first: int, end: int) -> FloatArray:
        """Return expected misses per second of the whole numbers of replicas from ``first`` up to ``end``."""
        known = len(self.replicas)
        if known > _DENSE_LIMIT:
            counts = np.arange(first, end, dtype=np.float64)
            return np.interp(counts, self.replicas, self.misses_per_second)
        inside = self.misses_per_second[first:end]
        beyond = end - max(first, known)
        return inside if beyond <= 0 else np.concatenate([inside, np.full(beyond, self.misses_per_second[-1])])

    def hull(self, weight: float = 1.0) -> MissCurve:
        """Return the lower convex hull, with misses multiplied by ``weight``.

        The count that minimises replicas + price x misses is a vertex of the hull for every price, so an
        optimiser that is given only the hull chooses the same count.
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


@lru_cache(maxsize=256)
def _grid(largest: int) -> FloatArray:
    if largest <= _DENSE_LIMIT:
        grid = np.arange(0, largest + 1, dtype=np.float64)
    else:
        sparse: list[int] = []
        count = _DENSE_LIMIT
        while count < largest:
            count += max(1, round(0.01 * count))
            sparse.append(min(count, largest))
        grid = np.concatenate((np.arange(0, _DENSE_LIMIT + 1), sparse)).astype(np.float64)
    grid.flags.writeable = False
    return grid


@dataclass(frozen=True, slots=True)
class CurveAsk:
    """Inputs of curves: one or more demands of a role, on one grid of replicas.

    ``burstiness`` is the relative standard deviation of the rate within a minute beyond Poisson noise.
    """

    role: Role
    demands: tuple[DemandNodes, ...]
    burstiness: float
    work: ReplicaWork
    slo: Slo


Curves = tuple[SizedCurve, ...]
"""One curve per demand of an ask."""


def miss_curve(role: Role, demand: DemandNodes, burstiness: float, work: ReplicaWork, slo: Slo) -> SizedCurve:
    """Return expected misses per second against replicas, over demand and sub-minute bursts."""
    return miss_curves([CurveAsk(role, (demand,), burstiness, work, slo)])[0][0]


def miss_curves(asks: Sequence[CurveAsk]) -> list[Curves]:
    """Return the curves of many asks in a few large computations; the numbers are the same as one by one.

    Raises:
        ValueError: something in an ask is not a finite number.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, ask in enumerate(asks):
        sizes = (len(demand.rates) for demand in ask.demands)
        kind = (ask.role, ask.work.latency_limits, len(ask.work.prefill_sample), *sizes)
        alike.setdefault(kind, []).append(index)
    found: dict[int, Curves] = {}
    for indices in alike.values():
        found |= zip(indices, _curves_of_kind([asks[index] for index in indices]), strict=True)
    return [found[index] for index in range(len(asks))]


def _curves_of_kind(asks: Sequence[CurveAsk]) -> list[Curves]:
    """Return the curves of asks of one role that have as many demands and nodes as each other."""
    rates = np.array([np.concatenate([demand.rates for demand in ask.demands]) for ask in asks])
    weights = np.array([np.concatenate([demand.weights for demand in ask.demands]) for ask in asks])
    burstiness = np.array([ask.burstiness for ask in asks])
    seconds = np.array([ask.work.seconds(ask.role) for ask in asks])
    peak = rates.max(axis=1) * seconds
    largest = np.ceil(peak * (1.0 + 2.0 * burstiness) + 4.0 * np.sqrt(peak) + 3.0)
    if not np.isfinite(largest).all():
        raise ValueError("demand, burstiness and work must be finite numbers")
    grids = [_grid(count) for count in largest.astype(int).tolist()]
    shares = weights * rates
    nodes = [len(demand.rates) for demand in asks[0].demands]
    found: dict[int, Curves] = {}
    for chunk in _chunks([len(grid) for grid in grids], rates.shape[1]):
        some = [asks[index] for index in chunk]
        misses = _misses(some, _padded([grids[index] for index in chunk]), rates[chunk], shares[chunk], nodes)
        for place, index in enumerate(chunk):
            grid, ask = grids[index], asks[index]
            found[index] = tuple(
                SizedCurve(grid, of_demand[place, : len(grid)].copy(), demand.mean * seconds[index].item())
                for of_demand, demand in zip(misses, ask.demands, strict=True)
            )
    return [found[index] for index in range(len(asks))]


def _chunks(lengths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield the places of grids of about the same length, in groups of a good size for one computation."""
    chunk: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chunk and (len(chunk) + 1) * lengths[index] * width > _AT_ONCE:
            yield chunk
            chunk = []
        chunk.append(index)
    yield chunk


def _padded(grids: Sequence[FloatArray]) -> FloatArray:
    """Return grids of ascending lengths as rows; shorter ones are extended with further counts of replicas."""
    rows = np.empty((len(grids), len(grids[-1])))
    for row, grid in zip(rows, grids, strict=True):
        row[: len(grid)] = grid
        row[len(grid) :] = grid[-1]
    return rows


def _misses(
    asks: Sequence[CurveAsk], replicas: FloatArray, rates: FloatArray, shares: FloatArray, nodes: Sequence[int]
) -> list[FloatArray]:
    """Return misses per second by ask and replicas, for each demand; the demands' nodes lie one after the other.

    Sums run along the last axis, so the result of one ask does not depend on the others.
    """
    if len(asks) == 1:
        (ask,) = asks
        missed = miss_share(ask.role, rates, replicas.T, ask.work, ask.slo, ask.burstiness)[None]
    else:
        work, slo = WorkStack.of([ask.work for ask in asks]), SloStack.of([ask.slo for ask in asks])
        burstiness = np.array([ask.burstiness for ask in asks])[:, None, None]
        missed = miss_share(asks[0].role, rates[:, None, :], replicas[:, :, None], work, slo, burstiness)
    found, first = [], 0
    for count in nodes:
        mine = missed[:, :, first : first + count]
        weights = shares[:, None, first : first + count]
        # The model of mixed replicas is approximate, and its misses may rise slightly; more replicas never miss
        # more.
        found.append(np.minimum.accumulate((mine * weights).sum(axis=-1), axis=1))
        first += count
    return found
