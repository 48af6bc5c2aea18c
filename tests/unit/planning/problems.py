"""Small planning problems for the tests."""

from collections.abc import Sequence

from forebay.flow.fleet import PoolKey, RatioBand, Role, VariantKey
from forebay.flow.plan import PlanProblem, PoolNeed, VariantOption
from forebay.flow.sizing import MissCurve, RoleNeed, WorkBucket


def queue_curve(erlangs: float, *, longest: int = 60) -> MissCurve:
    """Return misses of requests of one second: total below the load, a quarter with every replica above it."""
    rate = erlangs
    capacity = tuple(float(n) for n in range(longest + 1))
    misses = tuple(rate if n <= erlangs else rate * 0.25 ** (n - erlangs) for n in capacity)
    return MissCurve(capacity, misses)


def option(name: str, role: Role = Role.SERVE, **changes: object) -> VariantOption:
    """Return an option with plain defaults."""
    settings: dict[str, object] = {
        "name": name,
        "role": role,
        "node_pool": None,
        "gpus_per_replica": 1,
        "usd_per_replica_hour": 1.0,
        "watts_per_replica": 500.0,
        "speed": 1.0,
        "min_replicas": 0,
        "max_replicas": 60,
        "current": 0,
        "lead_time_seconds": 120.0,
    }
    return VariantOption(**{**settings, **changes})  # type: ignore[arg-type]


def role_need(
    order: MissCurve,
    *,
    role: Role = Role.SERVE,
    price: float = 20.0,
    wanted: float | None = None,
    speed: Sequence[tuple[VariantKey, float]] = (),
    buckets: tuple[WorkBucket, ...] = (),
) -> RoleNeed:
    """Return a need of ``wanted`` replicas; default: as many as pay at ``price``."""
    costs = [n + price * missed for n, missed in zip(order.capacity, order.misses_per_second, strict=True)]
    return RoleNeed(
        role=role,
        order=order,
        wanted=order.capacity[costs.index(min(costs))] if wanted is None else wanted,
        miss_price_replica_seconds=price,
        erlangs=1.0,
        speed=tuple(speed),
        seconds_per_request=1.0,
        buckets=buckets,
    )


def pool(
    name: str,
    roles: Sequence[RoleNeed],
    options: Sequence[VariantOption],
    *,
    priority: int = 0,
    ratio: RatioBand | None = None,
    budget: float | None = None,
    may_release: bool = True,
    spare: int = 0,
) -> PoolNeed:
    """Return a pool need in the namespace `test`."""
    return PoolNeed(
        key=PoolKey("test", name),
        roles=tuple(roles),
        options=tuple(options),
        priority=priority,
        prefill_to_decode=ratio,
        budget_usd_per_hour=budget,
        may_release=may_release,
        spare_replicas=spare,
    )


def problem(*pools: PoolNeed, **limits: object) -> PlanProblem:
    """Return the problem of ``pools`` with shared ``limits``."""
    return PlanProblem(pools=tuple(pools), **limits)  # type: ignore[arg-type]
