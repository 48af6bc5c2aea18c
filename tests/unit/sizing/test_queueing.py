"""Misses against offered work: the formulas and their shape."""

import math
from dataclasses import replace

import numpy as np
import pytest

from forebay.flow.fleet import Role, Slo
from forebay.sizing.queueing import (
    BURST_SECONDS,
    RATE_LASTS_SECONDS,
    decode_miss,
    longer_share,
    miss_share,
    normal_cdf,
    prefill_miss,
    waiting_probability,
)
from forebay.sizing.work import Correction, ReplicaWork, replica_work
from tests.unit.sizing.models import LENGTHS, PERFORMANCE, SLO

WORK = replica_work(PERFORMANCE, Correction(), LENGTHS, SLO)
FEW_SLOTS = replica_work(replace(PERFORMANCE, max_batch=40), Correction(), LENGTHS, SLO)


def _erlang_c(offered: float, servers: int) -> float:
    if offered >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return servers * blocked / (servers - offered * (1.0 - blocked))


def _late(offered: float, servers: int, seconds: float, variability: float, room: float) -> float:
    """P(wait > room): Erlang's C, then the reflected Brownian motion after an exponential time."""
    drift, variance = offered / servers - 1.0, seconds / servers * variability
    decay = (math.sqrt(drift**2 + 2.0 * variance / RATE_LASTS_SECONDS) - drift) / variance
    return _erlang_c(offered, servers) * math.exp(-decay * room)


def _prefill_by_definition(offered: float, replicas: int, work: ReplicaWork, burstiness: float) -> float:
    seconds = work.prefill_seconds
    variability = 2.0 * work.variability + burstiness**2 * BURST_SECONDS * offered / seconds
    rooms = [SLO.ttft_seconds - prompt for prompt in work.prefill_sample.tolist()]
    return sum(_late(offered, replicas, seconds, variability, room) for room in rooms) / len(rooms)


def test_the_normal_distribution_is_right_in_the_middle_and_in_the_tails() -> None:
    x = np.linspace(-8.0, 8.0, 81)
    exact = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in x])
    np.testing.assert_allclose(normal_cdf(x), exact, rtol=3e-7)


@pytest.mark.parametrize("servers", [1, 2, 3, 5, 8, 20, 96, 500])
def test_the_chance_of_waiting_is_erlangs(servers: int) -> None:
    offered = servers * np.linspace(0.01, 1.2, 60)
    exact = [_erlang_c(load, servers) for load in offered.tolist()]
    limit = 3e-4 if servers < 5 else 1e-5
    np.testing.assert_allclose(waiting_probability(offered, np.full(60, float(servers))), exact, atol=limit)


def test_one_server_at_forty_percent_lets_forty_percent_wait() -> None:
    assert waiting_probability(np.array([0.4]), np.array([1.0]))[0] == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("burstiness", [0.0, 0.3])
@pytest.mark.parametrize("offered", [0.2, 1.0, 3.7, 12.0, 55.0])
def test_prefill_misses_follow_the_formula(offered: float, burstiness: float) -> None:
    counts = np.arange(1, 80)
    got = prefill_miss(
        np.full(len(counts), offered / WORK.prefill_seconds), counts.astype(float), WORK, SLO, burstiness
    )
    expected = [_prefill_by_definition(offered, int(n), WORK, burstiness) for n in counts]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=3e-4)


@pytest.mark.parametrize("work", [WORK, FEW_SLOTS], ids=["latency limits", "slots limit"])
@pytest.mark.parametrize("burstiness", [0.0, 0.3])
@pytest.mark.parametrize("role", list(Role))
def test_more_replicas_never_miss_more_and_more_load_never_less(
    role: Role, burstiness: float, work: ReplicaWork
) -> None:
    replicas, rates = np.arange(1.0, 60.0)[:, None], np.linspace(0.0, 300.0, 40)[None, :]
    share = miss_share(role, rates, replicas, work, SLO, burstiness)
    assert np.all((share >= 0.0) & (share <= 1.0))
    assert np.all(np.diff(share, axis=0) <= 1e-7)
    assert np.all(np.diff(share, axis=1) >= -1e-7)


