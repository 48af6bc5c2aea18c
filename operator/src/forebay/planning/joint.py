"""Solve the joint program with a guard: incumbents, an own feasibility check, and a second solve without presolve.

HiGHS has returned a wrong "Optimal" on programs of this kind, so its answer is one candidate among others: the
plan in force, that plan cut to fit, and the relaxed program rounded up. The cheapest that passes our check wins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.trace import FloatArray
from forebay.planning.check import objective, usage
from forebay.planning.columns import ColumnAnswer, Judge, Offered, PlainCounts, solve_by_columns
from forebay.planning.highs import ProgramAnswer, SolverOptions, solve_program
from forebay.planning.normal import Choice, Limits, PoolModel
from forebay.planning.program import Counts, FleetProgram, build, starting_point

Wishes = Mapping[tuple[PoolKey, Role], float]

WORTH_A_SECOND_LOOK = 1e-3
"""Relative gain of a candidate over the solver's "Optimal" that makes us solve again without presolve."""

MANY_REPLICA_COUNTS = 120
"""A program with more whole numbers than this is slow; there an answer made of columns may have this gap:"""
GAP_OF_MANY = 5e-3

TINY = 1e-6

Judged = tuple[float, int, str, PlainCounts]
"""Cost, order of preference among equals, name and counts of a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointAnswer:
    """A feasible plan for several pools, and how good it is known to be."""

    counts: PlainCounts
    objective: float
    gap: float
    solver: str
    offers: Offered | None = None
    """The answers that roles offered, to ask what more of something would change; ``None`` with length buckets."""


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
    relaxed = solve_program(fleet.program, replace(options, relaxed=True))
    candidates = _incumbents(pools, limits, fleet, relaxed, previous)

    def judge(counts: PlainCounts) -> float:
        value = objective(pools, limits, counts, weights=weights, wishes=wishes)
        return math.inf if value is None else value

    judged = [(judge(counts), order, name, counts) for order, (name, counts) in enumerate(candidates)]
    columns = None
    if not any(role.buckets for pool in pools for role in pool.roles):
        columns = solve_by_columns(
            pools,
            limits,
            weights=weights,
            wishes=wishes,
            prices=fleet.prices(relaxed),
            known=[counts for value, _, _, counts in judged if value < math.inf],
            judge=judge,
            options=options,
        )
    if columns is not None:
        judged.append((judge(columns.counts), len(judged), "best answers of each role", columns.counts))
        value, _, name, counts = min(judged)
        gap = max(0.0, value - columns.bound) / max(1e-9, abs(value))
        if gap <= _good_enough(fleet, options):
            solver = f"{name} ({columns.status})"
            return JointAnswer(counts=counts, objective=value, gap=gap, solver=solver, offers=columns.offered)
    return _by_program(fleet, pools, judged, judge, columns, options)


def _good_enough(fleet: FleetProgram, options: SolverOptions) -> float:
    many = len(fleet.replicas) > MANY_REPLICA_COUNTS
    return max(options.relative_gap, GAP_OF_MANY) if many else options.relative_gap


def _by_program(
    fleet: FleetProgram,
    pools: Sequence[PoolModel],
    judged: list[Judged],
    judge: Judge,
    columns: ColumnAnswer | None,
    options: SolverOptions,
) -> JointAnswer:
    """Solve the whole program, with the best plan so far as its start."""
    incumbent = min(judged)
    start = starting_point(fleet, incumbent[3])
    answer = solve_program(fleet.program, options, start)
    solved = _from_solver(fleet, pools, answer, judge, name="integer program", order=len(judged))
    if solved and incumbent[0] < solved[0][0] * (1 - WORTH_A_SECOND_LOOK) - options.relative_gap:
        answer = solve_program(fleet.program, replace(options, presolve=False), start)
        solved += _from_solver(fleet, pools, answer, judge, name="integer program, no presolve", order=-1)
    value, _, name, counts = min(judged + solved)
    bound = max(answer.bound, -math.inf if columns is None else columns.bound)
    gap = max(0.0, value - bound) / max(1e-9, abs(value))
    return JointAnswer(
        counts=counts,
        objective=value,
        gap=gap,
        solver=f"{name} ({answer.status})",
        offers=None if columns is None else columns.offered,
    )


def _from_solver(
    fleet: FleetProgram,
    pools: Sequence[PoolModel],
    answer: ProgramAnswer,
    judge: Judge,
    *,
    name: str,
    order: int,
) -> list[Judged]:
    if answer.values is None:
        return []
    counts = fleet.counts(answer.values, pools)
    return [(judge(counts), order, name, counts)]


def _incumbents(
    pools: Sequence[PoolModel],
    limits: Limits,
    fleet: FleetProgram,
    relaxed: ProgramAnswer,
    previous: Counts | None,
) -> list[tuple[str, PlainCounts]]:
    base = {pool.key: {c.key: c.base for c in pool.choices} for pool in pools}
    smallest = {pool.key: {c.key: c.lowest for c in pool.choices} for pool in pools}
    found = [
        ("plan in force", base),
        ("smallest plan", smallest),
        ("plan in force, cut", _fit(pools, limits, base)),
    ]
    if previous is not None:
        found.append(("last plan", _fit(pools, limits, _clip(pools, previous))))
    if relaxed.values is not None:
        rounded = _rounded(pools, fleet, relaxed.values)
        found.append(("relaxed program, rounded", _fit(pools, limits, rounded)))
    return found


def rounded_up(pool: PoolModel) -> dict[VariantKey, int]:
    """Return roughly what a pool without shared limits would buy: its relaxed program, rounded up."""
    limits = Limits(gpu_stock={}, budget_usd_per_hour=None, power_limit_watts=None)
    fleet = build([pool], limits, weights={}, wishes={}, curve_tolerance=SolverOptions().curve_tolerance)
    relaxed = solve_program(fleet.program, SolverOptions(relaxed=True))
    if relaxed.values is None:
        return {c.key: c.base for c in pool.choices}
    return _rounded([pool], fleet, relaxed.values)[pool.key]


def _rounded(pools: Sequence[PoolModel], fleet: FleetProgram, values: FloatArray) -> PlainCounts:
    return {
        pool.key: {
            c.key: min(c.highest, math.ceil(values[fleet.replicas[pool.key, c.key]] - TINY)) for c in pool.choices
        }
        for pool in pools
    }


def _clip(pools: Sequence[PoolModel], counts: Counts) -> PlainCounts:
    """Return ``counts`` moved into the bounds; variants that it does not know keep what they have."""
    return {
        pool.key: {
            c.key: min(max(counts.get(pool.key, {}).get(c.key, c.base), c.lowest), c.highest) for c in pool.choices
        }
        for pool in pools
    }


def _fit(pools: Sequence[PoolModel], limits: Limits, counts: Counts) -> PlainCounts:
    """Take replicas away, lowest priority and dearest first, until no shared limit is exceeded."""
    fitted = {pool.key: dict(counts[pool.key]) for pool in pools}
    over = _Excess(pools, limits, fitted)
    for pool in sorted(pools, key=lambda pool: pool.priority):
        for choice in sorted(pool.choices, key=_usd_per_capacity, reverse=True):
            while fitted[pool.key][choice.key] > choice.lowest and over.eased_by(choice):
                fitted[pool.key][choice.key] -= 1
                over.remove(choice)
    return fitted


def _usd_per_capacity(choice: Choice) -> float:
    return choice.option.usd_per_replica_hour / max(1e-9, choice.option.speed)


class _Excess:
    """What is used beyond the limits, while replicas are taken away."""

    def __init__(self, pools: Sequence[PoolModel], limits: Limits, counts: PlainCounts) -> None:
        gpus, usd, watts = usage(pools, counts)
        self._gpus = {name: gpus.get(name, 0) - stock for name, stock in limits.gpu_stock.items()}
        self._usd = -math.inf if limits.budget_usd_per_hour is None else usd - limits.budget_usd_per_hour
        self._watts = -math.inf if limits.power_limit_watts is None else watts - limits.power_limit_watts

    def eased_by(self, choice: Choice) -> bool:
        """Return whether a limit is exceeded that one replica fewer would ease."""
        everything = self._usd > TINY or self._watts > TINY
        return everything or self._gpus.get(choice.option.node_pool or "", 0) > 0

    def remove(self, choice: Choice) -> None:
        """Take one replica away."""
        option = choice.option
        self._usd -= option.usd_per_replica_hour
        self._watts -= option.watts_per_replica
        if option.node_pool in self._gpus:
            self._gpus[option.node_pool] -= option.gpus_per_replica
