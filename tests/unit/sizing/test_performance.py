"""From measured points to a local linear model."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.flow.performance import DecodePoint, PrefillPoint, ProfilePoints
from forebay.sizing.performance import local_performance
from forebay.sizing.work import edge_batch
from tests.unit.sizing.models import PERFORMANCE

LINEAR = ProfilePoints(
    prefill=tuple(PrefillPoint(n, PERFORMANCE.prefill_seconds(n)) for n in (128.0, 512.0, 2048.0, 8192.0)),
    decode=tuple(
        DecodePoint(b, c, PERFORMANCE.decode_step_seconds(b, b * c))
        for b, c in product((1.0, 16.0, 64.0, 256.0), (512.0, 2048.0, 4096.0))
    ),
    max_batch=256,
    kv_capacity_tokens=400_000,
    source="test",
)


def test_points_of_a_linear_engine_give_that_engine_back() -> None:
    local = local_performance(LINEAR, input_tokens=1200.0, context_tokens=1300.0, itl_seconds=0.025)
    got = local.performance
    assert got.prefill_seconds(1200.0) == pytest.approx(PERFORMANCE.prefill_seconds(1200.0))
    assert got.prefill_seconds(700.0) == pytest.approx(PERFORMANCE.prefill_seconds(700.0))
    for batch in (60.0, 150.0, 190.0):
        expected = PERFORMANCE.decode_step_seconds(batch, batch * 1300.0)
        assert got.decode_step_seconds(batch, batch * 1300.0) == pytest.approx(expected, rel=1e-3)
    assert local.beyond == ()


def test_longer_than_measured_is_said_and_treated_with_care() -> None:
    local = local_performance(LINEAR, input_tokens=20_000.0, context_tokens=9000.0, itl_seconds=0.025)
    assert local.performance.prefill_seconds(20_000.0) > PERFORMANCE.prefill_seconds(20_000.0)
    believed = local.performance.decode_step_seconds(30.0, 30.0 * 9000.0)
    assert believed > PERFORMANCE.decode_step_seconds(30.0, 30.0 * 9000.0)
    assert len(local.beyond) == 2
    assert "longest measured (8192)" in local.beyond[0]
    assert "longest measured (4096)" in local.beyond[1]


def test_no_batch_beyond_the_largest_measured() -> None:
    small = ProfilePoints(
        prefill=LINEAR.prefill,
        decode=tuple(point for point in LINEAR.decode if point.batch <= 16.0),
        max_batch=256,
        kv_capacity_tokens=400_000,
    )
    local = local_performance(small, input_tokens=1200.0, context_tokens=1300.0, itl_seconds=0.025)
    assert edge_batch(local.performance, 1.0, 1300.0, 0.025) <= 16.0
    assert any("largest measured batch (16)" in words for words in local.beyond)


def test_noise_that_decreases_is_pooled() -> None:
    points = ProfilePoints(
        prefill=(PrefillPoint(100.0, 0.05), PrefillPoint(200.0, 0.04), PrefillPoint(400.0, 0.10)),
        decode=(DecodePoint(1.0, 500.0, 0.012), DecodePoint(8.0, 500.0, 0.010), DecodePoint(32.0, 500.0, 0.02)),
        max_batch=32,
        kv_capacity_tokens=100_000,
    )
    local = local_performance(points, input_tokens=150.0, context_tokens=500.0, itl_seconds=0.05)
    assert local.performance.prefill_seconds(150.0) == pytest.approx(0.045)
    assert local.performance.decode_seconds_per_sequence >= 0.0


@given(
    seconds=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6),
    steps=st.lists(st.floats(0.001, 0.2), min_size=1, max_size=8),
    prompt=st.floats(1.0, 50_000.0),
    context=st.floats(1.0, 50_000.0),
    itl=st.floats(0.002, 0.5),
)
def test_any_profile_gives_times_that_are_positive_and_never_fall_with_load(
    seconds: list[float], steps: list[float], prompt: float, context: float, itl: float
) -> None:
    points = ProfilePoints(
        prefill=tuple(PrefillPoint(100.0 * (i + 1), s) for i, s in enumerate(seconds)),
        decode=tuple(DecodePoint(4.0 ** (i % 4), 500.0 * (1 + i // 4), s) for i, s in enumerate(steps)),
        max_batch=64,
        kv_capacity_tokens=1_000_000,
    )
    got = local_performance(points, input_tokens=prompt, context_tokens=context, itl_seconds=itl).performance
    assert got.prefill_base_seconds >= 0.0
    assert got.prefill_seconds_per_token >= 0.0
    assert got.prefill_seconds(prompt) > 0.0
    assert min(got.decode_base_seconds, got.decode_seconds_per_sequence, got.decode_seconds_per_kv_token) >= -1e-12
    assert got.decode_step_seconds(1.0, context) > 0.0


def test_a_profile_without_points_is_refused() -> None:
    empty = ProfilePoints(prefill=(), decode=(), max_batch=1, kv_capacity_tokens=1)
    with pytest.raises(ValueError, match="give prefill or decode measurements"):
        local_performance(empty, input_tokens=1.0, context_tokens=1.0, itl_seconds=0.1)


def test_a_context_with_one_batch_goes_on_like_the_one_with_several() -> None:
    """Long contexts are often measured at batch 1 only; the longer KV cache is then read once per sequence."""
    decode = [DecodePoint(batch, 576.0, 0.029 + 0.0003 * batch) for batch in (1.0, 8.0, 64.0)]
    points = ProfilePoints(
        prefill=(PrefillPoint(512.0, 0.05), PrefillPoint(4096.0, 0.4)),
        decode=(*decode, DecodePoint(1.0, 8256.0, 0.0309)),
        max_batch=64,
        kv_capacity_tokens=1_300_000,
    )
    local = local_performance(points, input_tokens=1000.0, context_tokens=2000.0, itl_seconds=0.06).performance
    measured_kv = (0.0309 - 0.0293) / (8256.0 - 576.0)
    expected = 0.029 + 32.0 * (0.0003 + measured_kv * (2000.0 - 576.0))
    assert local.decode_step_seconds(32.0, 32.0 * 2000.0) == pytest.approx(expected, rel=0.05)
