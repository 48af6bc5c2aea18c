"""Miss curves, and the count that they buy."""

import itertools
import math

import numpy as np
import pytest

from forebay.flow.fleet import Role
from forebay.flow.forecast import Quantiles
from forebay.sizing.curve import SizedCurve, certain, demand_nodes, miss_curve
from forebay.sizing.queueing import miss_share
from forebay.sizing.work import Correction, replica_work
from tests.unit.sizing.models import LENGTHS, PERFORMANCE, SLO

WORK = replica_work(PERFORMANCE, Correction(), LENGTHS, SLO)
Z = tuple(-2.0 + 0.25 * step for step in range(25))


def _phi(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def _size_by_definition(role: Role, quantiles: Quantiles, cap: float, burstiness: float, price: float) -> int:
    """Buy a replica while it saves more than it costs, scanning upwards, straight from the definition."""
    edges = [(a + b) / 2 for a, b in itertools.pairwise(Z)]
    cumulative = [0.0, *map(_phi, edges), 1.0]
    weights = [b - a for a, b in itertools.pairwise(cumulative)]
    noise = quantiles.q50 / 60.0
    s1 = math.sqrt(max(((quantiles.q90 - quantiles.q50) / 1.2816) ** 2 - noise, 0.0))
    s99 = math.sqrt(max(((quantiles.q99 - quantiles.q50) / 2.3263) ** 2 - noise, 0.0))
    q90 = quantiles.q50 + 1.2816 * s1
    s2 = (max(quantiles.q50 + 2.3263 * s99, q90) - q90) / (2.3263 - 1.2816)
    rates = [quantiles.q50 + s1 * z if z < 1.2816 else q90 + s2 * (z - 1.2816) for z in Z]
    rates = [min(max(rate, 0.0), cap) for rate in rates]
    best, best_cost, n = 1, math.inf, 1
    while n < best_cost:
        missed = 0.0
        for weight, rate in zip(weights, rates, strict=True):
            missed += (
                weight
                * rate
                * float(miss_share(role, np.array([rate]), np.array([float(n)]), WORK, SLO, burstiness)[0])
            )
        cost = n + price * missed
        if cost < best_cost - 1e-12:
            best, best_cost = n, cost
        n += 1
    return best


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    "quantiles", [Quantiles(2.0, 3.0, 4.0), Quantiles(40.0, 52.0, 75.0), Quantiles(0.0, 0.1, 9.0)]
)
@pytest.mark.parametrize("price", [0.2, 1.5, 12.0])
def test_the_count_is_the_one_that_the_definition_scans_for(
    role: Role, quantiles: Quantiles, price: float
) -> None:
    curve = miss_curve(role, demand_nodes(quantiles, 80.0), 0.15, WORK, SLO)
    assert curve.cheapest(price) == _size_by_definition(role, quantiles, 80.0, 0.15, price)


def test_demand_has_the_quantiles_it_was_made_from() -> None:
    nodes = demand_nodes(Quantiles(100.0, 140.0, 200.0), 1e9)
    order = np.argsort(nodes.rates)
    cumulative = np.cumsum(nodes.weights[order]) - nodes.weights[order] / 2
    assert np.interp(0.5, cumulative, nodes.rates[order]) == pytest.approx(100.0, rel=0.02)
    assert np.interp(0.9, cumulative, nodes.rates[order]) == pytest.approx(140.0, rel=0.03)
    assert np.interp(0.99, cumulative, nodes.rates[order]) == pytest.approx(200.0, rel=0.05)
    assert nodes.weights.sum() == pytest.approx(1.0)


def test_the_noise_of_counts_is_no_spread_of_the_rate() -> None:
    """Counts of a known rate spread by Poisson noise; the rate behind them does not."""
    rate = 5.0
    deviation = math.sqrt(rate / 60.0)
    nodes = demand_nodes(Quantiles(rate, rate + 1.2816 * deviation, rate + 2.3263 * deviation), 1e9)
    np.testing.assert_allclose(nodes.rates, rate, rtol=1e-3)


def test_a_dearer_miss_buys_more_of_a_large_fleet_step_by_step() -> None:
    """A few nodes of demand made stairs: prices that differed by 2.4 times bought the same fleet."""
    demand = demand_nodes(Quantiles(1500.0, 1700.0, 1900.0), 1e9)
    curve = miss_curve(Role.PREFILL, demand, 0.1, WORK, SLO)
    counts = [curve.cheapest(price) for price in np.geomspace(0.3, 30.0, 40).tolist()]
    assert counts[0] > 80
    assert len(set(counts)) >= 20
    assert max(np.diff(counts)) <= 0.02 * counts[0]


def test_no_demand_above_the_cap_or_below_nothing() -> None:
    nodes = demand_nodes(Quantiles(10.0, 50.0, 500.0), 60.0)
    assert nodes.rates.min() == 0.0
    assert nodes.rates.max() == 60.0


def test_the_hull_is_convex_and_keeps_the_best_count_for_every_price() -> None:
    curve = miss_curve(Role.PREFILL, demand_nodes(Quantiles(30.0, 60.0, 150.0), 150.0), 0.2, WORK, SLO)
    hull = curve.hull()
    slopes = np.diff(hull.misses_per_second) / np.diff(hull.capacity)
    assert hull.capacity[0] == 0.0
    assert np.all(slopes <= 1e-12)
    assert np.all(np.diff(slopes) >= -1e-12)
    for price in np.geomspace(0.01, 100.0, 60):
        on_hull = min(zip(hull.capacity, hull.misses_per_second, strict=True), key=lambda p: p[0] + price * p[1])
        assert int(on_hull[0]) == curve.cheapest(float(price), at_least=0)


def test_a_large_pool_is_sized_on_a_sparse_curve_as_on_a_dense_one() -> None:
    rate = 9_000.0
    curve = miss_curve(Role.PREFILL, certain(rate), 0.0, WORK, SLO)
    counts = np.arange(0.0, curve.replicas[-1] + 1)
    missed = rate * miss_share(Role.PREFILL, np.full(len(counts), rate), counts, WORK, SLO)
    dense = SizedCurve(counts, missed, curve.erlangs)
    assert len(curve.replicas) < len(counts) / 2
    assert abs(curve.cheapest(1.0) - dense.cheapest(1.0)) <= 0.005 * dense.cheapest(1.0) + 1


def test_larger_pools_run_at_higher_utilisation() -> None:
    used = []
    for rate in (10.0, 100.0, 1000.0):
        curve = miss_curve(Role.PREFILL, certain(rate), 0.0, WORK, SLO)
        used.append(curve.erlangs / curve.cheapest(20 * 0.08))
    assert used[0] < used[1] < used[2] < 1.0
