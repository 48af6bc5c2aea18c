"""The mixed-integer program of the fleet: whole replicas, continuous shares of work, convex costs of misses.

Per variant the replicas ``n`` (whole, = base + up - down); per role the capacity ``c`` and the dollars ``g`` lost
to misses, ``g`` above every segment of the role's convex curve; with length buckets, the work ``y`` that a variant
takes of a bucket. Letting a router split a bucket keeps the shares continuous, a relaxation of Mélange's packing
(Griggs et al., 2024, arXiv 2404.14527, section 5) that is never dearer and much faster to solve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forebay.flow.fleet import PoolKey, Role
from forebay.flow.trace import FloatArray
from forebay.planning.highs import INFINITY, LinearProgram
from forebay.planning.normal import Choice, Limits, PoolModel, RoleModel
from forebay.planning.search import MOVE_PENALTY

RATIO_PENALTY = 30.0
"""Replica prices per replica outside the prefill:decode band: more than it can save, less than a floor."""

UNSERVED_FACTOR = 1.05
"""Leaving one bucket out costs a little more per unit of work than serving less of everything."""

Counts = Mapping[PoolKey, Mapping[str, int]]


@dataclass(slots=True)
class FleetProgram:
    """The program and where each quantity stands in it."""

    program: LinearProgram = field(default_factory=LinearProgram)
    replicas: dict[tuple[PoolKey, str], int] = field(default_factory=dict)
    moves: dict[tuple[PoolKey, str], tuple[int, int]] = field(default_factory=dict)
    directions: dict[tuple[PoolKey, Role], int] = field(default_factory=dict)
    flows: dict[tuple[PoolKey, Role, int, str], int] = field(default_factory=dict)

    def counts(self, values: FloatArray, pools: Sequence[PoolModel]) -> dict[PoolKey, dict[str, int]]:
        """Read the replicas out of a solution, rounded to whole numbers."""
        return {
            pool.key: {c.name: round(float(values[self.replicas[pool.key, c.name]])) for c in pool.choices}
            for pool in pools
        }

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
        wishes: most capacity per role that counts, so that a weight serves a pool first and does not fatten it.
        one_direction: forbid that a role grows in one variant and shrinks in another.
    """
    fleet = FleetProgram()
    for pool in pools:
        weight = weights.get(pool.key, 1.0)
        for role in pool.roles:
            _add_choices(fleet, pool.key, role, weight, one_direction=one_direction)
            _add_role(fleet, pool.key, role, weight, wishes.get((pool.key, role.role), INFINITY))
        _add_ratio(fleet, pool, weight)
        if pool.budget_usd_per_hour is not None:
            smallest = sum(c.option.usd_per_replica_hour * c.lowest for c in pool.choices)
            terms = _priced(fleet, pool.key, pool.choices, "usd_per_replica_hour")
            fleet.program.row(terms, upper=max(pool.budget_usd_per_hour, smallest))
    _add_limits(fleet, pools, limits)
    return fleet


def _add_choices(
    fleet: FleetProgram, key: PoolKey, role: RoleModel, weight: float, *, one_direction: bool
) -> None:
    program = fleet.program
    both_ways = one_direction and _can_go_both_ways(role.choices)
    if both_ways:
        fleet.directions[key, role.role] = program.column(upper=1.0, integer=True)
    for choice in role.choices:
        usd = choice.option.usd_per_replica_hour * weight
        grow, shrink = choice.highest - choice.base, choice.base - choice.lowest
        replicas = program.column(cost=usd, lower=choice.lowest, upper=choice.highest, integer=True)
        up = program.column(cost=usd * MOVE_PENALTY, upper=grow)
        down = program.column(cost=usd * MOVE_PENALTY, upper=shrink)
        program.row([(replicas, 1.0), (up, -1.0), (down, 1.0)], lower=choice.base, upper=choice.base)
        fleet.replicas[key, choice.name] = replicas
        fleet.moves[key, choice.name] = (up, down)
        if both_ways:
            direction = fleet.directions[key, role.role]
            program.row([(up, 1.0), (direction, -float(grow))], upper=0.0)
            program.row([(down, 1.0), (direction, float(shrink))], upper=float(shrink))


