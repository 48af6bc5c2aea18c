"""Misses and histograms."""

import math

import pytest

from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.facts import SeriesFacts
from forebay.telemetry.query.histograms import Bracket, bracket, histogram_counts, wanted_edges
from forebay.telemetry.query.readings import Readings, Slots, buckets
from forebay.telemetry.signals.latency import misses
from forebay.telemetry.transport.answer import Vector

EDGES = {0.5: "0.5", 1.0: "1.0", 2.0: "2.0", math.inf: "+Inf"}
KEY = ("ns", "chat")


def readings(counts: dict[str, float], key: tuple[str, ...] = KEY) -> Readings:
    facts = SeriesFacts(edges={Signal.TTFT: EDGES})
    vector = Vector({(*key, edge): count for edge, count in counts.items()})
    return Readings(Slots(0, 15, 15, 15), facts, vectors={buckets(Signal.TTFT): vector})


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (1.0, Bracket(1.0, 1.0)),
        (1.0 + 1e-12, Bracket(1.0, 1.0)),
        (0.75, Bracket(0.5, 1.0)),
        (0.1, Bracket(None, 0.5)),
        (9.0, Bracket(2.0, math.inf)),
    ],
)
def test_the_edges_next_to_an_objective(objective: float, expected: Bracket) -> None:
    assert bracket(EDGES, objective) == expected


def test_no_edge_above() -> None:
    assert bracket([0.5], 1.0) is None
    assert bracket([], 1.0) is None
    assert wanted_edges({}, [1.0]) == []


def test_only_the_buckets_that_matter_are_asked_for() -> None:
    assert wanted_edges(EDGES, [1.0]) == ["+Inf", "1.0"]
    assert wanted_edges(EDGES, [0.75, 1.0]) == ["+Inf", "0.5", "1.0"]


def test_an_edge_at_the_objective_is_exact() -> None:
    found = misses(readings({"1.0": 90.0, "+Inf": 100.0}), Signal.TTFT, [KEY], 1.0)
    assert found is not None
    assert (found.share, found.exact, found.detail) == (0.1, True, "")


def test_between_two_edges_it_is_interpolated_and_said() -> None:
    found = misses(readings({"0.5": 60.0, "1.0": 80.0, "+Inf": 100.0}), Signal.TTFT, [KEY], 0.75)
    assert found is not None
    assert found.late == pytest.approx(30.0)
    assert not found.exact
    assert found.detail == "no bucket edge at 0.75 s: interpolated between 0.5 s and 1 s"


def test_beyond_the_last_edge_all_are_late() -> None:
    found = misses(readings({"2.0": 70.0, "+Inf": 100.0}), Signal.TTFT, [KEY], 5.0)
    assert found is not None
    assert found.late == pytest.approx(30.0)
    assert "count as late" in found.detail


def test_workloads_are_added_and_unknown_is_not_zero() -> None:
    assert misses(readings({"1.0": 90.0, "+Inf": 100.0}), Signal.TTFT, [("ns", "other")], 1.0) is None
    found = misses(readings({"1.0": 0.0, "+Inf": 0.0}), Signal.TTFT, [KEY], 1.0)
    assert found is not None
    assert found.share is None


def test_histogram_counts() -> None:
    assert histogram_counts({"+Inf": 10.0, "10": 7.0, "5": 4.0}) == ((5.0, 10.0, math.inf), (4.0, 3.0, 3.0))
    assert histogram_counts({"5": 4.0, "10": 3.0, "+Inf": 6.0}) == ((5.0, 10.0, math.inf), (4.0, 0.0, 2.0))
    assert histogram_counts({"5": 0.0, "+Inf": 0.0}) is None
    assert histogram_counts({"x": 3.0}) is None