def test_a_wait_decays_as_in_a_queue_that_has_settled_and_grows_as_the_work_left_over() -> None:
    """Far below capacity time plays no part; far above it the wait is the surplus of the time that has passed."""
    variance = np.array([0.01])
    below = longer_share(np.array([0.8]), variance, np.array([[0.05]]))[0]
    assert below == pytest.approx(math.exp(-2.0 * 0.2 * 0.05 / 0.01), rel=0.01)
    above = longer_share(np.array([1.2]), variance, np.array([[30.0]]))[0]
    assert above == pytest.approx(math.exp(-30.0 / (0.2 * RATE_LASTS_SECONDS)), rel=0.01)


def test_bursts_make_more_wait() -> None:
    calm, bursty = (
        prefill_miss(np.array([8.0 / WORK.prefill_seconds]), np.array([10.0]), WORK, SLO, b)[0] for b in (0.0, 0.3)
    )
    assert bursty > 1.5 * calm


def test_prompts_that_no_replica_serves_in_time_are_sized_by_their_work() -> None:
    """A curve that says "no misses" would let prefill fall to one replica for ten busy ones."""
    strict = Slo(ttft_seconds=0.01, itl_seconds=SLO.itl_seconds)
    assert (WORK.prefill_sample >= strict.ttft_seconds).all()
    rates = np.full(3, 9.9 / WORK.prefill_seconds)
    share = prefill_miss(rates, np.array([1.0, 10.0, 20.0]), WORK, strict)
    assert share[0] == pytest.approx(1.0, abs=1e-3)
    assert share[1] > 0.5
    assert share[2] < 0.01


def test_decode_misses_follow_the_number_of_sequences_of_a_birth_death_process() -> None:
    """Sequences leave at the rate ``n / (tokens x (base + slope x n / replicas))``: solved here state by state."""
    replicas = 3
    work = replace(WORK, imbalance=0.0)
    assert work.latency_limits
    for load in (0.7, 0.85, 0.95):
        rate = load * replicas / WORK.decode_seconds
        counts = np.arange(1, 4000)
        iteration = WORK.step_base_seconds + WORK.step_seconds_per_sequence * counts / replicas
        weights = np.cumsum(np.log(rate * WORK.output_tokens * iteration / counts))
        chance = np.exp(weights - weights.max())
        edge = replicas * work.batch
        exact = float(chance[counts > edge].sum() / chance.sum())
        found = decode_miss(np.array([rate]), np.array([float(replicas)]), work, SLO)[0]
        assert found == pytest.approx(exact, rel=0.2, abs=1e-3)


def test_where_slots_limit_the_batch_only_a_wait_for_a_slot_misses() -> None:
    """Iterations stay below the objective; nine busy replicas of ten leave almost nobody waiting too long."""
    assert not FEW_SLOTS.latency_limits
    rates = np.array([9.0, 11.0]) / FEW_SLOTS.decode_seconds
    at_ninety, above = decode_miss(rates, np.full(2, 10.0), FEW_SLOTS, SLO)
    assert at_ninety < 0.002
    assert above > 0.5


def test_replicas_with_long_contexts_miss_before_the_fleet_does() -> None:
    """Few long sequences per replica differ more than many short ones."""
    even = replace(WORK, imbalance=0.0)
    at = np.array([9.5 / WORK.decode_seconds]), np.array([10.0])
    assert WORK.imbalance > 0.01
    assert decode_miss(*at, WORK, SLO)[0] > decode_miss(*at, even, SLO)[0]


def test_nothing_misses_without_traffic() -> None:
    assert prefill_miss(np.zeros(1), np.ones(1), WORK, SLO)[0] < 1e-9
    assert decode_miss(np.zeros(1), np.ones(1), WORK, SLO)[0] < 1e-6