def _can_go_both_ways(choices: Sequence[Choice]) -> bool:
    growing = [choice.highest > choice.base for choice in choices]
    shrinking = [choice.lowest < choice.base for choice in choices]
    return len(choices) > 1 and any(growing) and any(shrinking)


def _add_role(fleet: FleetProgram, key: PoolKey, role: RoleModel, weight: float, wish: float) -> None:
    program, worth = fleet.program, role.worth
    capacity = program.column(lower=-role.spare, upper=wish)
    lost = program.column(cost=weight)
    if len(worth.capacity) > 1:
        for slope, start, value in zip(worth.slopes, worth.capacity, worth.value, strict=False):
            program.row([(lost, 1.0), (capacity, -float(slope))], lower=float(value - slope * start))
    if role.buckets:
        _add_buckets(fleet, key, role, weight, capacity)
        return
    terms = [(fleet.replicas[key, choice.name], -choice.option.speed) for choice in role.choices]
    program.row([(capacity, 1.0), *terms], upper=-role.spare)


def _add_buckets(fleet: FleetProgram, key: PoolKey, role: RoleModel, weight: float, capacity: int) -> None:
    """Cover every bucket's share of the capacity; what no variant can serve within its SLO is paid for."""
    program = fleet.program
    steepest = float(-role.worth.slopes[0]) if len(role.worth.capacity) > 1 else role.usd_per_capacity
    load: dict[str, list[tuple[int, float]]] = {choice.name: [] for choice in role.choices}
    for index, bucket in enumerate(role.buckets):
        unserved = program.column(cost=weight * steepest * UNSERVED_FACTOR)
        cover = [(unserved, 1.0), (capacity, -bucket.share)]
        for name, speed in bucket.speed:
            if speed > 0 and name in load:
                taken = program.column()
                fleet.flows[key, role.role, index, name] = taken
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
    usd = max(c.option.usd_per_replica_hour for c in pool.choices) * weight * RATIO_PENALTY
    few, many = fleet.program.column(cost=usd), fleet.program.column(cost=usd)
    for slack, factor, sign in ((few, pool.ratio.lowest, 1.0), (many, pool.ratio.highest, -1.0)):
        terms = [(fleet.replicas[pool.key, c.name], sign) for c in prefill.choices]
        terms += [(fleet.replicas[pool.key, c.name], -sign * factor) for c in decode.choices]
        fleet.program.row([*terms, (slack, 1.0)], lower=0.0)


def _priced(
    fleet: FleetProgram, key: PoolKey, choices: Sequence[Choice], attribute: str
) -> list[tuple[int, float]]:
    return [(fleet.replicas[key, c.name], float(getattr(c.option, attribute))) for c in choices]


def _add_limits(fleet: FleetProgram, pools: Sequence[PoolModel], limits: Limits) -> None:
    program = fleet.program
    for name, stock in limits.gpu_stock.items():
        terms = [
            (fleet.replicas[pool.key, choice.name], float(choice.option.gpus_per_replica))
            for pool in pools
            for choice in pool.choices
            if choice.option.node_pool == name
        ]
        if terms:
            program.row(terms, upper=float(stock))
    for attribute, limit in (
        ("usd_per_replica_hour", limits.budget_usd_per_hour),
        ("watts_per_replica", limits.power_limit_watts),
    ):
        if limit is not None:
            every = [term for pool in pools for term in _priced(fleet, pool.key, pool.choices, attribute)]
            program.row(every, upper=limit)


def starting_point(fleet: FleetProgram, counts: Counts) -> dict[int, float]:
    """Return the whole numbers of ``counts`` by column; HiGHS completes the rest."""
    return {column: float(counts[key][name]) for (key, name), column in fleet.replicas.items()}
