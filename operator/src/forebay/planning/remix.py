"""Move constant load from expensive replicas to cheap ones that are available again: buy the new ones first.

The plan itself moves a role in one direction, so that it never breaks before it makes. A fleet that once had to
buy a dear GPU type would then keep it for as long as its load stays. Here a role that stands still is asked if
another mix would be cheaper. If it is, and if what both cost side by side is earned back soon, part of the cheap
mix is bought on top. Once it is ready, the plan has too much and releases the dearest, as always.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forebay.flow.fleet import PoolKey, VariantKey
from forebay.flow.plan import PlanProblem, PoolNeed
from forebay.flow.sizing import RoleNeed
from forebay.planning.check import exceeded, keeps_own_limits, outside_ratio, usage
from forebay.planning.normal import SECONDS_PER_HOUR, Choice, Limits, PoolModel, RoleProgram, role_model
from forebay.planning.search import best_alone, own_prices, priced

LEAST_GAIN = 0.1
"""Share of the price of what is replaced that must be saved: speeds are measured, and measurements wander."""

EARNED_BACK_SECONDS = 3600.0
"""Within this time the saving must exceed what old and new cost side by side."""

SIDE_BY_SIDE_SECONDS = 120.0
"""Beyond the start-up: until the old ones have finished their requests."""

STEPS = (0.25, 0.5, math.inf)
"""Shares of a role's replicas that a step may add; the smallest that pays is taken. The new type must prove itself
before the rest follows, but a step that is too small to replace a whole replica would release nothing."""

Counts = Mapping[VariantKey, int]


def remixed(
    problem: PlanProblem, pools: Sequence[PoolModel], limits: Limits, counts: Mapping[PoolKey, Counts]
) -> tuple[dict[PoolKey, dict[VariantKey, int]], dict[PoolKey, tuple[str, ...]]]:
    """Return the counts with what should be bought to replace more expensive replicas, and why, per pool.

    Pools of higher priority choose first. Only roles that are steady and that the plan leaves as they are take
    part, and only as far as all limits allow old and new side by side.
    """
    result = {key: dict(replicas) for key, replicas in counts.items()}
    said: dict[PoolKey, tuple[str, ...]] = {}
    needs = {need.key: need for need in problem.pools}
    for pool in sorted(pools, key=lambda pool: (-pool.priority, pool.key)):
        need = needs[pool.key]
        for role, role_need in zip(pool.roles, need.roles, strict=True):
            if role.role not in need.steady or not _promising(role, result[pool.key]):
                continue
            room = _with_room(role, pools, limits, result)
            for grown in _steps(room):
                trial = {**result, pool.key: {**result[pool.key], **grown}}
                words = _gain(need, role_need, pool, role, result[pool.key], trial[pool.key])
                if words and not exceeded(pools, limits, trial):
                    result[pool.key] = dict(trial[pool.key])
                    said[pool.key] = (*said.get(pool.key, ()), words)
                    break
    return result, said


def _promising(role: RoleProgram, counts: Counts) -> bool:
    """Return whether the role keeps replicas that cost more than others for the same work."""
    if role.buckets or any(counts[c.key] != c.base or c.option.frozen for c in role.choices):
        return False
    held = [c.usd_per_capacity for c in role.choices if c.base > c.lowest]
    open_ = [c.usd_per_capacity for c in role.choices if c.highest > c.base and c.option.speed > 0]
    return bool(held and open_) and min(open_) < max(held) * (1.0 - LEAST_GAIN)


def _with_room(
    role: RoleProgram, pools: Sequence[PoolModel], limits: Limits, counts: Mapping[PoolKey, Counts]
) -> RoleProgram:
    """Return the role with growth cut to the GPUs that are free, and none where orders of others do not come."""
    gpus, _, _ = usage(pools, counts)
    waited_for = {c.option.node_pool for pool in pools for c in pool.choices if c.option.blocked} - {None}

    def cut(choice: Choice) -> Choice:
        name = choice.option.node_pool or ""
        if name in waited_for:
            return replace(choice, highest=choice.base)
        stock = limits.gpu_stock.get(name)
        if stock is None:
            return choice
        more = max(0, stock - gpus.get(name, 0)) // choice.option.gpus_per_replica
        return replace(choice, highest=min(choice.highest, choice.base + more))

    return replace(role, choices=tuple(cut(choice) for choice in role.choices))


def _steps(role: RoleProgram) -> list[dict[VariantKey, int]]:
    """Return what to grow to: smaller and larger steps towards the cheapest mix, none if it is here."""
    answers = priced(role, own_prices(role), both_ways=True)
    if answers is None:
        return []
    best = answers.counts[int(np.argmin(answers.total))]
    more = {c.key: max(0, int(n) - c.base) for c, n in zip(role.choices, best, strict=True)}
    if not any(more.values()):
        return []
    steps = []
    for share in STEPS:
        left = max(1, _part(share, sum(c.base for c in role.choices)))
        step: dict[VariantKey, int] = {}
        for choice in sorted(role.choices, key=lambda choice: choice.usd_per_capacity):
            step[choice.key] = choice.base + min(left, more[choice.key])
            left -= step[choice.key] - choice.base
        steps.append(step)
    return steps


def _part(share: float, replicas: int) -> int:
    return sys.maxsize if math.isinf(share) else math.ceil(share * replicas)


def _gain(
    need: PoolNeed, role_need: RoleNeed, pool: PoolModel, role: RoleProgram, now: Counts, grown: Counts
) -> str | None:
    """Return in words what is saved after the plan has released the surplus; ``None`` if too little."""
    options = tuple(replace(option, current=grown[option.key]) for option in need.options)
    after = best_alone(role_model(replace(need, options=options), role_need))
    if after is None or any(after[name] > grown[name] for name in after):
        return None
    bought = {c: after[c.key] - now[c.key] for c in role.choices if after[c.key] > now[c.key]}
    sold = {c: now[c.key] - after[c.key] for c in role.choices if after[c.key] < now[c.key]}
    if not sold or any(after[c.key] < grown[c.key] for c in bought):
        return None
    price = sum(c.option.usd_per_replica_hour * n for c, n in sold.items())
    paid = sum(c.option.usd_per_replica_hour * n for c, n in bought.items())
    seconds = max((c.option.lead_time_seconds for c in bought), default=0.0) + SIDE_BY_SIDE_SECONDS
    saved = price - paid
    if saved < LEAST_GAIN * price or saved * EARNED_BACK_SECONDS < paid * seconds:
        return None
    settled = {**now, **after}
    if outside_ratio(pool, settled) > outside_ratio(pool, now) or not keeps_own_limits(pool, dict(grown)):
        return None
    new = ", ".join(f"{n} of {c.key}" for c, n in bought.items())
    old = ", ".join(f"{n} of {c.key}" for c, n in sold.items())
    return (
        f"{role.role.value}: {new} will replace {old} and save {saved:.2f} $/h; "
        f"both run side by side for about {seconds / SECONDS_PER_HOUR * 60:.0f} minutes"
    )
