"""Invariants of the plan: optimal on small fleets, always feasible, monotone in demand and in supply."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.flow.fleet import PoolKey
from forebay.flow.plan import PlanProblem
from forebay.planning import solve
from forebay.planning.check import objective
from forebay.planning.highs import SolverOptions
from forebay.planning.joint import solve_jointly
from forebay.planning.normal import normalise
from tests.unit.planning.problems import option, pool, problem, queue_curve, role_need

EXACT = SolverOptions(relative_gap=1e-6, curve_tolerance=0.0)

erlangs = st.floats(0.1, 6.0)
prices = st.sampled_from([0.7, 1.0, 1.9, 3.6])
speeds = st.sampled_from([0.4, 1.0, 1.7])


@st.composite
def fleets(draw: st.DrawFn) -> PlanProblem:
    """Two pools of one role over two GPU types with little stock."""
    pools = []
    for name in ("a", "b"):
        options = [
            option(
                kind,
                node_pool=kind,
                usd_per_replica_hour=draw(prices),
                speed=draw(speeds),
                min_replicas=draw(st.integers(0, 1)),
                max_replicas=draw(st.integers(1, 4)),
                current=draw(st.integers(0, 4)),
            )
            for kind in ("x", "y")
        ]
        needs = [role_need(queue_curve(draw(erlangs)), price=draw(st.sampled_from([5.0, 20.0, 60.0])))]
        pools.append(pool(name, needs, options, priority=draw(st.integers(0, 1))))
    stock = {"x": draw(st.integers(0, 6)), "y": draw(st.integers(0, 6))}
    return problem(*pools, gpu_stock=stock)


@settings(max_examples=60)
@given(fleets())
def test_a_joint_plan_is_the_best_of_all_plans(fleet: PlanProblem) -> None:
    """Against brute force over every combination of counts."""
    pools, limits = normalise(fleet)
    answer = solve_jointly(pools, limits, weights={}, wishes={}, options=EXACT)
    keys = [(p.key, c) for p in pools for c in p.choices]
    best = math.inf
    for numbers in itertools.product(*(range(c.lowest, c.highest + 1) for _, c in keys)):
        counts: dict[PoolKey, dict[str, int]] = {p.key: {} for p in pools}
        for (key, choice), number in zip(keys, numbers, strict=True):
            counts[key][choice.name] = number
        value = objective(pools, limits, counts, weights={}, wishes={})
        best = min(best, math.inf if value is None else value)
    assert answer.objective <= best * (1 + 2e-4) + 1e-6


@settings(max_examples=60)
@given(fleets())
def test_every_plan_keeps_every_limit(fleet: PlanProblem) -> None:
    plan = solve(fleet)
    pools, limits = normalise(fleet)
    for one in pools:
        for choice in one.choices:
            assert choice.lowest <= plan.replicas[one.key][choice.name] <= choice.highest
    assert objective(pools, limits, plan.replicas, weights={}, wishes={}) is not None


@settings(max_examples=40)
@given(st.floats(0.2, 12.0), st.floats(1.0, 1.6), st.integers(0, 12))
def test_more_demand_never_buys_less(load: float, growth: float, current: int) -> None:
    def bought(erlang: float) -> int:
        need = role_need(queue_curve(erlang))
        plan = solve(problem(pool("chat", [need], [option("a", current=current)])))
        return plan.replicas[PoolKey("test", "chat")]["a"]

    assert bought(load * growth) >= bought(load)


@settings(max_examples=40)
@given(fleets())
def test_more_stock_never_costs_more(fleet: PlanProblem) -> None:
    pools, limits = normalise(fleet)
    richer = problem(*fleet.pools, gpu_stock={name: gpus + 2 for name, gpus in fleet.gpu_stock.items()})
    more_pools, more_limits = normalise(richer)
    tight = solve_jointly(pools, limits, weights={}, wishes={}, options=EXACT)
    loose = solve_jointly(more_pools, more_limits, weights={}, wishes={}, options=EXACT)
    assert loose.objective <= tight.objective * (1 + 2e-4) + 1e-6
