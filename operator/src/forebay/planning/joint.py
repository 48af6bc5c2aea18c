"""Solve the joint program with a guard: incumbents, an own feasibility check, and a second solve without presolve.

HiGHS has returned a wrong "Optimal" on programs of this kind, so its answer is one candidate among others: the
plan in force, that plan cut to fit, and the relaxed program rounded up. The cheapest that passes our check wins.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.flow.fleet import PoolKey, Role
from forebay.planning.check import exceeded, objective
from forebay.planning.highs import ProgramAnswer, SolverOptions, solve_program
from forebay.planning.normal import Choice, Limits, PoolModel
from forebay.planning.program import Counts, FleetProgram, build, starting_point

Wishes = Mapping[tuple[PoolKey, Role], float]
PlainCounts = dict[PoolKey, dict[str, int]]

WORTH_A_SECOND_LOOK = 1e-3
"""Relative gain of a candidate over the solver's "Optimal" that makes us solve again without presolve."""


TINY = 1e-6

Judge = Callable[[PlainCounts], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class JointAnswer:
    """A feasible plan for several pools, and how good it is known to be."""

    counts: PlainCounts
    objective: float
    gap: float
    solver: str


def solve_jointly(
    pools: Sequence[PoolModel],
    limits: Limits,
    *,
    weights: Mapping[PoolKey, float],
    wishes: Wishes,
    previous: Counts | None = None,
    options: SolverOptions | None = None,
) -> JointAnswer:
    """Return the cheapest plan found for ``pools`` under ``limits``; there always is one."""
    options = options or SolverOptions()
    fleet = build(pools, limits, weights=weights, wishes=wishes, curve_tolerance=options.curve_tolerance)
    candidates = _incumbents(pools, limits, fleet, options, previous)

    def judge(counts: PlainCounts) -> float:
        value = objective(pools, limits, counts, weights=weights, wishes=wishes)
        return math.inf if value is None else value

    judged = [(judge(counts), order, name, counts) for order, (name, counts) in enumerate(candidates)]
    incumbent = min(judged)
    start = starting_point(fleet, incumbent[3])
    answer = solve_program(fleet.program, options, start)
    solved = _from_solver(fleet, pools, answer, judge, name="integer program", order=len(judged))
    if solved and incumbent[0] < solved[0][0] * (1 - WORTH_A_SECOND_LOOK) - options.relative_gap:
        answer = solve_program(fleet.program, replace(options, presolve=False), start)
        solved += _from_solver(fleet, pools, answer, judge, name="integer program, no presolve", order=-1)
    value, _, name, counts = min(judged + solved)
    return JointAnswer(counts=counts, objective=value, gap=answer.gap, solver=f"{name} ({answer.status})")


def _from_solver(
    fleet: FleetProgram,
    pools: Sequence[PoolModel],
    answer: ProgramAnswer,
    judge: Judge,
    *,
    name: str,
    order: int,
) -> list[tuple[float, int, str, PlainCounts]]:
    if answer.values is None:
        return []
    counts = fleet.counts(answer.values, pools)
    return [(judge(counts), order, name, counts)]


def _incumbents(
    pools: Sequence[PoolModel],
    limits: Limits,
    fleet: FleetProgram,
    options: SolverOptions,
    previous: Counts | None,
) -> list[tuple[str, PlainCounts]]:
    base = {pool.key: {c.name: c.base for c in pool.choices} for pool in pools}
    smallest = {pool.key: {c.name: c.lowest for c in pool.choices} for pool in pools}
    found = [
        ("plan in force", base),
        ("smallest plan", smallest),
        ("plan in force, cut", _fit(pools, limits, base)),
    ]
    if previous is not None:
        found.append(("last plan", _fit(pools, limits, _clip(pools, previous))))
    relaxed = solve_program(fleet.program, replace(options, relaxed=True))
    if relaxed.values is not None:
        rounded = {
            pool.key: {
                c.name: min(c.highest, math.ceil(relaxed.values[fleet.replicas[pool.key, c.name]] - TINY))
                for c in pool.choices
            }
            for pool in pools
        }
        found.append(("relaxed program, rounded", _fit(pools, limits, rounded)))
    return found


def _clip(pools: Sequence[PoolModel], counts: Counts) -> PlainCounts:
    """Return ``counts`` moved into the bounds; variants that it does not know keep what they have."""
    return {
        pool.key: {
            c.name: min(max(counts.get(pool.key, {}).get(c.name, c.base), c.lowest), c.highest)
            for c in pool.choices
        }
        for pool in pools
    }


def _fit(pools: Sequence[PoolModel], limits: Limits, counts: Counts) -> PlainCounts:
    """Take replicas away, lowest priority and dearest first, until no shared limit is exceeded."""
    fitted = {pool.key: dict(counts[pool.key]) for pool in pools}
    order = sorted(pools, key=lambda pool: pool.priority)
    while broken := exceeded(pools, limits, fitted):
        victim = _victim(order, broken, fitted)
        if victim is None:
            break
        key, choice = victim
        fitted[key][choice.name] -= 1
    return fitted


def _victim(
    pools: Sequence[PoolModel], broken: tuple[str, ...], counts: PlainCounts
) -> tuple[PoolKey, Choice] | None:
    everything = "budget" in broken or "power" in broken
    for pool in pools:
        spare = [
            c
            for c in pool.choices
            if counts[pool.key][c.name] > c.lowest and (everything or c.option.node_pool in broken)
        ]
        if spare:
            return pool.key, max(spare, key=lambda c: c.option.usd_per_replica_hour / max(1e-9, c.option.speed))
    return None
