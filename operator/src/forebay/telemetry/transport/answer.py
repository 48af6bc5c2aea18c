"""Read Prometheus' answers strictly: what is not a usable number is counted by its fault, and never becomes one.

The format: https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats .
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from sys import intern
from typing import Any

from forebay.telemetry.transport.streaming import SeriesOf

_is_number = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+|Inf)|NaN", re.ASCII).fullmatch

Labels = tuple[str, ...]
"""Values of the labels that were asked for, in the order in which they were asked for."""


@dataclass(slots=True)
class Vector:
    """One number per series at one time."""

    values: dict[Labels, float] = field(default_factory=dict)
    not_a_number: set[Labels] = field(default_factory=set)
    """Series that exist, with NaN or an infinity."""
    duplicate: set[Labels] = field(default_factory=set)
    """Series that came twice; neither is used."""
    malformed: int = 0


@dataclass(slots=True)
class Matrix:
    """One number per series and step; NaN where a step has none."""

    values: dict[Labels, list[float]] = field(default_factory=dict)
    duplicate: set[Labels] = field(default_factory=set)
    malformed: int = 0


def _label_reader(names: tuple[str, ...]) -> Callable[[object], Labels]:
    """Return a function from a series' labels to the values of ``names``; it raises for what are no labels.

    Equal values are one object: dozens of answers name the same thousands of workloads.
    """
    if not names:
        return lambda _: ()
    first = itemgetter(*names) if len(names) > 1 else None

    def read(metric: object) -> Labels:
        if not isinstance(metric, dict):
            raise TypeError("labels are an object")
        try:
            labels: Labels = first(metric) if first is not None else (metric[names[0]],)
        except KeyError:
            labels = tuple([metric.get(name, "") for name in names])
        return tuple(map(intern, labels))  # raises unless all are text

    return read


def number(text: object) -> float | None:
    """Return a sample's value (NaN and infinities included), or ``None`` if it is not in the format.

    The format has strings. A bare JSON number, or digits that only Python would read, are somebody else's answer.
    """
    return float(text) if isinstance(text, str) and _is_number(text) else None


def _point(point: Any) -> tuple[float, float] | None:
    """Return the time and value of a sample; whatever JSON it may be, ``None`` if it is none."""
    try:
        at, text = point
        seconds = float(at) if math.isfinite(at) else None
        value = number(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if value is None or seconds is None else (seconds, value)


def parse_vector(result: object, names: tuple[str, ...]) -> Vector:
    """Read an instant answer; ``names`` are the labels that tell its series apart. Never raises."""
    answer = Vector()
    if not isinstance(result, list | SeriesOf):
        answer.malformed = 1
        return answer
    labels_of, values, not_a_number = _label_reader(names), answer.values, answer.not_a_number
    for item in result:
        try:
            labels = labels_of(item["metric"])
            at, text = item["value"]
            value = float(text) if _is_number(text) and math.isfinite(at) else None
        except (KeyError, TypeError, ValueError, OverflowError):
            answer.malformed += 1
            continue
        if value is None:
            answer.malformed += 1
        elif labels in values or labels in not_a_number or labels in answer.duplicate:
            answer.duplicate.add(labels)
        elif math.isfinite(value):
            values[labels] = value
        else:
            not_a_number.add(labels)
    for labels in answer.duplicate:
        values.pop(labels, None)
        not_a_number.discard(labels)
    return answer


def parse_matrix(
    result: object, names: tuple[str, ...], *, start_seconds: float, step_seconds: float, steps: int
) -> Matrix:
    """Read a range answer of ``steps`` steps from ``start_seconds``. Never raises.

    Points that lie on no step, and numbers that are not finite, stay NaN.
    """
    answer = Matrix()
    if not isinstance(result, list | SeriesOf):
        answer.malformed = 1
        return answer
    labels_of = _label_reader(names)
    for item in result:
        try:
            labels, points = labels_of(item["metric"]), item["values"]
        except (KeyError, TypeError):
            answer.malformed += 1
            continue
        if not isinstance(points, list):
            answer.malformed += 1
        elif labels in answer.values:
            answer.duplicate.add(labels)
        else:
            row = [math.nan] * steps
            answer.malformed += _fill(row, points, start_seconds, step_seconds)
            answer.values[labels] = row
    for labels in answer.duplicate:
        del answer.values[labels]
    return answer


def _fill(row: list[float], points: list[Any], start_seconds: float, step_seconds: float) -> int:
    """Lay points on their steps; return how many are malformed."""
    bad = 0
    for each in points:
        try:
            at, text = each  # whatever JSON it may be
            value = float(text) if _is_number(text) else None
            position = (at - start_seconds) / step_seconds
            index = round(position)
        except (TypeError, ValueError, OverflowError):
            bad += 1
            continue
        if value is None or not -0.5 < position < len(row) - 0.5 or abs(position - index) > 1e-3:
            bad += 1
        elif math.isfinite(value):
            row[index] = value
    return bad


def parse_single(result: object) -> tuple[float, float] | str:
    """Read an answer that must be one number: a scalar or a vector of one series. Never raises.

    Returns:
        The sample's time and value, or a sentence that says why there is none.
    """
    if isinstance(result, SeriesOf):
        result = list(result)
    if not isinstance(result, list):
        return "The answer is neither a scalar nor a vector."
    if not result:
        return "The query matches no series."
    if not isinstance(result[0], Mapping):
        point = _point(result)
    elif len(result) > 1:
        return f"The query gives {len(result)} series where one is meant; aggregate it, for example with sum()."
    else:
        point = _point(result[0].get("value"))
    if point is None:
        return "The answer is neither a scalar nor a vector of one series."
    if not math.isfinite(point[1]):
        return f"The query gives {point[1]}, which is not a number to plan with."
    return point
