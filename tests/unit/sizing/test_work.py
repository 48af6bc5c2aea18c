"""What a request costs on a replica."""

from dataclasses import replace

import pytest

from forebay.flow.fleet import Role
from forebay.sizing.work import Correction, edge_batch, replica_work
from tests.unit.sizing.models import LENGTHS, PERFORMANCE, SLO


def test_a_request_costs_its_prefill_and_its_share_of_the_edge_batch() -> None:
    work = replica_work(PERFORMANCE, Correction(), LENGTHS, SLO)
    assert work.prefill_seconds == pytest.approx(0.010 + 1200 / 25_000)
    # (25 ms - 8 ms) / (60 us + 22 ns x 1300 tokens) sequences, limited by .97 x 256
    assert work.batch == pytest.approx(min(0.97 * 256, 0.9 * 400_000 / 1300, 0.017 / (60e-6 + 22e-9 * 1300)))
    step = 0.008 + (60e-6 + 22e-9 * 1300) * work.batch
    assert work.decode_seconds == pytest.approx(200.0 * step / work.batch)


@pytest.mark.parametrize(
    ("changes", "context", "expected"),
    [
        ({"max_batch": 40}, 1300.0, 0.97 * 40),
        ({"kv_capacity_tokens": 26_000}, 1300.0, 0.9 * 20),
        ({}, 1300.0, 0.017 / (60e-6 + 22e-9 * 1300)),
        ({"decode_base_seconds": 0.03}, 1300.0, 1.0),
    ],
    ids=["batch", "memory", "latency", "impossible"],
)
def test_the_tightest_limit_sets_the_batch(changes: dict[str, float], context: float, expected: float) -> None:
    performance = replace(PERFORMANCE, **changes)  # type: ignore[arg-type]
    assert edge_batch(performance, 1.0, context, SLO.itl_seconds) == pytest.approx(expected)


def test_slower_replicas_cost_more_in_both_phases() -> None:
    fast = replica_work(PERFORMANCE, Correction(), LENGTHS, SLO)
    slow = replica_work(PERFORMANCE, Correction(prefill=2.0, decode=1.5), LENGTHS, SLO)
    assert slow.prefill_seconds == pytest.approx(2.0 * fast.prefill_seconds)
    assert slow.decode_seconds > 1.5 * fast.decode_seconds


def test_a_mixed_replica_meets_the_objective_exactly_at_its_rate() -> None:
    """At one busy replica's worth of requests the ITL, stretched by prefills, is the objective."""
    work = replica_work(PERFORMANCE, Correction(), LENGTHS, SLO)
    rate = 1.0 / work.seconds(Role.SERVE)
    sequences = rate * LENGTHS.output_tokens * SLO.itl_seconds
    step = PERFORMANCE.decode_step_seconds(sequences, sequences * LENGTHS.context_tokens)
    assert step / (1.0 - rate * work.prefill_seconds) == pytest.approx(SLO.itl_seconds, rel=1e-6)
