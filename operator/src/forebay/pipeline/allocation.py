"""From needs to replicas: directly where a pool has no choice, by the planner where it has one or must share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, Role, Variant, VariantKey
from forebay.flow.observation import FleetObservation, NodePoolObservation, PoolObservation
from forebay.flow.plan import FleetPlan, PlanProblem, PoolNeed, VariantOption
from forebay.flow.sizing import RoleNeed, WorkBucket
from forebay.pipeline.need import RoleDraft
from forebay.pipeline.prices import usd_of, usd_per_replica_hour, watts_of, watts_per_replica
from forebay.pipeline.ratio import lacking
from forebay.pipeline.supply import Supply
from forebay.planning import solve
from forebay.sizing.buckets import Believing, length_buckets
from forebay.sizing.work import Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDraft:
    """One pool between sizing and planning."""

    pool: Pool
    observed: PoolObservation
    roles: Mapping[Role, RoleDraft]
    supplies: Mapping[VariantKey, Supply]
    held: frozenset[Role]
    """Roles that may not release."""
    lengths: Lengths
    """Of current requests."""
    yielding: frozenset[Role] = frozenset()
    """Of these, roles held for their queue only: they yield GPUs to pools of higher priority."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Replicas per pool and variant before the guards, and the plan where one was made."""

    counts: Mapping[PoolKey, Mapping[VariantKey, int]]
    plan: FleetPlan | None


def allocate(
    fleet: Fleet, observed: FleetObservation, drafts: Mapping[PoolKey, PoolDraft], previous: FleetPlan | None
) -> Allocation:
    """Return the replicas of every drafted pool.

    A pool with one variant per role has no choice, so its answer is the sizing rule's own, as long as all such
    answers together fit into what pools share. The rest is one problem for the planner.
    """
    direct = {key: _alone(draft) for key, draft in drafts.items() if _has_no_choice(draft)}
    open_keys = [key for key in drafts if key not in direct]
    stock = _stock(fleet, observed, drafts)
    in_band = {key: _in_band(drafts[key].pool, counts) for key, counts in direct.items()}
    if not _fits(fleet, drafts, in_band, stock) or (open_keys and _shares_money(fleet)):
        open_keys, direct, in_band = list(drafts), {}, {}
    if not open_keys:
        return Allocation(direct, None)
    problem = PlanProblem(
        pools=tuple(_pool_need(fleet, drafts[key]) for key in open_keys),
        gpu_stock=_left(stock, drafts, in_band),
        budget_usd_per_hour=fleet.budget_usd_per_hour,
        power_limit_watts=fleet.power_limit_watts,
    )
    plan = solve(problem, previous)
    return Allocation({**direct, **plan.replicas}, plan)


def _has_no_choice(draft: PoolDraft) -> bool:
    pool = draft.pool
    return pool.budget_usd_per_hour is None and all(len(pool.of_role(role)) == 1 for role in pool.roles)


def _shares_money(fleet: Fleet) -> bool:
    return fleet.budget_usd_per_hour is not None or fleet.power_limit_watts is not None


def _alone(draft: PoolDraft) -> dict[VariantKey, int]:
    """Order up to the need at the horizon, release down to the need of the highest demand until then."""
    counts, spare = {}, draft.pool.settings.spare_replicas
    for role, sized in draft.roles.items():
        variant = draft.pool.of_role(role)[0]
        current = draft.supplies[variant.key].desired
        release = sized.release_alone + spare
        release = max(release, current) if role in draft.held else release
        wanted = min(max(current, sized.order_alone + spare), release)
        if draft.supplies[variant.key].blocked is not None:
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


def _stock(fleet: Fleet, observed: FleetObservation, drafts: Mapping[PoolKey, PoolDraft]) -> dict[str, int]:
    """Return the GPUs per node pool that these pools may use in all: held, free and still obtainable."""
    held: dict[str, int] = {}
    for draft in drafts.values():
        for variant in draft.pool.variants:
            if variant.node_pool is not None:
                held[variant.node_pool] = held.get(variant.node_pool, 0) + _gpus_held(draft, variant)
    stock = {}
    for name, node_pool in fleet.node_pools.items():
        seen = observed.node_pools.get(name)
        if seen is not None:
            obtainable = _obtainable(node_pool, seen, observed.at_seconds)
            if obtainable is not None:
                stock[name] = held.get(name, 0) + seen.free_gpus + obtainable
    return stock


