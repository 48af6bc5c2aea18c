"""Check a plan without the solver: does it keep every hard limit, and what does it cost?"""

from collections.abc import Mapping, Sequence

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.planning.highs import SolverOptions, solve_program
from forebay.planning.normal import BUDGET, POWER, Choice, Limits, PoolModel
from forebay.planning.program import Counts, build
from forebay.planning.search import role_usd

TOLERANCE = 1e-6


def usage(pools: Sequence[PoolModel], counts: Counts) -> tuple[dict[str, int], float, float]:
    """Return GPUs per node pool, US dollars per hour and watts of ``counts``."""
    gpus: dict[str, int] = {}
    usd = watts = 0.0
    for pool in pools:
        for choice in pool.choices:
            option, replicas = choice.option, counts[pool.key][choice.key]
            usd += option.usd_per_replica_hour * replicas
            watts += option.watts_per_replica * replicas
            if option.node_pool is not None:
                gpus[option.node_pool] = gpus.get(option.node_pool, 0) + option.gpus_per_replica * replicas
    return gpus, usd, watts


def exceeded(pools: Sequence[PoolModel], limits: Limits, counts: Counts) -> tuple[str, ...]:
    """Return the shared limits that ``counts`` break: node pool names, `BUDGET` and `POWER`."""
    gpus, usd, watts = usage(pools, counts)
    broken = [name for name, stock in limits.gpu_stock.items() if gpus.get(name, 0) > stock]
    if limits.budget_usd_per_hour is not None and usd > limits.budget_usd_per_hour + TOLERANCE:
        broken.append(BUDGET)
    if limits.power_limit_watts is not None and watts > limits.power_limit_watts + TOLERANCE:
        broken.append(POWER)
    return tuple(broken)


def uses(choice: Choice, broken: Sequence[str]) -> bool:
    """Return whether a replica of the variant counts towards one of the limits in ``broken``."""
    return BUDGET in broken or POWER in broken or choice.option.node_pool in broken


def keeps_own_limits(pool: PoolModel, counts: Mapping[VariantKey, int]) -> bool:
    """Return whether one pool's counts keep its bounds, its direction rule and its budget."""
    if any(not c.lowest <= counts[c.key] <= c.highest for c in pool.choices):
        return False
    for role in pool.roles:
        moves = [counts[c.key] - c.base for c in role.choices]
        if min(moves) < 0 < max(moves):
            return False
    if pool.budget_usd_per_hour is None:
        return True
    usd = sum(c.option.usd_per_replica_hour * counts[c.key] for c in pool.choices)
    return usd <= pool.budget_usd_per_hour + TOLERANCE


def outside_ratio(pool: PoolModel, counts: Mapping[VariantKey, int]) -> float:
    """Return how many replicas the prefill:decode ratio of ``counts`` is outside the pool's band; 0 if inside."""
    by_role = {role.role: sum(counts[c.key] for c in role.choices) for role in pool.roles}
    if pool.ratio is None or Role.PREFILL not in by_role or Role.DECODE not in by_role:
        return 0.0
    prefill, decode = by_role[Role.PREFILL], by_role[Role.DECODE]
    few = max(0.0, pool.ratio.lowest * decode - prefill)
    many = max(0.0, prefill - pool.ratio.highest * decode)
    return few + many


def objective(
    pools: Sequence[PoolModel],
    limits: Limits,
    counts: Counts,
    *,
    weights: Mapping[PoolKey, float],
    wishes: Mapping[tuple[PoolKey, Role], float],
) -> float | None:
    """Return the weighted US dollars per hour of ``counts``, or ``None`` if they break a hard limit."""
    if exceeded(pools, limits, counts) or not all(keeps_own_limits(pool, counts[pool.key]) for pool in pools):
        return None
    if any(role.buckets for pool in pools for role in pool.roles):
        return _objective_by_program(pools, limits, counts, weights=weights, wishes=wishes)
    total = 0.0
    for pool in pools:
        weight = weights.get(pool.key, 1.0)
        total += weight * pool.ratio_usd * outside_ratio(pool, counts[pool.key])
        for role in pool.roles:
            wish = wishes.get((pool.key, role.role), float("inf"))
            excess = role.capacity(counts[pool.key]) - wish
            usd = role_usd(role, counts[pool.key])
            if excess > 0:
                capped, counted = role.worth.at(wish), role.worth.at(wish + excess)
                usd += capped - counted
            total += weight * usd
    return total


def _objective_by_program(
    pools: Sequence[PoolModel],
    limits: Limits,
    counts: Counts,
    *,
    weights: Mapping[PoolKey, float],
    wishes: Mapping[tuple[PoolKey, Role], float],
) -> float | None:
    fleet = build(pools, limits, weights=weights, wishes=wishes, one_direction=False)
    fleet.fix(counts)
    answer = solve_program(fleet.program, SolverOptions(relaxed=True))
    return None if answer.values is None else answer.objective
