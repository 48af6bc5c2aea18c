"""What limits, replacements and alternatives there are to say about a plan."""

from forebay.flow.decision import Alternative, Reason, ReasonCode, Step
from forebay.flow.fleet import Fleet, Role, VariantKey
from forebay.flow.plan import FleetPlan, NodePlan
from forebay.pipeline.prices import usd_per_replica_hour
from forebay.pipeline.size.pool_draft import PoolDraft
from forebay.pipeline.size.role_draft import RoleDraft


def plan_reasons(draft: PoolDraft, plan: FleetPlan | None) -> list[Reason]:
    """Return which limits kept the pool from what it would buy, what more would be worth, and what is replaced."""
    if plan is None:
        return []
    key = draft.pool.key
    limits = plan.limited_by.get(key, ())
    worth = plan.shadow_prices if limits else ()
    return [
        *(Reason(step=Step.PLAN, code=ReasonCode.LIMITED, message=limit, changed=True) for limit in limits),
        *(Reason(step=Step.PLAN, code=ReasonCode.WORTH_OF_MORE, message=words) for words in worth),
        *(
            Reason(step=Step.PLAN, code=ReasonCode.REMIX, message=move, changed=True)
            for move in plan.moves.get(key, ())
        ),
        *(
            Reason(step=Step.PLAN, code=ReasonCode.NODES, message=_in_nodes(name, plan.nodes[name]))
            for name in dict.fromkeys(variant.node_pool for variant in draft.pool.variants)
            if name is not None and name in plan.nodes
        ),
    ]


def _in_nodes(name: str, planned: NodePlan) -> str:
    opened = f", {planned.opened} to open" if planned.opened else ""
    names = [node for node in planned.emptied if node]
    emptied = f", to empty: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else ""
    return f"node pool {name} is planned in nodes: {planned.kept} stay{opened}{emptied}"


def alternatives(fleet: Fleet, draft: PoolDraft, counts: dict[VariantKey, int]) -> tuple[Alternative, ...]:
    """Return, per role, one reference replica fewer and one more: what each would cost and miss."""
    found: list[Alternative] = []
    for role, sized in draft.roles.items():
        capacity = sum(sized.basis.speed[v.key] * counts[v.key] for v in draft.pool.of_role(role))
        usd = usd_per_replica_hour(fleet, sized.basis.reference)
        # Fewer than one replica is no alternative.
        steps = [step for step in (-1, 1) if capacity + step >= 1.0]
        found.extend(_alternative(role, sized, capacity, step, usd) for step in steps)
    return tuple(found)


def _alternative(role: Role, sized: RoleDraft, capacity: float, step: int, usd: float) -> Alternative:
    requests = sized.size.order.erlangs / max(sized.basis.seconds_per_request, 1e-12)
    misses = sized.size.order.misses_at(capacity + step)
    difference = misses - sized.size.order.misses_at(capacity)
    worth = sized.size.miss_price_replica_seconds * abs(difference)
    if step < 0:
        description = f"{role.value}: one replica fewer"
        why = (
            f"it would cost {worth:.2f} replicas in misses, or is kept for the demand until new capacity is ready"
        )
    else:
        description = f"{role.value}: one replica more"
        why = f"it would save misses worth {worth:.2f} replicas only"
    return Alternative(
        description=description,
        usd_per_hour=step * usd,
        expected_miss_share=misses / requests if requests > 0.0 else None,
        why_not=why,
    )
