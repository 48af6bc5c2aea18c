"""Requests per minute of the past, so that a new pool's forecaster does not start from nothing.

The minutes are counted exactly as live rounds are, because a forecaster learns its quantiles from the noise of
what it is fed: smoothed history would teach it to be too sure.
"""

import asyncio
import math
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import Role
from forebay.flow.observation import Freshness, Problem
from forebay.flow.trace import FloatArray
from forebay.telemetry.answer import Labels, Matrix, parse_matrix
from forebay.telemetry.arrivals import BirthControl, arrivals_by_slot
from forebay.telemetry.client import PromQlClient
from forebay.telemetry.errors import QueryError
from forebay.telemetry.facts import Facts, look_up
from forebay.telemetry.groups import Expressions, Group
from forebay.telemetry.plan import make_plan
from forebay.telemetry.promql import Matcher
from forebay.telemetry.readings import NEWEST, Readings, Slots, born, change, growth
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import History, PoolTarget, WorkloadTarget
from forebay.telemetry.workloads import pods_matcher

_MINUTE = 60


@dataclass(frozen=True, slots=True)
class _Subject:
    """One group's part of a pool's history."""

    group: Group
    facts: Facts
    keys: tuple[Labels, ...]


async def read_history(
    client: PromQlClient,
    settings: PrometheusSettings,
    target: PoolTarget,
    since_seconds: float,
    at_seconds: float,
) -> History:
    """Read the minutes from ``since_seconds`` to ``at_seconds``, newest first, in chunks."""
    end = math.floor((at_seconds - settings.settle_seconds) / _MINUTE) * _MINUTE
    since = max(since_seconds, end - settings.history_limit_seconds)
    start = min(end, math.ceil(since / _MINUTE) * _MINUTE)
    minutes = np.full((end - start) // _MINUTE, np.nan)
    groups, problem = _groups(target, settings)
    if not groups:
        return _history(start, minutes, problem)
    subjects = [
        _Subject(group, await look_up(client, group, settings, end, Facts()), keys) for group, keys in groups
    ]
    try:
        await _fill(client, settings, subjects, start, end, minutes)
    except QueryError as error:
        return _history(start, minutes, str(error), Problem.UNREACHABLE)
    return _history(start, minutes, "the server has no counts of this pool")


async def _fill(
    client: PromQlClient,
    settings: PrometheusSettings,
    subjects: list[_Subject],
    start: int,
    end: int,
    minutes: FloatArray,
) -> None:
    """Fill ``minutes``; stop at the end of the server's retention."""
    empty = 0
    high = end
    while high > start and empty < 2:
        low = max(start, high - settings.history_chunk_minutes * _MINUTE)
        parts = [await _chunk(client, settings, subject, low, high) for subject in subjects]
        counts = np.sum(parts, axis=0)
        minutes[(low - start) // _MINUTE : (high - start) // _MINUTE] = np.maximum(counts, 0.0)
        empty = empty + 1 if bool(np.isnan(counts).all()) else 0
        high = low


async def _chunk(
    client: PromQlClient, settings: PrometheusSettings, subject: _Subject, low: int, high: int
) -> FloatArray:
    """Return the arrivals per minute of one group; a workload that did not exist yet adds nothing."""
    ask = Expressions(subject.group, settings, subject.facts.known, subject.facts.window_seconds)
    readings = Readings(Slots(low, high, _MINUTE, _MINUTE), subject.facts)
    rules = subject.group.dialect.arrivals

    async def read(name: str, query: str | None, start: int) -> None:
        if query is None:
            return
        steps = (high - start) // _MINUTE + 1

        def parsed(result: object) -> Matrix:
            return parse_matrix(result, ask.labels, start_seconds=start, step_seconds=_MINUTE, steps=steps)

        readings.matrices[name] = await client.range(query, start, high, _MINUTE, kind="history", read=parsed)

    await asyncio.gather(
        read(NEWEST, ask.newest(), low),
        *(
            read(growth(rule.count), ask.growth(rule.count, _MINUTE), low + _MINUTE)
            for rule in dict.fromkeys(rules)
        ),
        *(read(born(rule.count), ask.born(rule.count, _MINUTE), low + _MINUTE) for rule in dict.fromkeys(rules)),
        *(
            read(change(held), ask.change(held, _MINUTE), low + _MINUTE)
            for held in dict.fromkeys(held for rule in rules for held in rule.held)
        ),
    )
    births = BirthControl()
    rows = [arrivals_by_slot(subject.group.dialect, readings, key, births) for key in subject.keys]
    known = np.array([row for row in rows if row is not None], dtype=np.float64)
    if known.size == 0:
        return np.full((high - low) // _MINUTE, np.nan)
    absent = np.isnan(known).all(axis=0)
    total: FloatArray = np.where(absent, np.nan, np.nansum(known, axis=0))
    return total


def _groups(
    target: PoolTarget, settings: PrometheusSettings
) -> tuple[list[tuple[Group, tuple[Labels, ...]]], str]:
    """Return what to ask about one pool alone: its gateway, else the workloads where requests enter."""
    plan = make_plan([target], settings)
    place = plan.pools[target.key]
    if place.gateway is not None and not place.gateway_problem:
        return [(plan.groups[place.gateway.group], (place.gateway.key,))], ""
    if place.problem or target.gateway is not None:
        return [], place.problem or place.gateway_problem
    workloads = [each for each in target.workloads if each.role is not Role.DECODE]
    if not workloads:
        return [], "no workload of this pool counts arrivals"
    group = plan.groups[place.workloads[workloads[0].variant].group]
    keys = tuple((*place.workloads[each.variant].key[:-1], each.name) for each in workloads)
    return [(_narrowed(group, target, workloads, settings), keys)], ""


def _narrowed(
    group: Group, target: PoolTarget, workloads: list[WorkloadTarget], settings: PrometheusSettings
) -> Group:
    namespace = Matcher(settings.namespace_label, "=", target.key.namespace)
    if settings.workload_label is not None:
        return Group(group.dialect, group.labels, (namespace,))
    pods = "|".join(pods_matcher(workload, settings.pod_label).value for workload in workloads)
    matchers = (namespace, Matcher(settings.pod_label, "=~", pods))
    return Group(group.dialect, group.labels, matchers, alone=tuple(workloads))


def _history(start: int, minutes: FloatArray, detail: str, problem: Problem = Problem.MISSING) -> History:
    known = bool(np.isfinite(minutes).any())
    whole = known and problem is Problem.MISSING
    freshness = Freshness(signal="history", problem=None if whole else problem, detail="" if whole else detail)
    return History(start_seconds=float(start), requests_per_minute=minutes, freshness=freshness)
