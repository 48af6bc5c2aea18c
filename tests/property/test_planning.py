"""Invariants of the plan: optimal on small fleets, always feasible, monotone in demand and in supply."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.flow.fleet import PoolKey, VariantKey
from forebay.flow.plan import PlanProblem
from forebay.flow.sizing import MissCurve
from forebay.planning import solve
from forebay.planning.check import objective
from forebay.planning.curve import lower_hull
from forebay.planning.highs import SolverOptions
from forebay.planning.joint import solve_jointly
from forebay.planning.normal import normalise
from tests.keys import serve
from tests.unit.planning.problems import option, pool, problem, queue_curve, role_need

A = serve("a")

EXACT = SolverOptions(relative_gap=1e-6)

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
        counts: dict[PoolKey, dict[VariantKey, int]] = {p.key: {} for p in pools}
        for (key, choice), number in zip(keys, numbers, strict=True):
            counts[key][choice.key] = number
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
            assert choice.lowest <= plan.replicas[one.key][choice.key] <= choice.highest
    assert objective(pools, limits, plan.replicas, weights={}, wishes={}) is not None


@settings(max_examples=40)
@given(st.floats(0.2, 12.0), st.floats(1.0, 1.6), st.integers(0, 12))
def test_more_demand_never_buys_less(load: float, growth: float, current: int) -> None:
    def bought(erlang: float) -> int:
        need = role_need(queue_curve(erlang))
        plan = solve(problem(pool("chat", [need], [option("a", current=current)])))
        return plan.replicas[PoolKey("test", "chat")][A]

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


@settings(max_examples=40, deadline=None)
@given(st.lists(erlangs, min_size=2, max_size=3), st.integers(1, 6), st.sampled_from([5.0, 20.0]))
def test_the_worth_of_one_more_gpu_is_what_planning_with_it_saves(
    loads: list[float], stock: int, price: float
) -> None:
    """Against the same problem solved again with one GPU more, misses priced as the pools price them."""
    pools = [
        pool(f"p{i}", [role_need(queue_curve(load), price=price)], [option("a", node_pool="x")])
        for i, load in enumerate(loads)
    ]

    def solved(gpus: int) -> tuple[float, tuple[str, ...]]:
        plan = solve(problem(*pools, gpu_stock={"x": gpus}))
        misses = sum(lower_hull(one.roles[0].order).at(plan.replicas[one.key][A]) for one in pools)
        return plan.usd_per_hour + price * misses, plan.shadow_prices

    now, said = solved(stock)
    saved = now - solved(stock + 1)[0]
    told = [float(words.split("about ")[1].split(" ")[0]) for words in said]
    assert sum(told) == pytest.approx(max(0.0, saved), abs=0.011 + 0.004 * now)


@settings(max_examples=30, deadline=None)
@given(fleets(), st.randoms(use_true_random=False))
def test_the_order_of_pools_and_variants_does_not_matter(fleet: PlanProblem, chance: random.Random) -> None:
    """Equal costs may be met by other counts; the cost itself may not change."""
    shuffled = [replace(one, options=tuple(chance.sample(one.options, len(one.options)))) for one in fleet.pools]
    chance.shuffle(shuffled)
    other = replace(fleet, pools=tuple(shuffled))
    costs = []
    for some in (fleet, other):
        pools, limits = normalise(some)
        costs.append(solve_jointly(pools, limits, weights={}, wishes={}, options=EXACT).objective)
    assert costs[0] == pytest.approx(costs[1], rel=2e-4, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(fleets(), st.floats(1.05, 1.5))
def test_more_demand_never_costs_less(fleet: PlanProblem, growth: float) -> None:
    def grown(curve: MissCurve) -> MissCurve:
        return MissCurve(
            tuple(c * growth for c in curve.capacity), tuple(m * growth for m in curve.misses_per_second)
        )

    busier = replace(
        fleet,
        pools=tuple(
            replace(
                one,
                options=tuple(replace(o, current=0, min_replicas=0) for o in one.options),
                roles=tuple(replace(r, order=grown(r.order), wanted=growth * r.wanted) for r in one.roles),
            )
            for one in fleet.pools
        ),
    )
    calmer = replace(
        fleet,
        pools=tuple(
            replace(one, options=tuple(replace(o, current=0, min_replicas=0) for o in one.options))
            for one in fleet.pools
        ),
    )
    costs = []
    for some in (calmer, busier):
        pools, limits = normalise(some)
        costs.append(solve_jointly(pools, limits, weights={}, wishes={}, options=EXACT).objective)
    assert costs[1] >= costs[0] * (1 - 2e-4) - 1e-6
