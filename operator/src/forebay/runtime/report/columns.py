"""What a status says of one pool: the columns of `kubectl get`, replicas per role, forecast, decision, why."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from forebay.flow.decision import PoolDecision, Reason
from forebay.flow.fleet import Role, VariantKey
from forebay.flow.observation import PoolObservation
from forebay.flow.plan import Route
from forebay.flow.roles import ROLES
from forebay.runtime.cluster.writes import LastWrite, Reversions
from forebay.runtime.report.conditions import Transition, Verdict, stamp
from forebay.runtime.report.figures import Figures
from forebay.runtime.report.text import duration, percent, rate, shorten, timestamp
from forebay.runtime.report.why import change_words, main_reason, short_why

_LONGEST_CHANGES = 32


_NONE: Mapping[VariantKey, Reversions] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """A rendered status of a resource with the condition changes that it brings."""

    status: dict[str, Any]
    transitions: tuple[Transition, ...]
    figures: Figures | None = None
    """Its numbers; None where each change is news."""


def pool_report(
    previous: Mapping[str, Any],
    observed: PoolObservation,
    decision: PoolDecision,
    verdicts: Sequence[Verdict],
    *,
    generation: int,
    last_written: Mapping[VariantKey, LastWrite],
    reversions: Mapping[VariantKey, Reversions] = _NONE,
    scaled: bool,
    acts: bool = True,
    usd_per_hour: float | None = None,
) -> StatusReport:
    """Return the status of a pool after a round.

    Args:
        previous: the status as last seen, from which times are carried over.
        observed: of this round.
        decision: of this round.
        verdicts: the conditions.
        generation: of the spec that was decided on.
        last_written: what was written last, by variant.
        reversions: how often manifests have set targets back, by variant.
        scaled: whether replicas were written in this round.
        acts: whether the pool's mode lets Forebay write replicas.
        usd_per_hour: what the replicas that run cost.
    """
    now = decision.at_seconds
    conditions, transitions = stamp(
        verdicts, previous.get("conditions") or (), generation=generation, now_seconds=now
    )
    why = main_reason(decision)
    # A missing target explains more than any step of the decision does.
    missing = next((item.message for item in verdicts if item.reason == "TargetMissing"), None)
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "summary": _summary(
            observed, decision, usd_per_hour, missing or (short_why(why, observed) if why else "")
        ),
        "roles": _roles(observed, decision, last_written, reversions),
        "sloAttainment": percent(decision.slo_attainment),
        "sloRequests": None if decision.slo_counts is None else round(decision.slo_counts[1]),
        "sloMissed": None if decision.slo_counts is None else round(decision.slo_counts[0]),
        "errorBudgetLeft": percent(decision.error_budget_left),
        "attainment": _attainment(decision) or None,
        "actionsLastHour": decision.actions_last_hour,
        "cancelledLastHour": decision.cancelled_last_hour,
        "costPerHour": _usd(usd_per_hour),
        "recommendedCostPerHour": _usd(decision.usd_per_hour),
        "message": shorten(missing or (why.message if why else ""), 512) or None,
        "forecast": _forecast(decision),
        "leadTime": _lead_time(observed),
        "lastScaleTime": timestamp(now) if scaled else previous.get("lastScaleTime"),
        "lastDecision": _last_decision(decision, why, acts=acts) or previous.get("lastDecision"),
        "conditions": conditions,
    }
    return StatusReport(
        status={key: value for key, value in status.items() if value is not None},
        transitions=tuple(transitions),
        figures=_figures(observed, decision, why, verdicts, usd_per_hour),
    )


def _figures(
    observed: PoolObservation,
    decision: PoolDecision,
    why: Reason | None,
    verdicts: Sequence[Verdict],
    usd_per_hour: float | None,
) -> Figures:
    forecast = next(iter(decision.forecasts.values()), None)
    at_lead_time = forecast.at_horizon if forecast is not None else None
    return Figures(
        numbers={
            "demand": decision.demand_requests_per_second,
            "p50": at_lead_time.q50 if at_lead_time is not None else None,
            "p90": at_lead_time.q90 if at_lead_time is not None else None,
            "p99": at_lead_time.q99 if at_lead_time is not None else None,
            "skill": forecast.score.pinball90_ratio if forecast is not None and forecast.score else None,
            "sloAttainment": decision.slo_attainment,
            "sloRequests": None if decision.slo_counts is None else decision.slo_counts[1],
            "errorBudgetLeft": decision.error_budget_left,
            "actionsLastHour": decision.actions_last_hour,
            "cancelledLastHour": decision.cancelled_last_hour,
            **{f"met{name}": window.attainment for name, window in decision.windows.items()},
            **{f"burnRate{name}": window.burn_rate for name, window in decision.windows.items()},
            "cost": usd_per_hour,
            "recommendedCost": decision.usd_per_hour,
            "leadTime": max((variant.lead_time_seconds for variant in observed.variants), default=None),
        },
        subjects=(
            f"{why.code}/{why.role}" if why is not None else "",
            forecast.source if forecast is not None and not forecast.demoted else "persistence",
            *(verdict.message if verdict.subject is None else verdict.subject for verdict in verdicts),
        ),
    )


def _attainment(decision: PoolDecision) -> list[dict[str, str | None]]:
    return [
        {"window": name, "met": percent(window.attainment), "burnRate": f"{window.burn_rate:.1f}"}
        for name, window in decision.windows.items()
    ]


def _usd(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def invalid_report(
    previous: Mapping[str, Any], verdicts: Sequence[Verdict], *, generation: int, now_seconds: float
) -> StatusReport:
    """Return the status of a pool whose spec cannot be used: conditions change, the rest stays as it was."""
    conditions, transitions = stamp(
        verdicts, previous.get("conditions") or (), generation=generation, now_seconds=now_seconds
    )
    others = [
        item
        for item in previous.get("conditions") or ()
        if item.get("type") not in {verdict.type.value for verdict in verdicts}
    ]
    message = shorten(verdicts[0].message, 512)
    summary = {**(previous.get("summary") or {}), "why": shorten(message, 96)}
    return StatusReport(
        status={**previous, "summary": summary, "message": message, "conditions": [*conditions, *others]},
        transitions=tuple(transitions),
    )


def invalid_node_pool_status(
    previous: Mapping[str, Any], verdicts: Sequence[Verdict], *, generation: int, now_seconds: float
) -> StatusReport:
    """Return the status of a node pool whose spec cannot be used: it says so, and the rest stays as it was."""
    conditions, transitions = stamp(
        verdicts, previous.get("conditions") or (), generation=generation, now_seconds=now_seconds
    )
    return StatusReport(status={**previous, "conditions": conditions}, transitions=tuple(transitions))


def _summary(
    observed: PoolObservation, decision: PoolDecision, usd_per_hour: float | None, why: str
) -> dict[str, Any]:
    roles = list(dict.fromkeys(variant.role for variant in observed.variants))
    letters = {role: f"{ROLES[role].letter} ".lstrip() for role in roles}
    ready = {role: sum(v.ready for v in observed.variants if v.role is role) for role in roles}
    desired = {role: sum(v.desired for v in observed.variants if v.role is role) for role in roles}
    parked = sum(len(variant.parked) for variant in observed.variants)
    beside = f", {parked} parked" if parked else ""
    now = rate(decision.demand_requests_per_second)
    forecast = next(iter(decision.forecasts.values()), None)
    ahead = rate(forecast.at_horizon.q90) if forecast else None
    summary = {
        "replicas": shorten(
            " ".join(f"{letters[role]}{ready[role]}/{desired[role]}" for role in roles) + beside, 64
        ),
        "recommended": shorten(" ".join(f"{letters[role]}{decision.desired(role)}" for role in roles), 64),
        "demand": None if now is None else f"{now} -> {ahead}/s" if ahead else f"{now}/s",
        "cost": _cost(usd_per_hour, decision.usd_per_hour),
        "why": shorten(why, 96) or None,
    }
    return {key: value for key, value in summary.items() if value is not None}


def _roles(
    observed: PoolObservation,
    decision: PoolDecision,
    last_written: Mapping[VariantKey, LastWrite],
    reversions: Mapping[VariantKey, Reversions],
) -> list[dict[str, Any]]:
    wanted = {variant.key: variant.desired for variant in decision.variants}
    roles: dict[Role, dict[str, Any]] = {}
    for variant in observed.variants:
        recommended = wanted.get(variant.key, variant.desired)
        role = roles.setdefault(
            variant.role,
            {"role": variant.role.value, "ready": 0, "desired": 0, "recommended": 0, "variants": []},
        )
        role["ready"] += variant.ready
        role["desired"] += variant.desired
        role["recommended"] += recommended
        entry = {
            "name": variant.name,
            "ready": variant.ready,
            "starting": len(variant.starting),
            "desired": variant.desired,
            "recommended": recommended,
        }
        if variant.parked:
            entry["parked"] = len(variant.parked)
        if variant.key in last_written:
            entry["lastWritten"] = last_written[variant.key].replicas
            if (written_seconds := last_written[variant.key].at_seconds) is not None:
                entry["lastWrittenTime"] = timestamp(written_seconds)
        reverted = reversions.get(variant.key)
        if reverted is not None and reverted.left_alone_until_seconds > decision.at_seconds:
            entry["reversions"] = len(reverted.at_seconds)
            entry["leftAloneUntil"] = timestamp(reverted.left_alone_until_seconds)
        if decision.routing.get(variant.key):
            entry["weight"] = f"{100 * decision.routing[variant.key]:.0f}%"
        if variant.key in decision.capacity_source:
            entry["capacity"] = shorten(decision.capacity_source[variant.key], 64)
        role["variants"].append(entry)
    for route in decision.routes:
        if route.role in roles:
            roles[route.role].setdefault("routes", []).append(_route(route))
    return list(roles.values())


def _route(route: Route) -> dict[str, Any]:
    weights = sorted(route.weights.items(), key=lambda item: (-item[1], item[0]))
    told = {"weights": [shorten(f"{key.name} {100 * share:.0f}%", 64) for key, share in weights]}
    return told if math.isinf(route.upper_tokens) else {"upToTokens": int(route.upper_tokens), **told}


def _forecast(decision: PoolDecision) -> dict[str, Any] | None:
    forecast = next(iter(decision.forecasts.values()), None)
    if forecast is None:
        return None
    skill = forecast.score.pinball90_ratio if forecast.score else None
    values = {
        "now": rate(forecast.now),
        "p50": rate(forecast.at_horizon.q50),
        "p90": rate(forecast.at_horizon.q90),
        "p99": rate(forecast.at_horizon.q99),
        "skill": None if skill is None else f"{skill:.2f}",
        "source": "persistence" if forecast.demoted else shorten(forecast.source, 64),
    }
    return {key: value for key, value in values.items() if value is not None}


def _lead_time(observed: PoolObservation) -> str | None:
    longest = max((variant.lead_time_seconds for variant in observed.variants), default=None)
    return None if longest is None else duration(longest)


def _cost(running: float | None, recommended: float | None) -> str | None:
    """Return what runs, and what is recommended where that costs something else: ``5.00 -> 12.50``."""
    if running is None or recommended is None or f"{running:.2f}" == f"{recommended:.2f}":
        return _usd(running)
    return f"{running:.2f} -> {recommended:.2f}"


def _last_decision(decision: PoolDecision, why: Reason | None, *, acts: bool) -> dict[str, Any] | None:
    changes = change_words(decision)
    if not changes or why is None:
        return None
    words = "" if acts else " (recommended)"
    return {
        "time": timestamp(decision.at_seconds),
        "reason": why.code.value,
        "message": shorten(why.message, 512),
        "changes": [shorten(f"{change}{words}", 64) for change in changes[:_LONGEST_CHANGES]],
    }
