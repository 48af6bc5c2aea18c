"""How many requests each of some pods holds: asked when pods are chosen to go, and while they drain."""

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.grouping import GroupId, SharedQueries, make_plan
from forebay.telemetry.query.promql import one_of
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import PodName, PoolTarget
from forebay.telemetry.transport.answer import Labels, Vector, parse_vector
from forebay.telemetry.transport.client import PromQlClient
from forebay.telemetry.transport.errors import QueryError

_AT_ONCE = 100
"""Pods that one query names."""
_WINDOW_SECONDS = 60
"""How far back the newest sample may lie, where scrapes are seldom; older, the pod counts as not reporting."""


async def read_pod_requests(
    client: PromQlClient,
    settings: PrometheusSettings,
    targets: Sequence[PoolTarget],
    pods: Collection[PodName],
    at_seconds: float,
) -> dict[PodName, float]:
    """Return the requests that pods hold, running and waiting; a pod that does not report is absent.

    Args:
        client: answers.
        settings: where pods' names are.
        targets: pools with the workloads of these pods.
        pods: of whom to ask.
        at_seconds: when, in Unix seconds.
    """
    plan = make_plan(targets, settings)
    names = sorted({name for _, name in pods})
    batches = [names[first : first + _AT_ONCE] for first in range(0, len(names), _AT_ONCE)]
    found: dict[PodName, float] = {}
    answers = await asyncio.gather(
        *(
            _of_group(client, settings, plan.groups[group], batch, at_seconds)
            for group in _engines(plan.groups)
            for batch in batches
        )
    )
    for answer in answers:
        found.update({pod: held for pod, held in answer.items() if pod in pods})
    return found


def _engines(groups: Mapping[GroupId, SharedQueries]) -> list[GroupId]:
    """Return the groups of engines in which a replica is a pod."""
    return [key for key, group in groups.items() if group.workloads and not group.replicas_are_groups]


async def _of_group(
    client: PromQlClient,
    settings: PrometheusSettings,
    group: SharedQueries,
    names: Sequence[str],
    at_seconds: float,
) -> dict[PodName, float]:
    # Their names say enough: the pattern by which a workload alone finds its pods is left out.
    matchers = [matcher for matcher in group.matchers if matcher.label != settings.pod_label]
    group = replace(group, matchers=(*matchers, one_of(settings.pod_label, names)))
    expressions = Expressions(group, settings, None, _WINDOW_SECONDS)
    labels = (settings.namespace_label, settings.pod_label)
    try:
        running, waiting = await asyncio.gather(
            *(
                _ask(client, expressions.by_pod(signal), labels, at_seconds)
                for signal in (Signal.RUNNING, Signal.WAITING)
            )
        )
        # A gauge that appears with its first event says nothing of a pod that is there: the anchor does.
        if Signal.RUNNING in group.dialect.lazy:
            there = await _ask(client, expressions.by_pod(group.dialect.anchor), labels, at_seconds)
            running = {**dict.fromkeys(there, 0.0), **running}
    except QueryError:
        return {}  # one answer alone would make a pod look emptier than it is
    return {(pod[0], pod[1]): held + waiting.get(pod, 0.0) for pod, held in running.items()}


async def _ask(
    client: PromQlClient, query: str | None, labels: tuple[str, ...], at_seconds: float
) -> dict[Labels, float]:
    if query is None:
        return {}
    answer: Vector = await client.instant(
        query, at_seconds, kind="pods", read=lambda result: parse_vector(result, labels)
    )
    return {pod: held for pod, held in answer.values.items() if math.isfinite(held)}
