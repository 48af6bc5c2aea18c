"""Conditions of a pool: each aspect true, false or unknown, why in one word, and a sentence to act on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forebay.flow.decision import PoolDecision, ReasonCode
from forebay.flow.observation import Freshness, PoolObservation
from forebay.runtime.report.text import shorten, timestamp

_LONGEST_MESSAGE = 1000


class Type(StrEnum):
    """Condition types of an InferencePool, and of a GPUNodePool."""

    READY = "Ready"
    METRICS_FRESH = "MetricsFresh"
    TARGETS_FOUND = "TargetsFound"
    CONFLICTED = "Conflicted"
    SCALING_LIMITED = "ScalingLimited"
    REFERENCES_FOUND = "ReferencesFound"
    WITHIN_FLEET_POLICY = "WithinFleetPolicy"
    PROVIDED = "Provided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition before it has a time: ``status`` is True, False or None for unknown."""

    type: Type
    status: bool | None
    reason: str
    message: str


def invalid(message: str) -> tuple[Verdict, ...]:
    """Return the conditions of a pool whose spec cannot be used."""
    return (Verdict(Type.READY, status=False, reason="InvalidSpec", message=message),)


def judge(
    observed: PoolObservation,
    decision: PoolDecision,
    *,
    target_problems: Sequence[str],
    reference_problems: Sequence[str],
    obstacles: Sequence[str],
    restrictions: Sequence[str] = (),
) -> tuple[Verdict, ...]:
    """Return the conditions of a pool after a decision.

    Args:
        observed: of this round.
        decision: of this round.
        target_problems: sentences about targets that are missing, cannot be scaled, or could not be read.
        reference_problems: sentences about references that lead nowhere.
        obstacles: sentences about why the last wish could not be written.
        restrictions: sentences about what the FleetPolicy takes away.
    """
    conflicts = [variant.conflict for variant in observed.variants if variant.conflict]
    return (
        _ready(observed, decision, target_problems),
        _metrics_fresh(observed.freshness, decision),
        _first(Type.TARGETS_FOUND, target_problems, "TargetMissing", "AllFound", "All targets exist.", good=True),
        _first(Type.CONFLICTED, conflicts, "OtherWriter", "NoOtherWriter", "Nobody else scales the targets."),
        _limited(decision, obstacles),
        _first(
            Type.REFERENCES_FOUND,
            reference_problems,
            "ReferenceMissing",
            "AllFound",
            "All referenced objects exist.",
            good=True,
        ),
        _first(
            Type.WITHIN_FLEET_POLICY,
            restrictions,
            "Restricted",
            "NotRestricted",
            "No FleetPolicy restricts this pool.",
            good=True,
        ),
    )


def _ready(observed: PoolObservation, decision: PoolDecision, target_problems: Sequence[str]) -> Verdict:
    ready = sum(variant.ready for variant in observed.variants)
    wanted = sum(variant.desired for variant in decision.variants)
    if target_problems:
        return Verdict(Type.READY, status=False, reason="TargetMissing", message=_joined(target_problems))
    short = [
        f"{role.value} {have} of {want}"
        for role in dict.fromkeys(variant.role for variant in decision.variants)
        if (have := sum(v.ready for v in observed.variants if v.role is role)) < (want := decision.desired(role))
    ]
    if short:
        return Verdict(
            Type.READY, status=False, reason="TooFewReplicas", message=f"Ready replicas: {', '.join(short)}."
        )
    reason = "AsRecommended" if ready == wanted else "MoreThanRecommended"
    return Verdict(Type.READY, status=True, reason=reason, message="All recommended replicas are ready.")


def _metrics_fresh(freshness: Iterable[Freshness], decision: PoolDecision) -> Verdict:
    bad = [item for item in freshness if item.problem is not None]
    if not bad:
        return Verdict(Type.METRICS_FRESH, status=True, reason="Fresh", message="All metrics are recent.")
    lost = [item for item in bad if item.problem is not None and not item.problem.is_advice]
    if not decision.held or not lost:
        # Some signals are optional: what was decided without them is decided.
        return Verdict(
            Type.METRICS_FRESH, status=True, reason="Sufficient", message=f"Not all metrics: {_signals(bad)}."
        )
    reason = lost[0].problem.value if lost[0].problem is not None else "Missing"
    return Verdict(
        Type.METRICS_FRESH,
        status=False,
        reason=reason,
        message=f"No replica is released until these return: {_signals(lost)}.",
    )


def _signals(bad: Sequence[Freshness]) -> str:
    return ", ".join(
        f"{item.signal} ({item.problem}{f': {item.detail}' if item.detail else ''})" for item in bad[:6]
    )


def _limited(decision: PoolDecision, obstacles: Sequence[str]) -> Verdict:
    if obstacles:
        return Verdict(Type.SCALING_LIMITED, status=True, reason="WriteFailed", message=" ".join(obstacles))
    if decision.unserved_share > 0:
        why = next((reason for reason in decision.reasons if reason.code is ReasonCode.LIMITED), None)
        return Verdict(
            Type.SCALING_LIMITED,
            status=True,
            reason=why.code if why else "Unserved",
            message=why.message if why else "Limits leave a part of the demand without capacity.",
        )
    return Verdict(Type.SCALING_LIMITED, status=False, reason="WithinLimits", message="No limit is in the way.")


def _first(
    kind: Type,
    problems: Sequence[str],
    bad_reason: str,
    good_reason: str,
    good_message: str,
    *,
    good: bool = False,
) -> Verdict:
    """Return a condition that is ``good`` without problems and its opposite with them."""
    if problems:
        return Verdict(kind, status=not good, reason=bad_reason, message=_joined(problems))
    return Verdict(kind, status=good, reason=good_reason, message=good_message)


def _joined(problems: Sequence[str]) -> str:
    """Return one text of several sentences, each of which ends."""
    return " ".join(problem if problem.endswith(".") else f"{problem}." for problem in problems)


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition whose status or reason changed: worth an event."""

    verdict: Verdict
    before: str | None
    """Status before; None if the condition is new."""


def stamp(
    verdicts: Iterable[Verdict], previous: Iterable[Mapping[str, Any]], *, generation: int, now_seconds: float
) -> tuple[list[dict[str, Any]], list[Transition]]:
    """Return the conditions as JSON, and what changed since ``previous``.

    ``lastTransitionTime`` moves with the status only, as the API conventions ask.
    """
    old = {str(item.get("type")): item for item in previous}
    conditions: list[dict[str, Any]] = []
    transitions: list[Transition] = []
    for verdict in verdicts:
        status = {True: "True", False: "False", None: "Unknown"}[verdict.status]
        before = old.get(verdict.type.value)
        same = before is not None and before.get("status") == status
        conditions.append(
            {
                "type": verdict.type.value,
                "status": status,
                "observedGeneration": generation,
                "lastTransitionTime": (
                    before["lastTransitionTime"] if same and before is not None else timestamp(now_seconds)
                ),
                "reason": verdict.reason,
                "message": shorten(verdict.message, _LONGEST_MESSAGE),
            }
        )
        if not same or (before is not None and before.get("reason") != verdict.reason):
            transitions.append(Transition(verdict, None if before is None else str(before.get("status"))))
    return conditions, transitions
