"""Work by prompt length: told apart only where it makes a difference between GPU types."""

import math
from dataclasses import replace

import pytest

from forebay.flow.fleet import Role, Slo, VariantKey
from forebay.flow.performance import Performance
from forebay.sizing.buckets import Believing, length_buckets
from forebay.sizing.work import Correction, Lengths
from tests.keys import decode, prefill

FAST = Performance(
    prefill_base_seconds=0.02,
    prefill_seconds_per_token=1e-5,
    decode_base_seconds=0.008,
    decode_seconds_per_sequence=0.00006,
    decode_seconds_per_kv_token=22e-9,
    max_batch=256,
    kv_capacity_tokens=400_000,
)
SLOW = replace(FAST, prefill_base_seconds=0.01, prefill_seconds_per_token=2e-4)
SAMPLE = (100.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1500.0, 2000.0, 4000.0, 8000.0)
LENGTHS = Lengths(1860.0, 200.0, 2040.0, SAMPLE)
SLO = Slo(ttft_seconds=0.5, itl_seconds=0.025)


def believing(role: Role, **performances: Performance) -> dict[VariantKey, Believing]:
    return {VariantKey(role, name): Believing(one, Correction()) for name, one in performances.items()}


@pytest.mark.parametrize("role", list(Role))
def test_equal_variants_need_no_buckets(role: Role) -> None:
    assert length_buckets(role, LENGTHS, SLO, believing(role, a=FAST, b=FAST), VariantKey(role, "a")) == ()
    assert length_buckets(role, LENGTHS, SLO, believing(role, a=FAST), VariantKey(role, "a")) == ()


def test_a_type_that_is_too_slow_for_long_prompts_serves_short_ones_only() -> None:
    buckets = length_buckets(
        Role.PREFILL, LENGTHS, SLO, believing(Role.PREFILL, fast=FAST, slow=SLOW), prefill("fast")
    )
    assert sum(bucket.share for bucket in buckets) == pytest.approx(1.0)
    assert [bucket.upper_tokens for bucket in buckets] == sorted(bucket.upper_tokens for bucket in buckets)
    assert math.isinf(buckets[-1].upper_tokens)
    speed = [dict(bucket.speed)[prefill("slow")] for bucket in buckets]
    assert all(dict(bucket.speed)[prefill("fast")] == pytest.approx(1.0) for bucket in buckets)
    assert speed[0] > speed[3] > speed[5] > 0, "the longer the prompt, the less the slow type is worth"
    assert speed[-2:] == [0.0, 0.0], "0.81 s and 1.61 s of prefill are beyond a TTFT of 0.5 s"


def test_decode_differs_by_the_context_that_a_prompt_brings() -> None:
    thin = replace(FAST, decode_seconds_per_kv_token=200e-9)
    buckets = length_buckets(Role.DECODE, LENGTHS, SLO, believing(Role.DECODE, a=FAST, thin=thin), decode("a"))
    speed = [dict(bucket.speed)[decode("thin")] for bucket in buckets]
    assert speed[0] > speed[-1] > 0
