"""What a person reads first, and that each role reads its own."""

from forebay.flow.decision import PoolDecision, Reason, ReasonCode, Step
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.observation import PoolObservation, VariantObservation
from forebay.runtime.report.why import main_reason, reason_of_role, short_why

KEY = PoolKey("serving", "chat")
SIZED = Reason(
    step=Step.SIZE,
    code=ReasonCode.SIZED,
    message="decode: 0.62 busy replicas expected",
    numbers={"erlangs": 0.62, "order": 2.0},
    role=Role.DECODE,
)


def observed(*variants: VariantObservation) -> PoolObservation:
    return PoolObservation(key=KEY, at_seconds=0.0, traffic=None, variants=variants)


def decided(*reasons: Reason) -> PoolDecision:
    return PoolDecision(key=KEY, at_seconds=0.0, variants=(), reasons=reasons)


def test_a_need_is_told_with_what_there_is() -> None:
    one = VariantObservation(name="h100", role=Role.DECODE, desired=1, ready=1)
    assert short_why(SIZED, observed(one)) == "decode needs 2 (0.6 busy + headroom), has 1"
    other = VariantObservation(name="l40s", role=Role.DECODE, desired=3, ready=3)
    assert short_why(SIZED, observed(one, other)) == (
        "decode needs 2 in h100 equivalents (0.6 busy + headroom), has 1 h100 + 3 l40s"
    )


def test_an_event_carries_the_reason_of_its_own_role() -> None:
    """Protects: `ScaledOut prefill ... maxReplicas 8 of decode`."""
    limit = Reason(step=Step.PLAN, code=ReasonCode.LIMITED, message="maxReplicas 8 of decode", changed=True)
    prefill = Reason(step=Step.SIZE, code=ReasonCode.SIZED, message="prefill needs 3", role=Role.PREFILL)
    decision = decided(prefill, SIZED, limit)
    assert main_reason(decision) is limit
    assert reason_of_role(decision, Role.PREFILL) is prefill
    assert reason_of_role(decision, Role.DECODE) is SIZED
    assert reason_of_role(decided(limit), Role.DECODE) is None
