"""Conditions of targets: what is wrong is said as it is."""

from dataclasses import replace
from typing import Any

import pytest

from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.decision import PoolDecision, Reason, ReasonCode, Step
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.observation import Note, PoolObservation, Rollout, VariantObservation
from forebay.runtime.report.conditions import Verdict, judge

KEY = PoolKey("serving", "chat")
OBSERVED = PoolObservation(key=KEY, at_seconds=0.0, traffic=None, variants=())
DECISION = PoolDecision(key=KEY, at_seconds=0.0, variants=(), reasons=())


def verdicts(*target_problems: str, decision: PoolDecision = DECISION) -> dict[str, Verdict]:
    found = judge(
        OBSERVED,
        decision,
        mode=Mode.AUTO,
        target_problems=target_problems,
        reference_problems=(),
        obstacles=(),
    )
    return {verdict.type.value: verdict for verdict in found}


@pytest.mark.parametrize(
    "problem",
    [
        "LeaderWorkerSet chat may not be read: allow get on it and on its /scale.",
        "LeaderWorkerSet chat could not be read: GET: 503.",
        "Deployment chat does not exist: create it.",
    ],
)
def test_ready_says_what_is_wrong_with_a_target(problem: str) -> None:
    """Protects: one that may not be read, or could not for once, was said not to exist."""
    found = verdicts(problem)
    assert (found["Ready"].status, found["Ready"].reason) == (False, "TargetMissing")
    assert found["Ready"].message == problem == found["TargetsFound"].message


def test_ready_tells_of_every_target() -> None:
    assert verdicts("One is gone", "Two is, too.")["Ready"].message == "One is gone. Two is, too."


@pytest.mark.parametrize(("limited", "expected"), [(True, "Limited"), (False, "Unserved")])
def test_what_limits_is_a_limit_and_not_the_last_thing_that_the_plan_said(limited: bool, expected: str) -> None:
    said = [Reason(step=Step.PLAN, code=ReasonCode.REMIX, message="prefill: 1 of a becomes 1 of b", changed=True)]
    if limited:
        said.insert(0, Reason(step=Step.PLAN, code=ReasonCode.LIMITED, message="maxReplicas of a", changed=True))
    decision = PoolDecision(key=KEY, at_seconds=0.0, variants=(), reasons=tuple(said), unserved_share=0.2)
    assert verdicts(decision=decision)["ScalingLimited"].reason == expected


def told(variant: VariantObservation) -> dict[str, Verdict]:
    observed = PoolObservation(key=KEY, at_seconds=0.0, traffic=None, variants=(variant,))
    found = judge(observed, DECISION, mode=Mode.AUTO, target_problems=(), reference_problems=(), obstacles=())
    return {verdict.type.value: verdict for verdict in found}


VARIANT = VariantObservation(name="a", role=Role.SERVE, desired=2, ready=2)


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({}, True, "AsOrdered"),
        ({"rollout": Rollout("is being rolled out")}, True, "RolloutInProgress"),
        ({"rollout": Rollout("ImagePullBackOff", stuck=True)}, False, "RolloutStuck"),
        ({"notes": (Note("FailedCreate", "exceeded quota"),)}, False, "FailedCreate"),
        ({"notes": (Note("Reverted", "helm set it to 1"),)}, True, "AsOrdered"),
    ],
)
def test_what_keeps_replicas_from_coming_is_a_condition(change: dict[str, Any], status: bool, reason: str) -> None:
    verdict = told(replace(VARIANT, **change))["Progressing"]
    assert (verdict.status, verdict.reason) == (status, reason)


def test_other_writers_are_told_whether_or_not_they_are_respected() -> None:
    left_alone = told(replace(VARIANT, conflict="b was there first.", conflict_code="SharedTarget"))["Conflicted"]
    assert (left_alone.status, left_alone.reason, left_alone.message) == (
        True,
        "SharedTarget",
        "b was there first.",
    )
    corrected = told(replace(VARIANT, notes=(Note("Reverted", "helm set it to 1."),)))["Conflicted"]
    assert (corrected.status, corrected.reason, corrected.message) == (False, "Reverted", "helm set it to 1.")
