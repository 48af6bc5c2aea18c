"""What is kept of a run: its score, and its course over time in a size that fits into a report."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.trace import FloatArray
from forebay.offline.replay.loop.closed_loop import PolicyRun, PoolTimeline
from forebay.offline.replay.loop.recorder import ForecastCourse
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.loop.score import WINDOW_SECONDS, PolicyScore, Verdicts, verdicts
from forebay.offline.simulation import SimulationResult

_MOST_BINS = 480
_MINUTE_SECONDS = 60.0
_WORST = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bins:
    """One pool over time, in bins of equal width; NaN where a bin has no request."""

    seconds: float
    """Width of a bin."""
    requests_per_second: FloatArray
    attainment: FloatArray
    """Share of the bin's servable requests that met the SLO, by arrival."""
    ttft_seconds: Mapping[str, FloatArray]
    """``p50``, ``p95`` and ``p99`` by arrival; infinite where so many were unserved."""
    itl_seconds: Mapping[str, FloatArray]
    waiting: FloatArray
    """Most requests that waited at any look."""
    ready: Mapping[VariantKey, FloatArray]
    """Mean ready replicas per variant."""
    supply: Mapping[VariantKey, FloatArray]
    """Mean ready and starting replicas per variant."""

    @property
    def hours(self) -> FloatArray:
        """Return the middle of each bin, in hours."""
        middles = np.arange(len(self.requests_per_second), dtype=np.float64) + 0.5
        return middles * (self.seconds / 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstWindow:
    """Ten minutes that went badly."""

    pool: PoolKey
    start_seconds: float
    attainment: float
    missed: int
    requests_per_second: float
    ttft_p99_seconds: float
    ready: Mapping[VariantKey, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLine:
    """One change of replica counts, and why."""

    at_seconds: float
    pool: PoolKey
    change: str
    reasons: tuple[str, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """How a run went."""

    bins: Mapping[PoolKey, Bins]
    worst: tuple[WorstWindow, ...]
    decisions: tuple[DecisionLine, ...] = ()
    forecasts: Mapping[tuple[PoolKey, Role], ForecastCourse] | None = None


class RunKind(StrEnum):
    """What a run is for."""

    DEFAULT = "default"
    """At the policy's documented default: what is compared."""
    SWEPT = "swept"
    """At another setting of its knob."""
    EARLY = "early"
    """Over the first third of the traffic, to choose a setting as one could have."""
    OTHER_ORDER = "other-order"
    """Under the other queue order, to see what a change in the router would save."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """One policy at one setting of its knob."""

    score: PolicyScore
    title: str
    source: str = ""
    knob_name: str = ""
    hindsight: bool = False
    """Knows the traffic beforehand."""
    kind: RunKind = RunKind.DEFAULT
    course: Course | None = None
    note: str = ""

    @property
    def default(self) -> bool:
        """Whether this is the run that is compared."""
        return self.kind is RunKind.DEFAULT


def course_of(
    scenario: Scenario, run: PolicyRun, forecasts: Mapping[tuple[PoolKey, Role], ForecastCourse] | None = None
) -> Course:
    """Return the course of ``run``."""
    judged = {key: verdicts(scenario, key, result) for key, result in run.results.items()}
    bins = {key: _bins(result, judged[key], run.timelines[key]) for key, result in run.results.items()}
    worst = [w for key, result in run.results.items() for w in _windows(key, result, judged[key], bins[key])]
    worst.sort(key=lambda window: (window.attainment, -window.missed))
    return Course(
        bins=bins,
        worst=tuple(window for window in worst[:_WORST] if window.missed > 0),
        decisions=tuple(_decision_lines(run)),
        forecasts=forecasts,
    )


def bin_seconds(span_seconds: float) -> float:
    """Return a width of whole minutes that gives at most a few hundred bins."""
    return max(1.0, math.ceil(span_seconds / _MOST_BINS / _MINUTE_SECONDS)) * _MINUTE_SECONDS


def _bins(result: SimulationResult, judged: Verdicts, timeline: PoolTimeline) -> Bins:
    trace = result.trace
    width = bin_seconds(trace.span_seconds)
    count = max(1, math.ceil((trace.span_seconds + 1e-9) / width))
    place = np.minimum((trace.arrival_seconds // width).astype(np.int64), count - 1)
    servable = np.bincount(place[judged.servable], minlength=count)
    met = np.bincount(place[judged.servable & judged.met], minlength=count)
    ticks = np.minimum((np.maximum(timeline.at_seconds - 1e-6, 0.0) // width).astype(np.int64), count - 1)
    return Bins(
        seconds=width,
        requests_per_second=np.bincount(place, minlength=count) / width,
        attainment=np.where(servable > 0, met / np.maximum(servable, 1), np.nan),
        ttft_seconds=_percentiles(result.ttft_seconds[judged.scored], place[judged.scored], count),
        itl_seconds=_percentiles(result.itl_seconds[judged.scored], place[judged.scored], count),
        waiting=_highest(timeline.waiting, ticks, count),
        ready={name: _mean(values, ticks, count) for name, values in timeline.ready.items()},
        supply={name: _mean(values, ticks, count) for name, values in timeline.supply.items()},
    )


def _percentiles(values: FloatArray, place: "np.ndarray", count: int) -> dict[str, FloatArray]:
    """Return percentiles per bin; ``place`` is ascending, an unserved request is later than any other."""
    edges = np.searchsorted(place, np.arange(count + 1))
    found = {name: np.full(count, np.nan) for name in ("p50", "p95", "p99")}
    for number in range(count):
        part = values[edges[number] : edges[number + 1]]
        if not len(part):
            continue
        ordered = np.sort(np.where(np.isnan(part), np.inf, part))
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            found[name][number] = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    return found


def _highest(values: FloatArray, ticks: "np.ndarray", count: int) -> FloatArray:
    highest = np.zeros(count)
    np.maximum.at(highest, ticks, values)
    return highest


def _mean(values: "np.ndarray", ticks: "np.ndarray", count: int) -> FloatArray:
    total = np.bincount(ticks, weights=values.astype(np.float64), minlength=count)
    looks = np.bincount(ticks, minlength=count)
    return np.where(looks > 0, total / np.maximum(looks, 1), np.nan)


def _windows(key: PoolKey, result: SimulationResult, judged: Verdicts, bins: Bins) -> list[WorstWindow]:
    arrivals = result.trace.arrival_seconds
    place = (arrivals // WINDOW_SECONDS).astype(np.int64)
    count = int(place[-1]) + 1 if len(place) else 0
    servable = np.bincount(place[judged.servable], minlength=count)
    met = np.bincount(place[judged.servable & judged.met], minlength=count)
    edges = np.searchsorted(place, np.arange(count + 1))
    missed = servable - met
    worst = np.argsort(-missed / np.maximum(servable, 1), kind="stable")[:_WORST]
    return [
        WorstWindow(
            pool=key,
            start_seconds=float(number * WINDOW_SECONDS),
            attainment=float(met[number] / servable[number]),
            missed=int(missed[number]),
            requests_per_second=float((edges[number + 1] - edges[number]) / WINDOW_SECONDS),
            ttft_p99_seconds=_late(result.ttft_seconds[edges[number] : edges[number + 1]]),
            ready=_ready_in(bins, number * WINDOW_SECONDS),
        )
        for number in worst
        if servable[number] > 0
    ]


def _late(values: FloatArray) -> float:
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    return float(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]) if len(ordered) else float("nan")


def _ready_in(bins: Bins, start_seconds: float) -> dict[VariantKey, float]:
    first = int(start_seconds // bins.seconds)
    last = max(first + 1, int((start_seconds + WINDOW_SECONDS) // bins.seconds))
    found = {}
    for name, values in bins.ready.items():
        part = values[first:last]
        known = part[~np.isnan(part)]
        found[name] = float(known.mean()) if len(known) else float("nan")
    return found


def _decision_lines(run: PolicyRun) -> list[DecisionLine]:
    lines = []
    for decision in run.decisions:
        for key, pool in decision.pools.items():
            changes = [f"{v.key} {v.current} → {v.desired}" for v in pool.variants if v.current != v.desired]
            if not changes:
                continue
            lines.append(
                DecisionLine(
                    at_seconds=decision.at_seconds,
                    pool=key,
                    change=", ".join(changes),
                    reasons=tuple(reason.message for reason in pool.reasons),
                    codes=tuple(reason.code for reason in pool.reasons),
                )
            )
    return lines
