"""Capacity learned from telemetry alone."""

from dataclasses import replace

import numpy as np
import pytest

from forebay.flow.observation import EngineSample
from forebay.sizing.learned import LearnedCapacity
from forebay.sizing.work import Correction, replica_work
from tests.unit.sizing.models import LENGTHS, PERFORMANCE, SLO


def _sample(rng: "np.random.Generator", *, batch: float, requests: float, prompt: float = 1200.0) -> EngineSample:
    step = PERFORMANCE.decode_step_seconds(batch, batch * 1300.0)
    tokens = requests * prompt
    return EngineSample(
        interval_seconds=15.0,
        prefills=requests,
        prefill_tokens=tokens,
        prefill_seconds=(requests * 0.010 + tokens / 25_000) * float(rng.lognormal(0.0, 0.05)),
        itl_seconds=step * float(rng.lognormal(0.0, 0.05)),
        running=batch,
        running_now=batch,
        kv_tokens=batch * 1300.0,
        kv_usage=batch * 1300.0 / 400_000,
    )


def _learn(minutes: float, largest_batch: float = 100.0) -> LearnedCapacity:
    """Learn prefill and decode on separate replicas, while the load swings."""
    learned, rng = LearnedCapacity.fresh(SLO), np.random.default_rng(0)
    for index in range(round(minutes * 4)):
        swing = 0.6 + 0.4 * np.sin(index / 20.0)
        sample = _sample(rng, batch=largest_batch * swing, requests=50.0 * swing, prompt=1200.0 * swing)
        learned.prefilled(sample)
        quiet = EngineSample(
            interval_seconds=15.0,
            itl_seconds=sample.itl_seconds,
            running=sample.running,
            kv_tokens=sample.kv_tokens,
            kv_usage=sample.kv_usage,
        )
        learned.decoded(quiet, engines=1, queued=False)
    return learned


def test_nothing_is_known_before_traffic() -> None:
    learned = LearnedCapacity.fresh(SLO)
    assert not learned.knows_prefill
    assert not learned.knows_decode


def test_capacity_is_learned_within_minutes_and_is_never_taken_for_more_than_it_is() -> None:
    learned = _learn(10.0)
    got = learned.performance(input_tokens=1200.0, context_tokens=1300.0)
    believed = replica_work(got, Correction(), LENGTHS, SLO)
    true = replica_work(PERFORMANCE, Correction(), LENGTHS, SLO)
    assert 0.97 * true.prefill_seconds <= believed.prefill_seconds <= 1.2 * true.prefill_seconds
    assert 0.97 * true.decode_seconds <= believed.decode_seconds <= 1.3 * true.decode_seconds


def test_care_shrinks_with_evidence() -> None:
    early, late = _learn(1.0), _learn(60.0)
    point = [1.0, 3.0]
    assert late.prefill.predict(point)[1] < early.prefill.predict(point)[1]


def test_batches_are_explored_by_doubling() -> None:
    learned = _learn(30.0, largest_batch=10.0)
    assert learned.performance(input_tokens=1200.0, context_tokens=1300.0).max_batch == 19
    assert LearnedCapacity.fresh(SLO).performance(input_tokens=1.0, context_tokens=1.0).max_batch == 8


def test_the_kv_cache_size_follows_from_its_use() -> None:
    assert _learn(5.0).performance(input_tokens=1.0, context_tokens=1.0).kv_capacity_tokens == pytest.approx(
        400_000, rel=1e-3
    )


def test_waiting_for_a_slot_teaches_nothing() -> None:
    learned, rng = LearnedCapacity.fresh(SLO), np.random.default_rng(0)
    learned.decoded(_sample(rng, batch=50.0, requests=10.0), engines=1, queued=True)
    assert learned.decode.samples == 0


def test_replicas_that_drain_share_the_load() -> None:
    """Protects: after a scale-in one replica seemed to have run the batches of four, and was believed able to."""
    learned = LearnedCapacity.fresh(SLO)
    sample = _sample(np.random.default_rng(0), batch=30.0, requests=50.0)
    load = replace(sample, running=120.0, kv_tokens=4.0 * (sample.kv_tokens or 0.0))
    learned.decoded(load, engines=4, queued=False)
    assert learned.largest_batch == 30.0