def _gpus_held(draft: PoolDraft, variant: Variant) -> int:
    seen = draft.observed.variant(variant.key)
    if seen is None:
        return draft.supplies[variant.key].desired * variant.gpus_per_replica
    placed = seen.ready + sum(1 for replica in seen.starting if not replica.unschedulable)
    return placed * variant.gpus_per_replica


def _obtainable(node_pool: NodePool, seen: NodePoolObservation, at_seconds: float) -> int | None:
    """Return GPUs that more nodes would bring; ``None`` if there is no known limit."""
    blocked = seen.blocked_until_seconds is not None and at_seconds < seen.blocked_until_seconds
    if blocked:
        return seen.provisioning_nodes * node_pool.gpus_per_node
    limits = []
    if node_pool.max_nodes is not None:
        limits.append(node_pool.max_nodes - seen.nodes - seen.launched_nodes + seen.provisioning_nodes)
    if seen.launchable_nodes is not None:
        limits.append(seen.provisioning_nodes + seen.launchable_nodes)
    return max(0, min(limits)) * node_pool.gpus_per_node if limits else None


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


def _pool_need(fleet: Fleet, draft: PoolDraft) -> PoolNeed:
    pool = draft.pool
    return PoolNeed(
        key=pool.key,
        roles=tuple(_need(draft, role) for role in draft.roles.values()),
        options=tuple(_option(fleet, draft, variant) for variant in pool.variants),
        priority=pool.priority,
        prefill_to_decode=pool.prefill_to_decode,
        budget_usd_per_hour=pool.budget_usd_per_hour,
        spare_replicas=pool.settings.spare_replicas,
        may_release=len(draft.held - draft.yielding) < len(draft.roles),
        steady=frozenset(role for role in draft.roles if _steady(draft, role)),
    )


def _steady(draft: PoolDraft, role: Role) -> bool:
    """Return whether nothing of a role is held, queued for, on its way or overdue."""
    if role in draft.held or draft.roles[role].backlog.hold or not draft.roles[role].capacity_known:
        return False
    supplies = (draft.supplies[variant.key] for variant in draft.pool.of_role(role))
    return all(supply.ready == supply.live == supply.desired for supply in supplies)


def _need(draft: PoolDraft, role: RoleDraft) -> RoleNeed:
    """Return the role's need; a role that may not release needs at least what it has."""
    need = replace(role.need(), buckets=_buckets(draft, role))
    if role.role not in draft.held:
        return need
    present = sum(role.speed[v.key] * _bought(draft.supplies[v.key]) for v in draft.pool.of_role(role.role))
    return replace(need, release_floor=max(need.release_floor, present))


def _buckets(draft: PoolDraft, role: RoleDraft) -> tuple[WorkBucket, ...]:
    """Return the work by prompt length, where the pool routes by length and knows what every variant does."""
    if not draft.pool.settings.route_by_length or not all(belief.known for belief in role.believed.values()):
        return ()
    variants = {name: Believing(belief.performance, belief.correction) for name, belief in role.believed.items()}
    return length_buckets(role.role, draft.lengths, draft.pool.slo, variants, role.reference.key)


def _bought(supply: Supply) -> int:
    return supply.live if supply.blocked else supply.desired


def _option(fleet: Fleet, draft: PoolDraft, variant: Variant) -> VariantOption:
    supply = draft.supplies[variant.key]
    seen = draft.observed.variant(variant.key)
    return VariantOption(
        name=variant.name,
        role=variant.role,
        node_pool=variant.node_pool,
        gpus_per_replica=variant.gpus_per_replica,
        usd_per_replica_hour=usd_per_replica_hour(fleet, variant),
        watts_per_replica=watts_per_replica(fleet, variant),
        speed=draft.roles[variant.role].speed[variant.key],
        min_replicas=variant.min_replicas,
        max_replicas=variant.max_replicas,
        current=_bought(supply),
        lead_time_seconds=seen.lead_time_seconds if seen is not None else draft.roles[variant.role].lead_seconds,
        blocked=supply.blocked is not None,
        frozen=supply.frozen is not None,
    )
