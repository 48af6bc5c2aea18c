"""From needs to replicas: directly where a pool has no choice, by the planner where it has one or must share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.fleet import Fleet, Pool, PoolKey, VariantKey
from forebay.flow.observation import FleetObservation
from forebay.flow.plan import FleetPlan, PlanProblem
from forebay.pipeline.plan.node_supply import node_supplies, on_nodes
from forebay.pipeline.plan.pool_need import pool_need
from forebay.pipeline.plan.ratio import lacking
from forebay.pipeline.plan.stock import gpu_stock
from forebay.pipeline.prices import usd_of, watts_of
from forebay.pipeline.size.pool_draft import PoolDraft
from forebay.planning import solve


@dataclass(frozen=True, slots=True)
class Allocation:
    """Replicas per pool and variant before the guards, and the plan where one was made."""

    counts: Mapping[PoolKey, Mapping[VariantKey, int]]
    plan: FleetPlan | None


def allocate(fleet: Fleet, observed: FleetObservation, drafts: Mapping[PoolKey, PoolDraft]) -> Allocation:
    """Return the replicas of every drafted pool.

    A pool with one variant per role has no choice, so its answer is the sizing rule's own, as long as all such
    answers together fit into what pools share. The rest is one problem for the planner.
    """
    nodes = node_supplies(fleet, observed, drafts)
    direct = {
        key: _alone(draft) for key, draft in drafts.items() if _has_no_choice(draft) and not on_nodes(draft, nodes)
    }
    open_keys = [key for key in drafts if key not in direct]
    stock = gpu_stock(fleet, observed, drafts)
    in_band = {key: _in_band(drafts[key].pool, counts) for key, counts in direct.items()}
    if not _fits(fleet, drafts, in_band, stock) or (open_keys and _shares_money(fleet)):
        open_keys, direct, in_band = list(drafts), {}, {}
    if not open_keys:
        return Allocation(direct, None)
    problem = PlanProblem(
        pools=tuple(pool_need(fleet, drafts[key]) for key in open_keys),
        gpu_stock=_left(stock, drafts, in_band),
        budget_usd_per_hour=fleet.budget_usd_per_hour,
        power_limit_watts=fleet.power_limit_watts,
        nodes=nodes,
    )
    plan = solve(problem)
    return Allocation({**direct, **plan.replicas}, plan)


def _has_no_choice(draft: PoolDraft) -> bool:
    pool = draft.pool
    return pool.budget_usd_per_hour is None and all(len(pool.of_role(role)) == 1 for role in pool.roles)


def _shares_money(fleet: Fleet) -> bool:
    return fleet.budget_usd_per_hour is not None or fleet.power_limit_watts is not None


def _alone(draft: PoolDraft) -> dict[VariantKey, int]:
    """Return what each role wants of its only variant."""
    counts, spare = {}, draft.pool.settings.spare_replicas
    for role, sized in draft.roles.items():
        variant = draft.pool.of_role(role)[0]
        current = draft.basis.supplies[variant.key].desired
        wanted = math.ceil(sized.wanted - 1e-9) + spare
        if role in draft.held:
            wanted = max(wanted, current)
        if draft.basis.supplies[variant.key].blocked is not None:
            wanted = min(wanted, current)
        counts[variant.key] = min(max(wanted, variant.min_replicas), variant.max_replicas)
    return counts


def _in_band(pool: Pool, counts: dict[VariantKey, int]) -> dict[VariantKey, int]:
    """Return what ``counts`` come to once the lacking role is raised into the prefill:decode band."""
    found = lacking(pool, counts)
    if found is None:
        return counts
    role, wanted = found
    variant = pool.of_role(role)[0]
    return {**counts, variant.key: max(counts[variant.key], min(wanted, variant.max_replicas))}


def _fits(
    fleet: Fleet,
    drafts: Mapping[PoolKey, PoolDraft],
    counts: Mapping[PoolKey, Mapping[VariantKey, int]],
    stock: Mapping[str, int],
) -> bool:
    if any(left < 0 for left in _left(stock, drafts, counts).values()):
        return False
    chosen = [(v, counts[key][v.key]) for key in counts for v in drafts[key].pool.variants]
    if fleet.budget_usd_per_hour is not None and usd_of(fleet, chosen) > fleet.budget_usd_per_hour + 1e-9:
        return False
    return fleet.power_limit_watts is None or watts_of(fleet, chosen) <= fleet.power_limit_watts + 1e-9


def _left(
    stock: Mapping[str, int],
    drafts: Mapping[PoolKey, PoolDraft],
    counts: Mapping[PoolKey, Mapping[VariantKey, int]],
) -> dict[str, int]:
    left = dict(stock)
    for key, replicas in counts.items():
        for variant in drafts[key].pool.variants:
            if variant.node_pool in left:
                left[variant.node_pool] -= replicas[variant.key] * variant.gpus_per_replica
    return left
