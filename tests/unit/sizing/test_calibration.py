"""A wrong profile is found out, and queueing never calibrates."""

from dataclasses import replace

import numpy as np
import pytest

from forebay.flow.observation import EngineSample
from forebay.flow.performance import Performance
from forebay.sizing.calibration import Calibration, prefill_busy_share
from tests.unit.sizing.models import PERFORMANCE

ROUND = 15.0


def _slower(factor: float) -> Performance:
    """Return a profile of replicas that take ``factor`` times longer than the real ones."""
    return replace(
        PERFORMANCE,
        prefill_base_seconds=factor * PERFORMANCE.prefill_base_seconds,
        prefill_seconds_per_token=factor * PERFORMANCE.prefill_seconds_per_token,
        decode_base_seconds=factor * PERFORMANCE.decode_base_seconds,
        decode_seconds_per_sequence=factor * PERFORMANCE.decode_seconds_per_sequence,
        decode_seconds_per_kv_token=factor * PERFORMANCE.decode_seconds_per_kv_token,
    )


def _sample(requests: float, noise: float = 1.0, itl_factor: float = 1.0) -> EngineSample:
    tokens = 1200.0 * requests
    running = max(8.0, requests)
    step = PERFORMANCE.decode_step_seconds(running, running * 1300.0)
    return EngineSample(
        interval_seconds=ROUND,
        finished=requests,
        output_tokens=200.0 * requests,
        prefills=requests,
        prefill_tokens=tokens,
        prefill_seconds=noise * (0.010 * requests + tokens / 25_000),
        itl_seconds=noise * itl_factor * step / (1.0 - 0.0),
        running=running,
        running_now=running,
        kv_tokens=running * 1300.0,
    )


def _decode_only(sample: EngineSample) -> EngineSample:
    return replace(sample, prefills=None, prefill_tokens=None, prefill_seconds=None)


def _run(profile: Performance, requests: float, minutes: float, *, queued: bool = False) -> Calibration:
    calibration, rng = Calibration.fresh(), np.random.default_rng(0)
    for index in range(round(minutes * 60.0 / ROUND)):
        sample = _sample(requests, noise=float(rng.lognormal(0.0, 0.05)))
        calibration.prefilled(sample, profile)
        calibration.decoded(_decode_only(sample), profile, engines=1, at_seconds=index * ROUND, queued=queued)
    return calibration


@pytest.mark.parametrize("requests", [12.0, 60.0, 300.0], ids=["1/s", "4/s", "20/s"])
def test_a_profile_twice_too_optimistic_is_found_out_within_minutes(requests: float) -> None:
    calibration = _run(_slower(0.5), requests, minutes=5.0)
    assert calibration.correction.prefill == pytest.approx(2.0, abs=0.2)
    assert calibration.correction.decode == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("requests", [12.0, 60.0, 300.0], ids=["1/s", "4/s", "20/s"])
def test_a_profile_twice_too_pessimistic_is_found_out_within_an_hour(requests: float) -> None:
    calibration = _run(_slower(2.0), requests, minutes=60.0)
    assert calibration.correction.prefill == pytest.approx(0.5, abs=0.05)
    assert calibration.correction.decode == pytest.approx(0.5, abs=0.05)


def test_a_right_profile_stays_right_under_noise() -> None:
    calibration = _run(PERFORMANCE, 60.0, minutes=120.0)
    assert calibration.correction.prefill == pytest.approx(1.0, abs=0.03)
    assert calibration.correction.decode == pytest.approx(1.0, abs=0.03)


def test_an_engine_that_changes_after_a_day_is_believed_within_minutes() -> None:
    calibration = _run(PERFORMANCE, 60.0, minutes=240.0)
    for _ in range(20):
        calibration.prefilled(_sample(60.0, noise=2.0), PERFORMANCE)
    assert calibration.correction.prefill == pytest.approx(2.0, abs=0.25)


def test_latency_that_contains_queueing_never_calibrates() -> None:
    calibration = Calibration.fresh()
    for index in range(40):
        sample = _decode_only(_sample(60.0, itl_factor=8.0))
        calibration.decoded(sample, PERFORMANCE, engines=1, at_seconds=index * ROUND, queued=True)
    assert calibration.correction.decode == 1.0
    after = 40 * ROUND
    calibration.decoded(sample, PERFORMANCE, engines=1, at_seconds=after + 60.0, queued=False)
    assert calibration.correction.decode == 1.0, "two minutes after a queue still contain it"


def test_a_quiet_pool_collects_until_it_has_enough() -> None:
    calibration = Calibration.fresh()
    calibration.prefilled(_sample(8.0), _slower(0.5))
    assert calibration.correction.prefill == 1.0
    for _ in range(3):
        calibration.prefilled(_sample(8.0), _slower(0.5))
    assert calibration.correction.prefill > 1.1


def test_missing_measurements_change_nothing() -> None:
    calibration = Calibration.fresh()
    empty = EngineSample(interval_seconds=ROUND)
    calibration.prefilled(empty, PERFORMANCE)
    calibration.decoded(empty, PERFORMANCE, engines=3, at_seconds=0.0, queued=False)
    assert calibration.correction == Calibration.fresh().correction


def test_prefills_on_the_same_replica_do_not_look_like_slow_decoding() -> None:
    """On a replica that serves both phases the ITL is stretched by the time in prefills, which is known."""
    calibration = Calibration.fresh()
    for index in range(40):
        sample = _sample(100.0)
        share = prefill_busy_share(sample, 1)
        stretched = replace(sample, itl_seconds=(sample.itl_seconds or 0.0) / (1.0 - share))
        calibration.decoded(stretched, PERFORMANCE, engines=1, at_seconds=index * ROUND, queued=False)
    assert calibration.correction.decode == pytest.approx(1.0, abs=0.02)
