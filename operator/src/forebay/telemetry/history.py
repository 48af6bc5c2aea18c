"""Requests per minute of the past, so that a new pool's forecaster does not start from nothing.

The minutes are counted exactly as live rounds are, because a forecaster learns its quantiles from the noise of
what it is fed: smoothed history would teach it to be too sure.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from forebay.flow.fleet import PoolKey
from forebay.flow.observation import Freshness, Problem
from forebay.flow.roles import ROLES
from forebay.flow.trace import FloatArray
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.facts import SeriesFacts, look_up
from forebay.telemetry.query.grouping import GroupId, Place, Plan, SharedQueries, make_plan
from forebay.telemetry.query.pod_names import pods_matcher
from forebay.telemetry.query.promql import Matcher
from forebay.telemetry.query.readings import NEWEST, Readings, Slots, arrival_queries
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.signals.arrivals import NewSeriesFilter, arrivals_by_slot
from forebay.telemetry.source import History, PoolTarget, WorkloadTarget
from forebay.telemetry.transport.answer import Labels, Matrix, parse_matrix
from forebay.telemetry.transport.client import PromQlClient
from forebay.telemetry.transport.errors import QueryError


@dataclass(slots=True)
class _Subject:
    """What one group of queries tells of the pools."""

    group: SharedQueries
    owners: list[tuple[Labels, PoolKey]] = field(default_factory=list)
    """Two pools may count the same workload."""
    workloads: list[WorkloadTarget] = field(default_factory=list)
    """Whose pods to look for; of a gateway none."""
    facts: SeriesFacts = field(default_factory=SeriesFacts)


async def read_history(
    client: PromQlClient,
    settings: PrometheusSettings,
    targets: Sequence[PoolTarget],
    since_seconds: float,
    at_seconds: float,
) -> dict[PoolKey, History]:
    """Read the minutes from ``since_seconds`` to ``at_seconds`` of all pools, newest first, in chunks."""
    step = settings.history_step_seconds
    end = math.floor((at_seconds - settings.settle_seconds) / step) * step
    since = max(since_seconds, end - settings.history_limit_seconds)
    start = min(end, math.ceil(since / step) * step)
    subjects, without = _subjects(targets, settings)
    minutes = {target.key: np.full((end - start) // step, np.nan) for target in targets}
    problem, why = Problem.MISSING, "the server has no counts of this pool"
    try:
        for subject in subjects:
            subject.facts = await look_up(client, subject.group, settings, end, SeriesFacts())
        await _fill(client, settings, subjects, start, end, minutes)
    except QueryError as error:
        problem, why = Problem.UNREACHABLE, str(error)
    found = {
        key: _history(start, counts, without[key]) if key in without else _history(start, counts, why, problem)
        for key, counts in minutes.items()
    }
    return {key: replace(history, step_seconds=float(step)) for key, history in found.items()}


async def _fill(
    client: PromQlClient,
    settings: PrometheusSettings,
    subjects: Sequence[_Subject],
    start: int,
    end: int,
    minutes: Mapping[PoolKey, FloatArray],
) -> None:
    """Fill ``minutes``; stop at the end of the server's retention."""
    empty, step = 0, settings.history_step_seconds
    high = end
    while high > start and empty < 2 and subjects:
        low = max(start, high - settings.history_chunk_steps * step)
        chunk = slice((low - start) // step, (high - start) // step)
        rows: dict[PoolKey, list[list[float]]] = {}
        for subject in subjects:
            await _add_chunk(client, settings, subject, low, high, rows)
        for key, mine in rows.items():
            minutes[key][chunk] = np.maximum(_sum(np.array(mine)), 0.0)
        empty = 0 if rows else empty + 1
        high = low


async def _add_chunk(
    client: PromQlClient,
    settings: PrometheusSettings,
    subject: _Subject,
    low: int,
    high: int,
    rows: dict[PoolKey, list[list[float]]],
) -> None:
    """Add the arrivals per minute of what counts some; a workload that did not exist yet adds nothing."""
    ask = Expressions(subject.group, settings, subject.facts.known, subject.facts.window_seconds)
    step = settings.history_step_seconds
    readings = Readings(Slots(low, high, step, step), subject.facts)

    async def read(name: str, query: str | None, start: int) -> None:
        if query is None:
            return
        steps = (high - start) // step + 1

        def parsed(result: object) -> Matrix:
            return parse_matrix(result, ask.labels, start_seconds=start, step_seconds=step, steps=steps)

        readings.matrices[name] = await client.range(query, start, high, step, kind="history", read=parsed)

    await asyncio.gather(
        read(NEWEST, ask.newest(), low),
        *(read(name, query, low + step) for name, query in arrival_queries(ask, step).items()),
    )
    new_series = NewSeriesFilter()
    for labels, key in subject.owners:
        row = arrivals_by_slot(subject.group.dialect, readings, labels, new_series)
        if row is not None and not all(map(math.isnan, row)):
            rows.setdefault(key, []).append(row)


def _sum(rows: FloatArray) -> FloatArray:
    """Return the sum over rows of minutes, NaN where none is known."""
    total: FloatArray = np.where(np.isnan(rows).all(axis=0), np.nan, np.nansum(rows, axis=0))
    return total


def _subjects(
    targets: Sequence[PoolTarget], settings: PrometheusSettings
) -> tuple[list[_Subject], dict[PoolKey, str]]:
    """Return what to ask, and the pools of which nothing can be asked, with the reason.

    A pool's arrivals are counted by its gateway, else by the workloads where requests enter.
    """
    plan = make_plan(targets, settings)
    found: dict[GroupId, _Subject] = {}
    without: dict[PoolKey, str] = {}
    for target in targets:
        counting, why = _counting(target, plan)
        if not counting:
            without[target.key] = why
        for place, workload in counting:
            subject = found.setdefault(place.group, _Subject(plan.groups[place.group]))
            subject.owners.append((place.key, target.key))
            if workload is not None:
                subject.workloads.append(workload)
    for subject in found.values():
        subject.group = _narrowed(subject, settings)
    return list(found.values()), without


def _counting(target: PoolTarget, plan: Plan) -> tuple[list[tuple[Place, WorkloadTarget | None]], str]:
    """Return where a pool's arrivals are counted; where nowhere, why."""
    place = plan.pools[target.key]
    if place.gateway is not None and not place.gateway_problem:
        return [(place.gateway, None)], ""
    if place.problem or target.gateway is not None:
        return [], place.problem or place.gateway_problem
    workloads = [each for each in target.workloads if ROLES[each.role].fed_by is None]
    if not workloads:
        return [], "no workload of this pool counts arrivals"
    return [(place.workloads[each.variant], each) for each in workloads], ""


def _narrowed(subject: _Subject, settings: PrometheusSettings) -> SharedQueries:
    """Return the group with nothing but the pods of its workloads, where these can be told by their names."""
    if not subject.workloads or settings.workload_label is not None:
        return subject.group
    pods = "|".join(dict.fromkeys(pods_matcher(each, settings.pod_label).value for each in subject.workloads))
    return replace(subject.group, matchers=(*subject.group.matchers, Matcher(settings.pod_label, "=~", pods)))


def _history(start: int, minutes: FloatArray, detail: str, problem: Problem = Problem.MISSING) -> History:
    known = bool(np.isfinite(minutes).any())
    whole = known and problem is Problem.MISSING
    freshness = Freshness(signal="history", problem=None if whole else problem, detail="" if whole else detail)
    return History(start_seconds=float(start), requests_per_minute=minutes, freshness=freshness)
