"""Conditions of a pool: each aspect true, false or unknown, why in one word, and a sentence to act on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.decision import PoolDecision, ReasonCode
from forebay.flow.observation import Freshness, Note, PoolObservation
from forebay.runtime.cluster.nodepools import WAITING_FOR_NODE
from forebay.runtime.report.text import shorten, timestamp

_LONGEST_MESSAGE = 1000
_ABOUT_WRITERS = ("Reverted", "SharedTarget")
"""Codes of notes about other writers that do not keep a target from being scaled."""
_BLIND = frozenset({ReasonCode.TELEMETRY_MISSING, ReasonCode.NOT_OBSERVED})
"""Reasons to hold capacity that metrics are to blame for."""


class Type(StrEnum):
    """Condition types of an InferencePool, and of a GPUNodePool."""

    READY = "Ready"
    AS_RECOMMENDED = "AsRecommended"
    METRICS_FRESH = "MetricsFresh"
    TARGETS_FOUND = "TargetsFound"
    CONFLICTED = "Conflicted"
    PROGRESSING = "Progressing"
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
    subject: str | None = None
    """What the message is about, where its numbers breathe: another one is news, another message is not."""


def invalid(message: str) -> tuple[Verdict, ...]:
    """Return the conditions of a pool whose spec cannot be used."""
    return (Verdict(Type.READY, status=False, reason="InvalidSpec", message=message),)


def judge(
    observed: PoolObservation,
    decision: PoolDecision,
    *,
    mode: Mode,
    target_problems: Sequence[str],
    reference_problems: Sequence[str],
    obstacles: Sequence[str],
    restrictions: Sequence[str] = (),
) -> tuple[Verdict, ...]:
    """Return the conditions of a pool after a decision.

    Args:
        observed: of this round.
        decision: of this round.
        mode: of the pool.
        target_problems: sentences about targets that are missing, cannot be scaled, or could not be read.
        reference_problems: sentences about references that lead nowhere.
        obstacles: sentences about why the last wish could not be written.
        restrictions: sentences about what the FleetPolicy takes away.
    """
    return (
        _ready(observed, target_problems),
        _as_recommended(observed, decision, mode, obstacles),
        _metrics_fresh(observed.freshness, decision),
        _first(Type.TARGETS_FOUND, target_problems, "TargetMissing", "AllFound", "All targets exist.", good=True),
        _conflicted(observed),
        _progressing(observed),
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


def _conflicted(observed: PoolObservation) -> Verdict:
    """Return whether targets are left alone because somebody else sets their count."""
    conflicts = [Note(v.conflict_code, v.conflict) for v in observed.variants if v.conflict]
    if conflicts:
        return _of_notes(Type.CONFLICTED, conflicts, status=True)
    if about := [note for note in _notes(observed) if note.code in _ABOUT_WRITERS]:
        return _of_notes(Type.CONFLICTED, about, status=False)
    message = "Nobody else scales the targets."
    return Verdict(Type.CONFLICTED, status=False, reason="NoOtherWriter", message=message)


def _progressing(observed: PoolObservation) -> Verdict:
    """Return whether what was ordered is there or on its way."""
    rollouts = [variant.rollout for variant in observed.variants if variant.rollout is not None]
    bad = [Note("RolloutStuck", rollout.message) for rollout in rollouts if rollout.stuck]
    bad += [note for note in _notes(observed) if note.code not in {*_ABOUT_WRITERS, WAITING_FOR_NODE}]
    if bad:
        return _of_notes(Type.PROGRESSING, bad, status=False)
    going = [Note("RolloutInProgress", rollout.message) for rollout in rollouts]
    going += [note for note in _notes(observed) if note.code == WAITING_FOR_NODE]
    if going:
        return _of_notes(Type.PROGRESSING, going, status=True)
    message = "All ordered replicas are ready or on their way."
    return Verdict(Type.PROGRESSING, status=True, reason="AsOrdered", message=message)


def _notes(observed: PoolObservation) -> list[Note]:
    return [note for variant in observed.variants for note in variant.notes]


def _of_notes(kind: Type, notes: Sequence[Note], *, status: bool) -> Verdict:
    """Return a verdict with the code of the first note and the sentences of all, each once."""
    messages = list(dict.fromkeys(note.message for note in notes))
    return Verdict(kind, status=status, reason=notes[0].code, message=_joined(messages))


def _ready(observed: PoolObservation, target_problems: Sequence[str]) -> Verdict:
    """Return whether what the targets ask for is ready, whatever is recommended: as `kubectl wait` means it."""
    if target_problems:
        return Verdict(Type.READY, status=False, reason="TargetMissing", message=_joined(target_problems))
    short = [
        f"{role.value} {have} of {want}"
        for role in dict.fromkeys(variant.role for variant in observed.variants)
        if (have := sum(v.ready for v in observed.variants if v.role is role))
        < (want := sum(v.desired for v in observed.variants if v.role is role))
    ]
    if short:
        message = f"Ready replicas: {', '.join(short)}."
        return Verdict(Type.READY, status=False, reason="ReplicasNotReady", message=message)
    message = "All replicas that the targets ask for are ready."
    return Verdict(Type.READY, status=True, reason="ReplicasReady", message=message)


def _as_recommended(
    observed: PoolObservation, decision: PoolDecision, mode: Mode, obstacles: Sequence[str]
) -> Verdict:
    """Return whether the targets ask for what is recommended."""
    differing = [variant for variant in decision.variants if variant.desired != variant.current]
    if not differing:
        message = "The targets ask for the recommended replicas."
        return Verdict(Type.AS_RECOMMENDED, status=True, reason="AsRecommended", message=message)
    what = ", ".join(f"{variant.key} {variant.current} -> {variant.desired}" for variant in differing)
    contested = {variant.key for variant in observed.variants if variant.conflict is not None}
    if mode is not Mode.AUTO:
        reason, why = f"Mode{mode.value}", f"mode {mode.value} writes no replicas"
    elif obstacles:
        reason, why = "WriteFailed", "the write failed, see ScalingLimited"
    elif any(variant.key in contested for variant in differing):
        reason, why = "Conflicted", "the target is left alone, see Conflicted"
    else:
        reason, why = "Scaling", "being written"
    message = f"Recommended: {what} ({why})."
    return Verdict(Type.AS_RECOMMENDED, status=False, reason=reason, message=message)


def _metrics_fresh(freshness: Iterable[Freshness], decision: PoolDecision) -> Verdict:
    """Return whether the metrics are there; that capacity is held for another reason does not matter here."""
    bad = [item for item in freshness if item.problem is not None]
    if not bad:
        return Verdict(Type.METRICS_FRESH, status=True, reason="Fresh", message="All metrics are recent.")
    subject = ",".join(f"{item.signal}/{item.problem}" for item in bad)
    lost = [item for item in bad if item.problem is not None and not item.problem.is_advice]
    if not lost or not any(reason.code in _BLIND for reason in decision.reasons):
        # Some signals are optional: what was decided without them is decided.
        message = f"Not all metrics: {_signals(bad)}."
        return Verdict(Type.METRICS_FRESH, status=True, reason="Sufficient", message=message, subject=subject)
    return Verdict(
        Type.METRICS_FRESH,
        status=False,
        reason=lost[0].problem.value if lost[0].problem is not None else "Missing",
        message=f"No replica is released until these return: {_signals(lost)}.",
        subject=subject,
    )


def _signals(bad: Sequence[Freshness]) -> str:
    """Return the signals by what is wrong with them: one outage is told once, however many signals it takes."""
    by_problem: dict[tuple[str, str], list[str]] = {}
    for item in bad:
        by_problem.setdefault((str(item.problem), item.detail), []).append(item.signal)
    return "; ".join(
        f"{', '.join(signals)} ({problem}{f': {detail}' if detail else ''})"
        for (problem, detail), signals in list(by_problem.items())[:6]
    )


def _limited(decision: PoolDecision, obstacles: Sequence[str]) -> Verdict:
    if obstacles:
        return Verdict(Type.SCALING_LIMITED, status=True, reason="WriteFailed", message=" ".join(obstacles))
    limits = [reason for reason in decision.reasons if reason.code is ReasonCode.LIMITED]
    if limits:
        message = _joined(list(dict.fromkeys(reason.message for reason in limits)))
        return Verdict(Type.SCALING_LIMITED, status=True, reason="Limited", message=message, subject="Limited")
    if decision.unserved_share > 0:
        message = "The recommended replicas cannot carry the expected demand."
        return Verdict(Type.SCALING_LIMITED, status=True, reason="Unserved", message=message)
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
