"""Misses of the objectives from latency histograms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.histograms import Bracket, bracket
from forebay.telemetry.query.readings import Readings, buckets
from forebay.telemetry.transport.answer import Labels


@dataclass(frozen=True, slots=True)
class Misses:
    """How many requests (or tokens) of an interval took longer than the objective."""

    total: float
    late: float
    exact: bool
    detail: str = ""
    fewest: float = 0.0
    most: float = 0.0
    """Bounds of ``late`` by the bucket edges next to the objective."""

    @property
    def share(self) -> float | None:
        """Return the share that was late, ``None`` if there was nothing to be late."""
        return min(1.0, max(0.0, self.late / self.total)) if self.total > 0.0 else None


def misses(readings: Readings, signal: Signal, keys: Sequence[Labels], objective_seconds: float) -> Misses | None:
    """Count what was later than the objective, over all ``keys``; ``None`` if no histogram tells."""
    edges = readings.facts.edges.get(signal, {})
    found = bracket(edges, objective_seconds)
    vector = readings.vectors.get(buckets(signal))
    if found is None or vector is None:
        return None
    infinite = edges.get(float("inf"), "+Inf")

    def counted(edge: str) -> float | None:
        values = [vector.values[(*key, edge)] for key in keys if (*key, edge) in vector.values]
        return sum(values) if values else None

    total, above = counted(infinite), counted(edges[found.above])
    if total is None or above is None:
        return None
    below = 0.0 if found.below is None else counted(edges[found.below]) or 0.0
    in_time, detail = _in_time(found, below, above, objective_seconds)
    surely_in_time = above if found.exact else below
    return Misses(
        total,
        max(0.0, total - in_time),
        found.exact,
        detail,
        fewest=max(0.0, total - above),
        most=max(0.0, total - surely_in_time),
    )


def joined(parts: Sequence[Misses]) -> Misses | None:
    """Return the misses of several groups of workloads together."""
    if not parts:
        return None
    return Misses(
        math.fsum(each.total for each in parts),
        math.fsum(each.late for each in parts),
        all(each.exact for each in parts),
        next((each.detail for each in parts if each.detail), ""),
        math.fsum(each.fewest for each in parts),
        math.fsum(each.most for each in parts),
    )


def _in_time(found: Bracket, below: float, above: float, objective_seconds: float) -> tuple[float, str]:
    if found.exact:
        return above, ""
    lowest = found.below or 0.0
    if found.above == float("inf"):
        return below, f"no bucket edge at {objective_seconds:g} s or above: all beyond {lowest:g} s count as late"
    share = (objective_seconds - lowest) / (found.above - lowest)
    detail = f"no bucket edge at {objective_seconds:g} s: interpolated between {lowest:g} s and {found.above:g} s"
    return below + share * max(0.0, above - below), detail
