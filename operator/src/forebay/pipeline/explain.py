"""A decision in words and numbers: reasons of sizing and planning, and the alternatives that were rejected."""

from forebay.flow.decision import Alternative, Reason
from forebay.flow.fleet import Fleet, Role, VariantKey
from forebay.flow.plan import FleetPlan
from forebay.pipeline.allocation import PoolDraft
from forebay.pipeline.need import RoleDraft
from forebay.pipeline.prices import usd_per_replica_hour


def sizing_reasons(draft: PoolDraft) -> list[Reason]:
    """Return what forecast and sizing say about each role, in order."""
    reasons: list[Reason] = []
    for role, sized in draft.roles.items():
        reasons.append(_forecast_reason(role, sized))
        reasons.append(_size_reason(role, sized))
        if sized.backlog.order is not None:
            message = (
                f"{role.value}: {sized.backlog.left_seconds:.1f} replica-seconds of queued work would still wait "
                f"when new capacity is ready, so at least {sized.backlog.order} replicas are wanted"
            )
            reasons.append(Reason(step="size", code="Backlog", message=message, role=role))
    return reasons


def _forecast_reason(role: Role, sized: RoleDraft) -> Reason:
    forecast = sized.forecast
    if forecast is None:
        message = f"{role.value}: no forecast yet, the present {sized.rate:.2f} requests/s decide"
        return Reason(step="forecast", code="Reactive", message=message, role=role, numbers={"rate": sized.rate})
    point, peak = forecast.at_horizon, forecast.maximum
    message = (
        f"{role.value}: {sized.rate:.2f} requests/s now, {point.q50:.2f} expected in "
        f"{forecast.lead_time_seconds:.0f} s, {point.q90:.2f} at the 90th percentile, "
        f"and until then {peak.q90:.2f} at most"
    )
    numbers = {
        "rate": sized.rate,
        "lead_time_seconds": forecast.lead_time_seconds,
        "q50": point.q50,
        "q90": point.q90,
        "q99": point.q99,
        "maximum_q90": peak.q90,
        "maximum_q99": peak.q99,
        "rate_cap": forecast.rate_cap,
    }
    code = "ForecastDemoted" if forecast.demoted else "Forecast"
    return Reason(step="forecast", code=code, message=message, role=role, numbers=numbers)


def _size_reason(role: Role, sized: RoleDraft) -> Reason:
    message = (
        f"{role.value}: {sized.order.erlangs:.2f} busy replicas expected; order below {sized.order_alone}, "
        f"release above {sized.release_alone} replicas of {sized.reference.key}"
    )
    numbers = {
        "erlangs": sized.order.erlangs,
        "order": float(sized.order_alone),
        "release": float(sized.release_alone),
        "order_floor": sized.order_floor,
        "release_floor": sized.release_floor,
        "seconds_per_request": sized.seconds_per_request,
        "miss_price_replica_seconds": sized.miss_price_replica_seconds,
        "burstiness": sized.burstiness,
    }
    return Reason(step="size", code="Sized", message=message, role=role, numbers=numbers)


def plan_reasons(draft: PoolDraft, plan: FleetPlan | None) -> list[Reason]:
    """Return which limits kept the pool from what it would buy, what more would be worth, and what is replaced."""
    if plan is None:
        return []
    key = draft.pool.key
    limits = plan.limited_by.get(key, ())
    worth = plan.shadow_prices if limits else ()
    return [
        *(Reason(step="plan", code="Limited", message=limit, changed=True) for limit in limits),
        *(Reason(step="plan", code="WorthOfMore", message=words) for words in worth),
        *(Reason(step="plan", code="Remix", message=move, changed=True) for move in plan.moves.get(key, ())),
    ]


def alternatives(fleet: Fleet, draft: PoolDraft, counts: dict[VariantKey, int]) -> tuple[Alternative, ...]:
    """Return, per role, one reference replica fewer and one more: what each would cost and miss."""
    found: list[Alternative] = []
    for role, sized in draft.roles.items():
        capacity = sum(sized.speed[v.key] * counts[v.key] for v in draft.pool.of_role(role))
        usd = usd_per_replica_hour(fleet, sized.reference)
        steps = [step for step in (-1, 1) if capacity + step >= 0]
        found.extend(_alternative(role, sized, capacity, step, usd) for step in steps)
    return tuple(found)


def _alternative(role: Role, sized: RoleDraft, capacity: float, step: int, usd: float) -> Alternative:
    requests = sized.order.erlangs / max(sized.seconds_per_request, 1e-12)
    misses = sized.order.misses_at(capacity + step)
    difference = misses - sized.order.misses_at(capacity)
    worth = sized.miss_price_replica_seconds * abs(difference)
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
