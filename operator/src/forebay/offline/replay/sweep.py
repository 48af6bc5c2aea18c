"""Every baseline over its knob: frontiers of cost against attainment, and which setting one would have chosen.

The cheapest setting that meets the target is chosen in hindsight, on the very traffic that it is judged by; nobody
can do that. What can be done is to choose on the traffic so far and keep the setting: `first_part` gives the first
third to choose on.

Runs are independent: `tasks` lists them and `evaluate` does one, so that a caller may spread them over processes.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forebay.flow.trace import RequestTrace
from forebay.offline.replay.baselines import baseline_named, baselines
from forebay.offline.replay.run import run
from forebay.offline.replay.scenario import Scenario
from forebay.offline.replay.score import PolicyScore, score


@dataclass(frozen=True, slots=True)
class Task:
    """One run: a baseline at one setting of its knob."""

    policy: str
    knob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One setting of one policy."""

    policy: str
    knob: float
    cost_usd: float
    slo_attainment: float
    meets_target: bool
    on_frontier: bool
    """No other setting of this policy is as cheap and as good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A setting chosen on the first part of the traffic and kept for all of it."""

    policy: str
    knob: float | None
    """``None``: no setting met the target on the first part."""
    score: PolicyScore | None
    """Over the whole traffic."""


def tasks(names: Iterable[str] | None = None) -> tuple[Task, ...]:
    """Return the runs of a sweep over the named baselines, or over all."""
    chosen = baselines().values() if names is None else [baseline_named(name) for name in names]
    return tuple(
        Task(baseline.name, knob)
        for baseline in chosen
        for knob in dict.fromkeys((baseline.knob.default, *baseline.knob.sweep))
    )


def evaluate(scenario: Scenario, task: Task) -> PolicyScore:
    """Run one task and return its figures."""
    begun = time.perf_counter()
    baseline = baseline_named(task.policy)
    finished = run(scenario, baseline.policy(scenario, task.knob), name=task.policy, knob=task.knob)
    return replace(score(scenario, finished), wall_seconds=time.perf_counter() - begun)


def frontier(scores: Iterable[PolicyScore]) -> tuple[FrontierPoint, ...]:
    """Return all points, by policy and cost, and which of them no other setting of their policy beats."""
    by_policy: dict[str, list[PolicyScore]] = {}
    for entry in scores:
        by_policy.setdefault(entry.name, []).append(entry)
    points: list[FrontierPoint] = []
    for name, entries in by_policy.items():
        best = -1.0
        for entry in sorted(entries, key=lambda e: (e.cost_usd, -e.slo_attainment)):
            points.append(
                FrontierPoint(
                    policy=name,
                    knob=float("nan") if entry.knob is None else entry.knob,
                    cost_usd=entry.cost_usd,
                    slo_attainment=entry.slo_attainment,
                    meets_target=entry.meets_target,
                    on_frontier=entry.slo_attainment > best,
                )
            )
            best = max(best, entry.slo_attainment)
    return tuple(points)


def best_in_hindsight(scores: Iterable[PolicyScore]) -> dict[str, PolicyScore]:
    """Return per policy the cheapest score that meets the target; policies of which none does are left out."""
    best: dict[str, PolicyScore] = {}
    for entry in scores:
        if entry.meets_target and (entry.name not in best or entry.cost_usd < best[entry.name].cost_usd):
            best[entry.name] = entry
    return best


def highest_attainment(scores: Iterable[PolicyScore]) -> dict[str, PolicyScore]:
    """Return per policy the score that comes closest to the target: where none meets it, this is what to show."""
    best: dict[str, PolicyScore] = {}
    for entry in scores:
        if entry.name not in best or entry.slo_attainment > best[entry.name].slo_attainment:
            best[entry.name] = entry
    return best


def transferred(whole: Sequence[PolicyScore], early: Iterable[PolicyScore]) -> dict[str, Transfer]:
    """Return per policy the setting that was cheapest on the first part, with what it came to over the whole.

    Policies of hindsight are left out: they know the rest already.

    Args:
        whole: scores of a sweep over the whole traffic.
        early: scores of the same sweep over `first_part`.
    """
    chosen = best_in_hindsight(early)
    by_setting = {(entry.name, entry.knob): entry for entry in whole}
    return {
        name: Transfer(
            policy=name,
            knob=chosen[name].knob if name in chosen else None,
            score=by_setting.get((name, chosen[name].knob)) if name in chosen else None,
        )
        for name in dict.fromkeys(entry.name for entry in whole)
        if not baseline_named(name).hindsight
    }


def first_part(scenario: Scenario, share: float = 1.0 / 3.0) -> Scenario:
    """Return ``scenario`` with only the first ``share`` of its time."""
    until = share * scenario.span_seconds
    return replace(
        scenario,
        name=f"{scenario.name} (first {100 * share:.0f} %)",
        traces={key: _until(trace, until) for key, trace in scenario.traces.items()},
    )


def _until(trace: RequestTrace, seconds: float) -> RequestTrace:
    count = int(np.searchsorted(trace.arrival_seconds, seconds))
    return replace(
        trace,
        arrival_seconds=trace.arrival_seconds[:count],
        input_tokens=trace.input_tokens[:count],
        output_tokens=trace.output_tokens[:count],
        cached_tokens=None if trace.cached_tokens is None else trace.cached_tokens[:count],
        pool=None if trace.pool is None else trace.pool[:count],
    )
