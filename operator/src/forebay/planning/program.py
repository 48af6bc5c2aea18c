"""The mixed-integer program of the fleet: whole replicas, continuous shares of work, convex costs of misses.

Per variant the replicas (whole); per role its direction and its capacity, whose segments save what the role's
convex curve says; with length buckets, the work that a variant takes of a bucket. Letting a router split a bucket
keeps the shares continuous, a relaxation of Mélange's packing (Griggs et al., 2024, arXiv 2404.14527, section 5)
that is never dearer and much faster to solve.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.trace import FloatArray
from forebay.planning.curve import ConvexCurve
from forebay.planning.highs import INFINITY, LinearProgram, ProgramAnswer
from forebay.planning.normal import BUDGET, POWER, Choice, Limits, PoolModel, RoleProgram

UNSERVED_FACTOR = 1.05
"""Leaving one bucket out costs a little more per unit of work than serving less of everything."""

Counts = Mapping[PoolKey, Mapping[VariantKey, int]]


@dataclass(slots=True)
class FleetProgram:
    """The program and where each quantity stands in it."""

    program: LinearProgram = field(default_factory=LinearProgram)
    replicas: dict[tuple[PoolKey, VariantKey], int] = field(default_factory=dict)
    taken: dict[tuple[PoolKey, Role, int, VariantKey], int] = field(default_factory=dict)
    """Column of the work that a variant takes of a bucket: pool, role, the bucket's place, variant."""
    limit_rows: dict[str, int] = field(default_factory=dict)
    """Row of each shared limit: node pools by name, `BUDGET` and `POWER`."""

    def counts(self, values: FloatArray, pools: Sequence[PoolModel]) -> dict[PoolKey, dict[VariantKey, int]]:
        """Read the replicas out of a solution, rounded to whole numbers."""
        return {
            pool.key: {c.key: round(float(values[self.replicas[pool.key, c.key]])) for c in pool.choices}
            for pool in pools
        }

    def prices(self, relaxed: ProgramAnswer) -> dict[str, float]:
        """Return the dual prices of what is shared, out of the answer without whole numbers."""
        if relaxed.row_duals is None:
            return {}
        return {name: max(0.0, -float(relaxed.row_duals[row])) for name, row in self.limit_rows.items()}

    def fix(self, counts: Counts) -> None:
        """Fix the replicas, which leaves a linear program over the shares of work."""
        for (key, name), column in self.replicas.items():
            self.program.lower[column] = self.program.upper[column] = float(counts[key][name])


def build(
    pools: Sequence[PoolModel],
    limits: Limits,
    *,
    weights: Mapping[PoolKey, float],
    wishes: Mapping[tuple[PoolKey, Role], float],
    one_direction: bool = True,
) -> FleetProgram:
    """Build the program of ``pools`` under ``limits``.

    Args:
        pools: what is decided together.
        limits: what they share.
        weights: factor on each pool's dollars, larger for those that are served first.
        wishes: most capacity per role that counts, so that a weighted pool gets no more than it needs.
        one_direction: forbid that a role grows in one variant and shrinks in another.
    """
    fleet = FleetProgram()
    for pool in pools:
        weight = weights.get(pool.key, 1.0)
        for role in pool.roles:
            wish = wishes.get((pool.key, role.role), INFINITY)
            _add_choices(fleet, pool.key, role, weight, wish, one_direction=one_direction)
            _add_role(fleet, pool.key, role, weight, wish)
        _add_ratio(fleet, pool, weight)
        if pool.budget_usd_per_hour is not None:
            terms = _priced(fleet, pool.key, pool.choices, "usd_per_replica_hour")
            fleet.program.row(terms, upper=pool.budget_usd_per_hour)
    _add_limits(fleet, pools, limits)
    return fleet


def _add_choices(
    fleet: FleetProgram, key: PoolKey, role: RoleProgram, weight: float, wish: float, *, one_direction: bool
) -> None:
    program = fleet.program
    direction = None
    if one_direction and _can_go_both_ways(role.choices):
        direction = program.column(upper=1.0, integer=True)
    for choice in role.choices:
        usd = choice.option.usd_per_replica_hour * weight
        highest = _useful(role, choice, wish)
        replicas = program.column(cost=usd, lower=choice.lowest, upper=highest, integer=True)
        fleet.replicas[key, choice.key] = replicas
        if direction is not None:
            grow, shrink = float(highest - choice.base), float(choice.base - choice.lowest)
            program.row([(replicas, 1.0), (direction, -grow)], upper=choice.base)
            program.row([(replicas, 1.0), (direction, -shrink)], lower=choice.lowest)


def _useful(role: RoleProgram, choice: Choice, wish: float) -> int:
    """Return the count beyond which this variant alone is more than the role can value."""
    if role.buckets or choice.option.speed <= 0:
        return choice.highest
    enough = min(wish, float(role.worth.capacity[-1])) + role.spare
    return min(choice.highest, max(choice.base, math.ceil(enough / choice.option.speed - 1e-9)))


