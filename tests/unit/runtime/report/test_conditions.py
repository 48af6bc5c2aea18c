"""Conditions of targets: what is wrong is said as it is."""

import pytest

from forebay.flow.decision import PoolDecision, Reason, ReasonCode, Step
from forebay.flow.fleet import PoolKey
from forebay.flow.observation import PoolObservation
from forebay.runtime.report.conditions import Verdict, judge

KEY = PoolKey("serving", "chat")
OBSERVED = PoolObservation(key=KEY, at_seconds=0.0, traffic=None, variants=())
DECISION = PoolDecision(key=KEY, at_seconds=0.0, variants=(), reasons=())


def verdicts(*target_problems: str, decision: PoolDecision = DECISION) -> dict[str, Verdict]:
    found = judge(OBSERVED, decision, target_problems=target_problems, reference_problems=(), obstacles=())
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
