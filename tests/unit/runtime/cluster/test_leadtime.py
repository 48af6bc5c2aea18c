"""Lead times: a prior that fades, quantiles that hold, nothing learned from clock errors and crashes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.runtime.cluster.leadtime import (
    NODE_PRIOR,
    START_UP_PRIOR,
    LeadTimeBook,
    LeadTimeEstimator,
    PhasePrior,
    PodTimes,
)


def times(uid: str = "a", **changes: object) -> PodTimes:
    given_times = {
        "uid": uid,
        "created_seconds": 100.0,
        "scheduled_seconds": 101.0,
        "ready_seconds": 141.0,
        "restarted": False,
        "node_created_seconds": 50.0,
    }
    return PodTimes(**{**given_times, **changes})  # type: ignore[arg-type]


def see(book: LeadTimeBook, seen: PodTimes, *, variant: str = "v") -> None:
    book.see(seen, variant=variant, node_pool="h100", now_seconds=500.0, shortest_deadline_seconds=900.0)


def test_without_observations_the_prior_speaks() -> None:
    quantiles = LeadTimeEstimator(NODE_PRIOR).quantiles()
    assert quantiles.p50_seconds == pytest.approx(240.0)
    assert quantiles.p90_seconds == pytest.approx(450.0)
    assert quantiles.observed == 0


def test_many_observations_replace_the_prior() -> None:
    estimator = LeadTimeEstimator(NODE_PRIOR)
    rng = np.random.default_rng(7)
    for seconds in np.exp(rng.normal(math.log(60.0), 0.3, 400)):
        estimator.observe(float(seconds))
    quantiles = estimator.quantiles()
    assert quantiles.p50_seconds == pytest.approx(60.0, rel=0.1)
    assert quantiles.p90_seconds == pytest.approx(60.0 * math.exp(1.2816 * 0.3), rel=0.15)


@given(st.lists(st.floats(100.0, 600.0), max_size=20), st.lists(st.floats(1.0, 80_000.0), min_size=2, max_size=2))
def test_a_wait_that_goes_on_is_evidence_once_it_is_long(seen: list[float], waits: list[float]) -> None:
    """Protects from promising six minutes while a node has been missing for twenty."""
    estimator = LeadTimeEstimator(NODE_PRIOR)
    for seconds in seen:
        estimator.observe(seconds)
    told, (short, long) = estimator.quantiles(), sorted(waits)
    assert estimator.expected(told.p90_seconds) == told
    expected, later = estimator.expected(short), estimator.expected(long)
    assert told.p90_seconds <= expected.p90_seconds <= later.p90_seconds
    assert expected.observed == estimator.count == len(seen), "nothing is learned before it ends"
    if long > told.p90_seconds:
        assert later.p50_seconds > told.p50_seconds


def test_the_middle_is_learned_before_the_tail() -> None:
    estimator = LeadTimeEstimator(START_UP_PRIOR)
    for _ in range(5):
        estimator.observe(5.0)
    quantiles = estimator.quantiles()
    assert quantiles.p50_seconds < 8.0
    assert quantiles.p90_seconds > 1.3 * quantiles.p50_seconds


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60))
def test_quantiles_are_finite_positive_and_ordered_whatever_was_observed(durations: list[float]) -> None:
    estimator = LeadTimeEstimator(START_UP_PRIOR)
    for seconds in durations:
        estimator.observe(seconds)
    quantiles = estimator.quantiles()
    assert 0 < quantiles.p50_seconds <= quantiles.p90_seconds <= quantiles.p99_seconds < math.inf


def test_what_a_status_says_is_taken_back() -> None:
    estimator, restored = LeadTimeEstimator(NODE_PRIOR), LeadTimeEstimator(NODE_PRIOR)
    for seconds in (100.0, 120.0, 90.0, 110.0, 150.0, 95.0, 105.0, 115.0):
        estimator.observe(seconds)
    before = estimator.quantiles()
    told = {"p50_seconds": before.p50_seconds, "p90_seconds": before.p90_seconds}
    restored.restore(**told, samples=before.observed, at_seconds=0.0)
    after = restored.quantiles()
    assert after.p50_seconds == pytest.approx(before.p50_seconds, rel=0.1)
    assert after.p90_seconds == pytest.approx(before.p90_seconds, rel=0.25)
    restored.restore(p50_seconds=math.nan, p90_seconds=-1.0, samples=5, at_seconds=0.0)
    assert restored.quantiles() == after


def test_a_pod_teaches_its_start_up_once() -> None:
    book = LeadTimeBook()
    for _ in range(3):
        see(book, times(), variant="serving/chat/h100")
    assert book.of_variant("serving/chat/h100").count == 1
    assert book.of_node_pool("h100").count == 0


def test_a_pod_that_waited_for_its_node_teaches_the_node_pool() -> None:
    book = LeadTimeBook()
    waited = times(scheduled_seconds=340.0, ready_seconds=400.0, node_created_seconds=250.0)
    see(book, waited)
    assert book.of_node_pool("h100").count == 1
    assert book.of_variant("v").count == 1


def test_a_restarted_pod_teaches_nothing() -> None:
    book = LeadTimeBook()
    see(book, times(restarted=True))
    assert book.of_variant("v").count == 0


def test_a_declared_start_up_is_the_prior_of_its_variant() -> None:
    book = LeadTimeBook()
    assert book.of_variant("v", 30.0).quantiles().p50_seconds == pytest.approx(30.0)
    see(book, times())
    assert 30.0 < book.of_variant("v", 30.0).quantiles().p50_seconds < 41.0


def test_a_given_prior_replaces_the_general_one() -> None:
    book = LeadTimeBook()
    prior = PhasePrior(p50_seconds=5.0, p90_seconds=8.0)
    assert book.of_node_pool("h100", prior).quantiles().p90_seconds == pytest.approx(8.0)
    assert book.of_node_pool("h100").quantiles().p90_seconds == pytest.approx(8.0)
