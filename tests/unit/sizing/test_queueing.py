"""Misses against offered work: the formulas and their shape."""

import math

import numpy as np
import pytest

from forebay.flow.fleet import Role
from forebay.sizing.queueing import decode_miss, miss_share, normal_cdf, prefill_miss
from forebay.sizing.work import Correction, ReplicaWork, replica_work
from tests.unit.sizing.models import LENGTHS, PERFORMANCE, SLO

WORK = replica_work(PERFORMANCE, Correction(), LENGTHS, SLO)


def _prefill_by_definition(offered: float, replicas: int, work: ReplicaWork) -> float:
    unservable = work.unservable_share(SLO)
    if offered >= 0.999 * replicas:
        return 1.0 - unservable
    beta = (replicas - offered) / math.sqrt(offered)
    phi = 0.5 * (1.0 + math.erf(beta / math.sqrt(2.0)))
    waits = 1.0 / (1.0 + math.sqrt(2.0 * math.pi) * beta * phi * math.exp(beta**2 / 2.0)) if beta <= 12.0 else 0.0
    late = 0.0
    for seconds in work.prefill_sample:
        slack = SLO.ttft_seconds - seconds
        rate = (replicas - offered) / (work.prefill_seconds * work.variability)
        late += 1.0 if slack <= 0.0 else waits * math.exp(-rate * slack)
    return late / len(work.prefill_sample) - unservable


def test_the_normal_distribution_is_right_in_the_middle_and_in_the_tails() -> None:
    x = np.linspace(-8.0, 8.0, 81)
    exact = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in x])
    np.testing.assert_allclose(normal_cdf(x), exact, rtol=3e-7)


@pytest.mark.parametrize("offered", [0.2, 1.0, 3.7, 12.0, 55.0])
def test_prefill_misses_follow_the_formula(offered: float) -> None:
    counts = np.arange(1, 80)
    got = prefill_miss(np.full(len(counts), offered), counts.astype(float), WORK, SLO)
    expected = [_prefill_by_definition(offered, int(n), WORK) for n in counts]
    np.testing.assert_allclose(got, np.maximum(expected, 0.0), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("role", list(Role))
def test_more_replicas_never_miss_more_and_more_load_never_less(role: Role) -> None:
    replicas, rates = np.arange(1.0, 60.0)[:, None], np.linspace(0.0, 300.0, 40)[None, :]
    share = miss_share(role, rates, replicas, WORK, SLO)
    assert np.all((share >= 0.0) & (share <= 1.0))
    assert np.all(np.diff(share, axis=0) <= 1e-9)
    assert np.all(np.diff(share, axis=1) >= -1e-9)


def test_decode_is_soft_where_prefill_is_a_cliff() -> None:
    """Half of the requests miss their ITL at a full edge batch; a full prefill queue fails everybody."""
    assert decode_miss(np.array([9.85]), np.array([10.0]), WORK)[0] == pytest.approx(0.5)
    assert prefill_miss(np.array([10.0]), np.array([10.0]), WORK, SLO)[0] == pytest.approx(1.0)


def test_nothing_misses_without_traffic() -> None:
    assert prefill_miss(np.zeros(1), np.ones(1), WORK, SLO)[0] == 0.0
    assert decode_miss(np.zeros(1), np.ones(1), WORK)[0] < 1e-6
