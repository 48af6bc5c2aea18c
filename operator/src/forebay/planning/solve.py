"""Plan the fleet: each pool on its own first, and jointly only where pools compete for what they share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.plan import FleetPlan, PlanProblem
from forebay.planning.check import exceeded, keeps_own_limits, usage, uses
from forebay.planning.columns import PlainCounts
from forebay.planning.explain import limited_by, shadow_prices
from forebay.planning.highs import SolverOptions
from forebay.planning.joint import rounded_up, solve_jointly
from forebay.planning.nodes import bill, plannable, solve_in_nodes
from forebay.planning.normal import NO_LIMITS, Limits, PoolModel, normalise
from forebay.planning.pricing import best_in_band
from forebay.planning.remix import remixed
from forebay.planning.routes import routes_by_length, routing

PRIORITY_FACTOR = 30.0
"""Weight of a dollar of the next higher priority when pools compete: enough to be served first."""

MOST_RANKS = 4
"""Distinct priorities; with more, the numbers of the program would differ too much for a solver."""


def solve(problem: PlanProblem, options: SolverOptions | None = None) -> FleetPlan:
    """Return the replicas of every variant that minimise cost plus misses within all limits.

    A pool alone is solved exactly by enumeration, or by its own program if its roles are coupled by a ratio or a
    budget. Only pools that compete for a limit that all these answers together would break enter the joint
    program. There the pools of higher priority are served first, and nobody gets more than alone.

    Args:
        problem: needs, options and limits.
        options: limits of the solver.

    Raises:
        ValueError: if a role of a pool has no usable variant.
    """
    plan, pools, limits, alone = _per_gpu(problem, options)
    rivals = plannable(pools, problem.nodes)
    if not rivals:
        return plan
    return _in_nodes(problem, plan, pools, limits, rivals, alone, options or SolverOptions())


def _per_gpu(
    problem: PlanProblem, options: SolverOptions | None
) -> tuple[FleetPlan, tuple[PoolModel, ...], Limits, PlainCounts]:
    """Plan as if GPUs could be had one by one; also return the models, and what each pool would buy alone."""
    pools, limits = normalise(problem)
    alone, broken = _without_rivals(pools, limits, options)
    if not broken:
        plan = _plan(problem, pools, limits, counts=alone, alone=alone, solver="each pool on its own", gap=0.0)
        return plan, pools, limits, alone
    rivals = [pool for pool in pools if _competes(pool, broken)]
    rest = [pool for pool in pools if not _competes(pool, broken)]
    left = _remaining(limits, rest, alone)
    joint = solve_jointly(
        rivals,
        left,
        weights=_weights(rivals),
        wishes=_wishes(rivals, alone),
        options=options,
    )
    plan = _plan(
        problem,
        pools,
        limits,
        counts={**alone, **joint.counts},
        alone=alone,
        solver=joint.solver,
        gap=joint.gap,
    )
    plan = replace(plan, shadow_prices=shadow_prices(rivals, left, broken, joint.offers))
    return plan, pools, limits, alone


def _in_nodes(
    problem: PlanProblem,
    plan: FleetPlan,
    pools: Sequence[PoolModel],
    limits: Limits,
    rivals: Sequence[PoolModel],
    alone: PlainCounts,
    options: SolverOptions,
) -> FleetPlan:
    """Plan nodes and replicas together, from a plan per GPU; the plan stays where nodes find no answer."""
    keys = {pool.key for pool in rivals}
    rest = [pool for pool in pools if pool.key not in keys]
    left = _remaining(limits, rest, {pool.key: dict(plan.replicas[pool.key]) for pool in rest})
    stock = {name: gpus for name, gpus in left.gpu_stock.items() if name not in problem.nodes}
    left = replace(left, gpu_stock=stock)
    scarce = any(key in plan.limited_by for key in keys)
    found = solve_in_nodes(
        rivals,
        left,
        problem.nodes,
        weights=_weights(rivals) if scarce else {},
        wishes=_wishes(rivals, alone) if scarce else {},
        known=[
            {pool.key: {c.key: plan.replicas[pool.key][c.key] for c in pool.choices} for pool in rivals},
            {pool.key: {c.key: c.base for c in pool.choices} for pool in rivals},
        ],
        options=options,
    )
    if found is None:
        return plan
    counts = {**plan.replicas, **found.counts}
    return replace(
        plan,
        replicas=counts,
        usd_per_hour=bill(pools, counts, found.nodes),
        limited_by=limited_by(pools, limits, counts, alone),
        moves={key: words for key, words in plan.moves.items() if key not in keys},
        solver=f"nodes and replicas together ({found.status})",
        nodes=found.nodes,
        routing={**plan.routing, **{pool.key: routing(pool, counts[pool.key]) for pool in rivals}},
    )


def _without_rivals(
    pools: Sequence[PoolModel], limits: Limits, options: SolverOptions | None
) -> tuple[PlainCounts, tuple[str, ...]]:
    """Return what each pool would buy alone, and the shared limits that all these answers together break.

    Where a pool needs a program of its own, its relaxed program rounded up tells in a tenth of the time that a
    limit is broken; only if none is must its own answer be known exactly.
    """
    alone: PlainCounts = {}
    sketched = []
    for pool in pools:
        counts = best_in_band(pool)
        if counts is None or not keeps_own_limits(pool, counts):
            counts = rounded_up(pool)
            sketched.append(pool)
        alone[pool.key] = counts
    broken = exceeded(pools, limits, alone)
    for pool in sketched:
        if not broken or not _competes(pool, broken):
            alone |= solve_jointly([pool], NO_LIMITS, weights={}, wishes={}, options=options).counts
    return alone, broken if not sketched else exceeded(pools, limits, alone)


def _competes(pool: PoolModel, broken: tuple[str, ...]) -> bool:
    return any(uses(choice, broken) for choice in pool.choices)


def _remaining(limits: Limits, rest: Sequence[PoolModel], counts: PlainCounts) -> Limits:
    """Return what pools outside the competition leave to the others."""
    gpus, usd, watts = usage(rest, counts)
    budget, power = limits.budget_usd_per_hour, limits.power_limit_watts
    return Limits(
        gpu_stock={name: stock - gpus.get(name, 0) for name, stock in limits.gpu_stock.items()},
        budget_usd_per_hour=None if budget is None else budget - usd,
        power_limit_watts=None if power is None else power - watts,
    )


def _weights(pools: Sequence[PoolModel]) -> dict[PoolKey, float]:
    ranks = {priority: rank for rank, priority in enumerate(sorted({pool.priority for pool in pools}))}
    scale = min(1.0, (MOST_RANKS - 1) / max(1, len(ranks) - 1))
    return {pool.key: PRIORITY_FACTOR ** (ranks[pool.priority] * scale) for pool in pools}


def _wishes(pools: Sequence[PoolModel], alone: PlainCounts) -> dict[tuple[PoolKey, Role], float]:
    return {
        (pool.key, role.role): max(0.0, role.capacity(alone[pool.key]))
        for pool in pools
        for role in pool.roles
        if not role.buckets
    }


def _plan(
    problem: PlanProblem,
    pools: Sequence[PoolModel],
    limits: Limits,
    *,
    counts: Mapping[PoolKey, Mapping[VariantKey, int]],
    alone: PlainCounts,
    solver: str,
    gap: float,
) -> FleetPlan:
    counts, moves = remixed(problem, pools, limits, counts)
    return FleetPlan(
        replicas=counts,
        usd_per_hour=usage(pools, counts)[1],
        limited_by=limited_by(pools, limits, counts, alone),
        moves=moves,
        solver=solver,
        gap=gap,
        routing={pool.key: routing(pool, counts[pool.key]) for pool in pools},
        routes={pool.key: routes for pool in pools if (routes := routes_by_length(pool, counts[pool.key]))},
    )
