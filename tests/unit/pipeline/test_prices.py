"""What replicas cost, where a price is zero or not known."""

import pytest

from forebay.flow.decision import PoolDecision, ReasonCode
from forebay.flow.fleet import Role, VariantKey
from tests.unit.pipeline.fleets import KEY, split_pool, variant, world

FIRST, SECOND = VariantKey(Role.PREFILL, "first"), VariantKey(Role.PREFILL, "second")


def decided(first: float | None, second: float | None, decode: float | None = 1.0) -> PoolDecision:
    """Return what a pool without replicas of two equal types of prefill buys."""
    types = (
        variant(Role.PREFILL, "first", usd_per_replica_hour=first, min_replicas=0),
        variant(Role.PREFILL, "second", usd_per_replica_hour=second, min_replicas=0),
        variant(Role.DECODE, usd_per_replica_hour=decode),
    )
    pool = split_pool(variants=types)
    return world(pool, rate=40.0, replicas={KEY: {"first": 0, "second": 0, "decode": 1}}).run(8)


@pytest.mark.parametrize("prices", [(0.0, 0.0, 0.0), (0.0, 0.0, 2.0), (2.0, 2.0, 0.0)], ids=str)
def test_a_price_of_zero_is_a_price(prices: tuple[float, float, float]) -> None:
    """Free GPUs stopped every round; they are bought, but not without end."""
    decision = decided(*prices)
    counts = {choice.key: choice.desired for choice in decision.variants}
    assert ReasonCode.STEP_FAILED not in {reason.code for reason in decision.reasons}
    assert 3 <= counts[FIRST] + counts[SECOND] <= 12
    assert 1 <= counts[VariantKey(Role.DECODE, "decode")] <= 12


def test_free_replicas_go_first() -> None:
    counts = {choice.key: choice.desired for choice in decided(1.0, 0.0).variants}
    assert counts[FIRST] == 0 < counts[SECOND]


def test_a_price_that_is_not_known_attracts_nobody_and_is_told() -> None:
    """An unpriced GPU counted as one dollar beside one of three, and got the whole fleet."""
    decision = decided(3.0, None)
    counts = {choice.key: choice.desired for choice in decision.variants}
    assert counts[FIRST] > 0, "types that cost the same are bought in their order"
    assert any(reason.code is ReasonCode.PRICE_UNKNOWN for reason in decision.reasons)
    assert not any(reason.code is ReasonCode.PRICE_UNKNOWN for reason in decided(None, None, None).reasons)