def _can_go_both_ways(choices: Sequence[Choice]) -> bool:
    growing = [choice.highest > choice.base for choice in choices]
    shrinking = [choice.lowest < choice.base for choice in choices]
    return len(choices) > 1 and any(growing) and any(shrinking)


def _add_role(fleet: FleetProgram, key: PoolKey, role: RoleProgram, weight: float, wish: float) -> None:
    program = fleet.program
    capacity = program.column(lower=-role.spare, upper=wish)
    _add_worth(program, role.worth, weight, capacity)
    if role.buckets:
        _add_buckets(fleet, key, role, weight, capacity)
        return
    terms = [(fleet.replicas[key, choice.key], -choice.option.speed) for choice in role.choices]
    program.row([(capacity, 1.0), *terms], upper=-role.spare)


def _add_worth(program: LinearProgram, worth: ConvexCurve, weight: float, capacity: int) -> None:
    """Pay for misses: every segment of the convex curve is capacity that saves its slope, steepest first.

    Convexity fills the segments in their order, so that no whole numbers and no row per segment are needed.
    """
    start = float(worth.capacity[0])
    terms = [(capacity, 1.0)]
    program.offset += weight * float(worth.value[0])
    for slope, length in zip(worth.slopes, np.diff(worth.capacity), strict=True):
        terms.append((program.column(cost=weight * float(slope), upper=float(length)), -1.0))
    beyond = program.column()
    steepest = float(worth.slopes[0]) if len(worth.capacity) > 1 else 0.0
    short = program.column(cost=-weight * steepest)
    program.row([*terms, (beyond, -1.0), (short, 1.0)], lower=start, upper=start)


def _add_buckets(fleet: FleetProgram, key: PoolKey, role: RoleProgram, weight: float, capacity: int) -> None:
    """Cover every bucket's share of the capacity; what no variant can serve within its SLO is paid for."""
    program = fleet.program
    steepest = float(-role.worth.slopes[0]) if len(role.worth.capacity) > 1 else role.usd_per_capacity
    load: dict[VariantKey, list[tuple[int, float]]] = {choice.key: [] for choice in role.choices}
    for index, bucket in enumerate(role.buckets):
        unserved = program.column(cost=weight * steepest * UNSERVED_FACTOR)
        cover = [(unserved, 1.0), (capacity, -bucket.share)]
        for name, speed in bucket.speed:
            if speed > 0 and name in load:
                taken = program.column()
                fleet.taken[key, role.role, index, name] = taken
                cover.append((taken, 1.0))
                load[name].append((taken, 1.0 / speed))
        program.row(cover, lower=role.spare * bucket.share)
    for name, terms in load.items():
        program.row([*terms, (fleet.replicas[key, name], -1.0)], upper=0.0)


def _add_ratio(fleet: FleetProgram, pool: PoolModel, weight: float) -> None:
    roles = {role.role: role for role in pool.roles}
    if pool.ratio is None or Role.PREFILL not in roles or Role.DECODE not in roles:
        return
    prefill, decode = roles[Role.PREFILL], roles[Role.DECODE]
    usd = pool.ratio_usd * weight
    few, many = fleet.program.column(cost=usd), fleet.program.column(cost=usd)
    for slack, factor, sign in ((few, pool.ratio.lowest, 1.0), (many, pool.ratio.highest, -1.0)):
        terms = [(fleet.replicas[pool.key, c.key], sign) for c in prefill.choices]
        terms += [(fleet.replicas[pool.key, c.key], -sign * factor) for c in decode.choices]
        fleet.program.row([*terms, (slack, 1.0)], lower=0.0)


def _priced(
    fleet: FleetProgram, key: PoolKey, choices: Sequence[Choice], attribute: str
) -> list[tuple[int, float]]:
    return [(fleet.replicas[key, c.key], float(getattr(c.option, attribute))) for c in choices]


def _add_limits(fleet: FleetProgram, pools: Sequence[PoolModel], limits: Limits) -> None:
    program = fleet.program
    for name, stock in limits.gpu_stock.items():
        terms = [
            (fleet.replicas[pool.key, choice.key], float(choice.option.gpus_per_replica))
            for pool in pools
            for choice in pool.choices
            if choice.option.node_pool == name
        ]
        if terms:
            fleet.limit_rows[name] = program.row(terms, upper=float(stock))
    for name, attribute, limit in (
        (BUDGET, "usd_per_replica_hour", limits.budget_usd_per_hour),
        (POWER, "watts_per_replica", limits.power_limit_watts),
    ):
        if limit is not None:
            every = [term for pool in pools for term in _priced(fleet, pool.key, pool.choices, attribute)]
            fleet.limit_rows[name] = program.row(every, upper=limit)


def starting_point(fleet: FleetProgram, counts: Counts) -> dict[int, float]:
    """Return the whole numbers of ``counts`` by column; HiGHS completes the rest."""
    return {column: float(counts[key][name]) for (key, name), column in fleet.replicas.items()}
