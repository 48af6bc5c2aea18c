"""What forecast and sizing say about each role, in words and numbers."""

from collections.abc import Mapping

from forebay.flow.decision import Reason, ReasonCode, Step
from forebay.flow.fleet import Role
from forebay.pipeline.size.role_draft import RoleDraft


def sizing_reasons(roles: Mapping[Role, RoleDraft]) -> list[Reason]:
    """Return what forecast and sizing say about each role, in order."""
    reasons: list[Reason] = []
    for role, sized in roles.items():
        reasons.append(_forecast_reason(role, sized))
        reasons.append(_size_reason(role, sized))
        backlog = sized.size.backlog
        if backlog.order is not None:
            message = (
                f"{role.value}: {backlog.left_seconds:.1f} replica-seconds of queued work would still wait "
                f"when new capacity is ready, so at least {backlog.order} replicas are wanted"
            )
            reasons.append(Reason(step=Step.SIZE, code=ReasonCode.BACKLOG, message=message, role=role))
    return reasons


def _forecast_reason(role: Role, sized: RoleDraft) -> Reason:
    forecast, rate = sized.basis.forecast, sized.basis.rate
    if forecast is None:
        message = f"{role.value}: no forecast yet, the present {rate:.2f} requests/s decide"
        return Reason(
            step=Step.FORECAST, code=ReasonCode.REACTIVE, message=message, role=role, numbers={"rate": rate}
        )
    point, peak = forecast.at_horizon, forecast.maximum
    message = (
        f"{role.value}: {rate:.2f} requests/s now, {point.q50:.2f} expected in "
        f"{forecast.lead_time_seconds:.0f} s, {point.q90:.2f} at the 90th percentile, "
        f"and until then {peak.q90:.2f} at most"
    )
    numbers = {
        "rate": rate,
        "lead_time_seconds": forecast.lead_time_seconds,
        "q50": point.q50,
        "q90": point.q90,
        "q99": point.q99,
        "maximum_q90": peak.q90,
        "maximum_q99": peak.q99,
        "rate_cap": forecast.rate_cap,
    }
    code = ReasonCode.FORECAST_DEMOTED if forecast.demoted else ReasonCode.FORECAST
    return Reason(step=Step.FORECAST, code=code, message=message, role=role, numbers=numbers)


def _size_reason(role: Role, sized: RoleDraft) -> Reason:
    message = (
        f"{role.value}: {sized.size.order.erlangs:.2f} busy replicas expected; {sized.wanted:.3g} replicas of "
        f"{sized.basis.reference.key} wanted"
    )
    numbers = {
        "erlangs": sized.size.order.erlangs,
        "wanted": sized.wanted,
        "present": float(sized.size.present),
        "seconds_per_request": sized.basis.seconds_per_request,
        "miss_price": sized.size.price.price,
        "miss_price_replica_seconds": sized.size.miss_price_replica_seconds,
        "miss_bias": sized.size.price.bias,
        "allowed_miss_share": sized.size.price.allowed_share,
        "burstiness": sized.basis.burstiness,
    }
    return Reason(step=Step.SIZE, code=ReasonCode.SIZED, message=message, role=role, numbers=numbers)
