"""Quotas of GPUs that some pools share: growth beyond one is taken back, from the lowest priority first."""

from collections.abc import Mapping
from dataclasses import replace

from forebay.flow.decision import PoolDecision, Reason, ReasonCode, Step
from forebay.flow.fleet import Fleet, GpuQuota, PoolKey
from forebay.pipeline.prices import pool_usd_per_hour


def within_quotas(fleet: Fleet, decisions: Mapping[PoolKey, PoolDecision]) -> dict[PoolKey, PoolDecision]:
    """Return the decisions without the growth that a quota has no room for.

    What a pool has is never taken away by a quota: one that was lowered stops growth, and no more. A pool that
    does not act counts with what it has.
    """
    within = dict(decisions)
    for quota in fleet.quotas:
        excess = sum(_gpus(fleet, within[key]) for key in within if key in quota.pools) - quota.gpus
        members = [key for key in within if key in quota.pools and fleet.pools[key].acts]
        for key in sorted(members, key=lambda key: (fleet.pools[key].priority, key)):
            if excess <= 0:
                break
            cut = _cut(fleet, within[key], quota, excess)
            excess -= _gpus(fleet, within[key]) - _gpus(fleet, cut)
            within[key] = cut
    return within


def _cut(fleet: Fleet, decision: PoolDecision, quota: GpuQuota, excess: int) -> PoolDecision:
    """Return a decision with as little less growth as frees ``excess`` GPUs, or with none of its growth."""
    pool = fleet.pools[decision.key]
    size = {variant.key: variant.gpus_per_replica for variant in pool.variants}
    left = {variant.key: variant.desired for variant in decision.variants}
    current = {variant.key: variant.current for variant in decision.variants}
    growing = [key for key in left if left[key] > current[key]]
    if not growing:
        return decision
    if pool.prefill_to_decode is not None:
        # Prefill and decode grow together or not at all, so that their band holds.
        left |= {key: current[key] for key in growing}
    while excess > 0 and growing:
        key = max(growing, key=lambda key: left[key] - current[key])
        if left[key] <= current[key]:
            break
        left[key] -= 1
        excess -= size[key]
    variants = tuple(replace(variant, desired=left[variant.key]) for variant in decision.variants)
    taken = sum(before.desired - after.desired for before, after in zip(decision.variants, variants, strict=True))
    message = f"{taken} more replicas are wanted, but {quota.source} allows {quota.gpus} GPUs in all"
    limited = Reason(step=Step.GUARD, code=ReasonCode.LIMITED, message=message, changed=True)
    counts = {variant.key: variant.desired for variant in variants}
    return replace(
        decision,
        variants=variants,
        reasons=(*decision.reasons, limited),
        usd_per_hour=pool_usd_per_hour(fleet, pool, counts),
    )


def _gpus(fleet: Fleet, decision: PoolDecision) -> int:
    pool = fleet.pools[decision.key]
    size = {variant.key: variant.gpus_per_replica for variant in pool.variants}
    return sum(size[each.key] * (each.desired if pool.acts else each.current) for each in decision.variants)
