"""What one pool asks of the plan: the needs of its roles, and its variants as options."""

from dataclasses import replace

from forebay.flow.fleet import Fleet, Role, Variant
from forebay.flow.plan import PoolNeed, VariantOption
from forebay.flow.sizing import RoleNeed, WorkBucket
from forebay.pipeline.prices import watts_per_replica
from forebay.pipeline.size.pool_draft import PoolDraft
from forebay.pipeline.size.role_draft import RoleDraft
from forebay.sizing.buckets import Believing, length_buckets


def pool_need(fleet: Fleet, draft: PoolDraft) -> PoolNeed:
    """Return what one pool asks of the plan."""
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
    if role in draft.held or draft.roles[role].size.backlog.hold or not draft.roles[role].basis.capacity_known:
        return False
    supplies = (draft.basis.supplies[variant.key] for variant in draft.pool.of_role(role))
    return all(supply.ready == supply.live == supply.desired for supply in supplies)


def _need(draft: PoolDraft, role: RoleDraft) -> RoleNeed:
    """Return the role's need; a role that may not release needs at least what it has."""
    need = replace(role.need(), buckets=_buckets(draft, role))
    if role.basis.role not in draft.held:
        return need
    present = sum(
        role.basis.speed[v.key] * draft.basis.supplies[v.key].bought for v in draft.pool.of_role(role.basis.role)
    )
    return replace(need, wanted=max(need.wanted, present - draft.pool.settings.spare_replicas))


def _buckets(draft: PoolDraft, role: RoleDraft) -> tuple[WorkBucket, ...]:
    """Return the work by prompt length, where the pool routes by length and knows what every variant does."""
    if not draft.pool.settings.route_by_length or not all(belief.known for belief in role.basis.believed.values()):
        return ()
    variants = {
        name: Believing(belief.performance, belief.correction) for name, belief in role.basis.believed.items()
    }
    return length_buckets(
        role.basis.role, draft.basis.memory.current_lengths, draft.pool.slo, variants, role.basis.reference.key
    )


def _option(fleet: Fleet, draft: PoolDraft, variant: Variant) -> VariantOption:
    supply = draft.basis.supplies[variant.key]
    seen = draft.basis.observed.variant(variant.key)
    basis = draft.roles[variant.role].basis
    return VariantOption(
        name=variant.name,
        role=variant.role,
        node_pool=variant.node_pool,
        gpus_per_replica=variant.gpus_per_replica,
        usd_per_replica_hour=basis.usd_per_replica_hour[variant.key],
        watts_per_replica=watts_per_replica(fleet, variant),
        speed=basis.speed[variant.key],
        min_replicas=variant.min_replicas,
        max_replicas=variant.max_replicas,
        current=supply.bought,
        lead_time_seconds=basis.lead_seconds if seen is None else seen.lead_time_seconds,
        blocked=supply.blocked is not None,
        frozen=supply.frozen is not None,
    )
