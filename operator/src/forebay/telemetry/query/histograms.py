"""Bucket edges next to an objective, and counts between edges."""

import bisect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from forebay.telemetry.transport.answer import number

_SAME_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Bracket:
    """The bucket edges next to an objective."""

    below: float | None
    """Highest edge at or below the objective; ``None``: zero."""
    above: float
    """Lowest edge at or above it; may be infinite."""

    @property
    def exact(self) -> bool:
        """Return whether an edge lies at the objective."""
        return self.below is not None and self.below == self.above


def bracket(edges: Iterable[float], objective_seconds: float) -> Bracket | None:
    """Return the edges next to an objective, or ``None`` without any edge above it."""
    return _bracket(tuple(edges), objective_seconds)


@lru_cache(maxsize=4096)
def _bracket(edges: tuple[float, ...], objective_seconds: float) -> Bracket | None:
    ascending = sorted(edges)
    for edge in ascending:
        if abs(edge - objective_seconds) <= _SAME_EDGE * max(1.0, objective_seconds):
            return Bracket(edge, edge)
    position = bisect.bisect_left(ascending, objective_seconds)
    if position == len(ascending):
        return None
    return Bracket(ascending[position - 1] if position else None, ascending[position])


def wanted_edges(edges: Mapping[float, str], objectives: Iterable[float]) -> list[str]:
    """Return the labels ``le`` of the buckets that the objectives need, the total included."""
    wanted: set[float] = set()
    for objective in objectives:
        found = bracket(edges, objective)
        if found is not None:
            wanted |= {found.above} | ({found.below} if found.below is not None else set())
    if not wanted:
        return []
    wanted.add(float("inf"))
    return sorted(edges[edge] for edge in wanted if edge in edges)


def histogram_counts(cumulative: Mapping[str, float]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Turn cumulative counts by ``le`` into ascending edges and the counts between them.

    Counts never fall below zero: replicas with different edges, or a scrape between two buckets, can make a
    cumulative histogram decrease.
    """
    edges, texts = _ascending(tuple(cumulative))
    if not edges or cumulative[texts[-1]] <= 0.0:
        return None
    counts: list[float] = []
    highest = 0.0
    for text in texts:
        count = cumulative[text]
        counts.append(max(0.0, count - highest))
        highest = max(highest, count)
    return edges, tuple(counts)


@lru_cache(maxsize=1024)
def _ascending(texts: tuple[str, ...]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return the edges that are numbers in ascending order, and how they are spelt."""
    known = [(edge, text) for text in texts if (edge := number(text)) is not None and not math.isnan(edge)]
    known.sort()
    return tuple(edge for edge, _ in known), tuple(text for _, text in known)
