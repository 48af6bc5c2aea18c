"""Solve the joint plan with a guard: no answer of the solver is believed before our own check.

Where no role has length buckets, each role offers its best answers under common prices (`columns`). If the best
choice among them is not proven good enough, or if there are length buckets, the whole program is solved.

HiGHS has returned a wrong "Optimal" on programs of this kind, so its answer is only one candidate. The others are
the plan in force, the smallest plan, and the relaxed program rounded up. The cheapest that passes our check wins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.trace import FloatArray
from forebay.planning.check import exceeded, objective, uses
from forebay.planning.columns import ColumnAnswer, Offered, PlainCounts, solve_by_columns
from forebay.planning.highs import SolverOptions, solve_program
from forebay.planning.normal import NO_LIMITS, Limits, PoolModel
from forebay.planning.program import Counts, FleetProgram, build, starting_point

Wishes = Mapping[tuple[PoolKey, Role], float]

MANY_CHOICES = 120
"""A program with more whole numbers than this is slow; there an answer made of columns may have this gap:"""
GAP_OF_MANY = 5e-3

TINY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class JointAnswer:
    """A feasible plan for several pools, and how good it is known to be."""

    counts: PlainCounts
    objective: float
    gap: float
    solver: str
    offers: Offered | None = None
    """The answers that roles offered, to ask what more of something would change; ``None`` with length buckets."""


class _Candidates:
    """Plans that were found, each with our own verdict; the cheapest wins, the earliest among equals."""

    def __init__(
        self, pools: Sequence[PoolModel], limits: Limits, weights: Mapping[PoolKey, float], wishes: Wishes
    ) -> None:
        self._problem = pools, limits
        self._prices = weights, wishes
        self._found: list[tuple[float, int, str, PlainCounts]] = []

    def add(self, name: str, counts: PlainCounts) -> None:
        """Judge a plan; one that breaks a limit is left out."""
        (pools, limits), (weights, wishes) = self._problem, self._prices
        usd = objective(pools, limits, counts, weights=weights, wishes=wishes)
        if usd is not None:
            self._found.append((usd, len(self._found), name, counts))

    def plans(self) -> list[PlainCounts]:
        """Return all plans."""
        return [counts for _, _, _, counts in self._found]

    def best(self, bound: float, status: str, columns: ColumnAnswer | None) -> JointAnswer:
        """Return the cheapest plan, and how far it may be from ``bound``."""
        usd, _, name, counts = min(self._found)
        return JointAnswer(
            counts=counts,
            objective=usd,
            gap=max(0.0, usd - bound) / max(1e-9, abs(usd)),
            solver=f"{name} ({status})",
            offers=None if columns is None else columns.offered,
        )


def solve_jointly(
    pools: Sequence[PoolModel],
    limits: Limits,
    *,
    weights: Mapping[PoolKey, float],
    wishes: Wishes,
    options: SolverOptions | None = None,
) -> JointAnswer:
    """Return the cheapest plan found for ``pools`` under ``limits``; there always is one."""
    options = options or SolverOptions()
    candidates = _Candidates(pools, limits, weights, wishes)
    base = {pool.key: {c.key: c.base for c in pool.choices} for pool in pools}
    candidates.add("plan in force", base)
    candidates.add("smallest plan", {pool.key: {c.key: c.lowest for c in pool.choices} for pool in pools})
    columns = None
    if not any(role.buckets for pool in pools for role in pool.roles):
        columns = solve_by_columns(
            pools, limits, weights=weights, wishes=wishes, known=candidates.plans(), options=options
        )
    if columns is not None:
        candidates.add("best answers of each role", columns.counts)
        answer = candidates.best(columns.bound, columns.status, columns)
        if answer.gap <= _good_enough(pools, options):
            return answer
    return _by_program(pools, limits, candidates, columns, options, weights=weights, wishes=wishes)


def _good_enough(pools: Sequence[PoolModel], options: SolverOptions) -> float:
    many = sum(len(pool.choices) for pool in pools) > MANY_CHOICES
    return max(options.relative_gap, GAP_OF_MANY) if many else options.relative_gap


def _by_program(
    pools: Sequence[PoolModel],
    limits: Limits,
    candidates: _Candidates,
    columns: ColumnAnswer | None,
    options: SolverOptions,
    *,
    weights: Mapping[PoolKey, float],
    wishes: Wishes,
) -> JointAnswer:
    """Solve the whole program, with the best plan so far as its start."""
    fleet = build(pools, limits, weights=weights, wishes=wishes)
    relaxed = solve_program(fleet.program, replace(options, relaxed=True))
    if relaxed.values is not None:
        candidates.add("relaxed program, rounded", _fit(pools, limits, _rounded(pools, fleet, relaxed.values)))
    start = candidates.best(-math.inf, "", None).counts
    solved = solve_program(fleet.program, options, starting_point(fleet, start))
    if solved.values is not None:
        candidates.add("integer program", fleet.counts(solved.values, pools))
    bound = max(solved.bound, -math.inf if columns is None else columns.bound)
    return candidates.best(bound, solved.status, columns)


def rounded_up(pool: PoolModel) -> dict[VariantKey, int]:
    """Return roughly what a pool without shared limits would buy: its relaxed program, rounded up."""
    fleet = build([pool], NO_LIMITS, weights={}, wishes={})
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


def _fit(pools: Sequence[PoolModel], limits: Limits, counts: Counts) -> PlainCounts:
    """Take replicas away, lowest priority and dearest first, until no shared limit is exceeded."""
    fitted = {pool.key: dict(counts[pool.key]) for pool in pools}
    broken = exceeded(pools, limits, fitted)
    for pool in sorted(pools, key=lambda pool: pool.priority):
        for choice in sorted(pool.choices, key=lambda choice: choice.usd_per_capacity, reverse=True):
            while uses(choice, broken) and fitted[pool.key][choice.key] > choice.lowest:
                fitted[pool.key][choice.key] -= 1
                broken = exceeded(pools, limits, fitted)
    return fitted
