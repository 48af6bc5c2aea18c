"""The planning problem in normal form: roles with one convex cost each, options with bounds, shared limits."""

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.fleet import PoolKey, RatioBand, Role, VariantKey
from forebay.flow.plan import PlanProblem, PoolNeed, VariantOption
from forebay.flow.sizing import RoleNeed, WorkBucket
from forebay.planning.curve import ConvexCurve, lower_hull, worth_of

SECONDS_PER_HOUR = 3600.0

RATIO_PENALTY = 30.0
"""Replica prices per replica outside the prefill:decode band: more than it can save, less than a floor."""

BUDGET, POWER = "fleet budget", "fleet power"
"""Names of the shared limits beside those of node pools, whose names have no space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One variant with the counts that it may take: whole numbers in ``[lowest, highest]``."""

    option: VariantOption
    lowest: int
    highest: int
    base: int
    """The current count, moved into the bounds: the point that directions are measured from."""

    @property
    def key(self) -> VariantKey:
        """Return the variant's key."""
        return self.option.key

    @property
    def usd_per_capacity(self) -> float:
        """Return the price of one reference replica's worth of this variant."""
        return self.option.usd_per_replica_hour / max(1e-9, self.option.speed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleProgram:
    """One role of one pool: what capacity is worth, and what it can be made of."""

    role: Role
    choices: tuple[Choice, ...]
    worth: ConvexCurve
    """US dollars per hour that a lack of reference replicas costs, against those that are there."""
    order: ConvexCurve
    """US dollars per hour lost to misses alone, at the demand of the lead time."""
    usd_per_miss_rate: float
    usd_per_capacity: float
    must_have: float
    """Reference replicas that no saving may go below."""
    spare: float
    """Reference replicas that must be there beyond what the curve counts (N+1)."""
    buckets: tuple[WorkBucket, ...]

    def capacity(self, counts: Mapping[VariantKey, int]) -> float:
        """Return the reference replicas that ``counts`` provide, where speed does not depend on length."""
        return sum(choice.option.speed * counts[choice.key] for choice in self.choices) - self.spare


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolModel:
    """One pool: its roles and the limits that are its own."""

    key: PoolKey
    roles: tuple[RoleProgram, ...]
    priority: int
    ratio: RatioBand | None
    budget_usd_per_hour: float | None
    """Never below what the lowest counts cost."""
    ratio_usd: float
    """US dollars per hour of every replica outside the prefill:decode band."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Return the choices of all roles."""
        return tuple(choice for role in self.roles for choice in role.choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all pools share; ``None`` or absent means no limit."""

    gpu_stock: Mapping[str, int]
    budget_usd_per_hour: float | None
    power_limit_watts: float | None


NO_LIMITS = Limits(gpu_stock={}, budget_usd_per_hour=None, power_limit_watts=None)


def normalise(problem: PlanProblem) -> tuple[tuple[PoolModel, ...], Limits]:
    """Translate ``problem``: bounds made consistent, curves made convex, limits never below the smallest plan.

    Raises:
        ValueError: if a role has no variant with a positive speed and price; the message names both.
    """
    pools = tuple(_pool(need) for need in problem.pools)
    return pools, _reachable(problem, pools)


def _pool(need: PoolNeed) -> PoolModel:
    roles = tuple(role_model(need, role) for role in need.roles)
    smallest = sum(c.option.usd_per_replica_hour * c.lowest for role in roles for c in role.choices)
    budget = need.budget_usd_per_hour
    return PoolModel(
        key=need.key,
        roles=roles,
        ratio_usd=RATIO_PENALTY * max(c.option.usd_per_replica_hour for role in roles for c in role.choices),
        priority=need.priority,
        ratio=need.prefill_to_decode,
        budget_usd_per_hour=None if budget is None else max(budget, smallest),
    )


def role_model(need: PoolNeed, role: RoleNeed) -> RoleProgram:
    """Return one role of ``need`` in normal form.

    Raises:
        ValueError: if it has no variant with a positive speed and price.
    """
    choices = tuple(
        _choice(option, may_release=need.may_release) for option in need.options if option.role is role.role
    )
    useful = [choice for choice in choices if choice.option.speed > 0]
    if not useful or any(choice.option.usd_per_replica_hour <= 0 for choice in useful):
        raise ValueError(
            f"{need.key}: role {role.role} needs at least one variant with a speed, and a price above 0 for each"
        )
    # A type that cannot be had now does not make a miss cheaper.
    to_be_had = [choice for choice in useful if choice.highest > 0 and not choice.option.blocked] or useful
    usd_per_capacity = min(choice.option.usd_per_replica_hour / choice.option.speed for choice in to_be_had)
    usd_per_miss_rate = role.miss_price_replica_seconds * usd_per_capacity
    spare = need.spare_replicas * max(choice.option.speed for choice in useful)
    worth = worth_of(
        role.order,
        wanted=role.wanted,
        usd_per_miss_rate=usd_per_miss_rate,
        usd_per_capacity=usd_per_capacity,
    )
    return RoleProgram(
        role=role.role,
        choices=choices,
        worth=worth,
        order=lower_hull(role.order).times(usd_per_miss_rate),
        usd_per_miss_rate=usd_per_miss_rate,
        usd_per_capacity=usd_per_capacity,
        must_have=role.wanted if role.must_have is None else min(role.must_have, role.wanted),
        spare=spare,
        buckets=role.buckets if len(role.buckets) > 1 else (),
    )


def _choice(option: VariantOption, *, may_release: bool) -> Choice:
    current = max(0, option.current)
    if option.frozen:
        return Choice(option=option, lowest=current, highest=current, base=current)
    highest = max(0, option.max_replicas)
    if option.blocked or option.speed <= 0:
        highest = min(highest, current)
    lowest = min(max(0, option.min_replicas), highest)
    if not may_release:
        lowest = max(lowest, min(current, highest))
    return Choice(option=option, lowest=lowest, highest=highest, base=min(max(current, lowest), highest))


def _reachable(problem: PlanProblem, pools: tuple[PoolModel, ...]) -> Limits:
    """Raise limits that even the smallest plan exceeds, so that a plan always exists."""
    used: dict[str, int] = {}
    usd = watts = 0.0
    for choice in (choice for pool in pools for choice in pool.choices):
        option = choice.option
        usd += option.usd_per_replica_hour * choice.lowest
        watts += option.watts_per_replica * choice.lowest
        if option.node_pool is not None:
            used[option.node_pool] = used.get(option.node_pool, 0) + option.gpus_per_replica * choice.lowest
    stock = {name: max(gpus, used.get(name, 0)) for name, gpus in problem.gpu_stock.items()}
    budget, power = problem.budget_usd_per_hour, problem.power_limit_watts
    return Limits(
        gpu_stock=stock,
        budget_usd_per_hour=None if budget is None else max(budget, usd),
        power_limit_watts=None if power is None else max(power, watts),
    )
