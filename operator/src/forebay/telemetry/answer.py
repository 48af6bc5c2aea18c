"""Read Prometheus' answers strictly: what is not a usable number is counted by its fault, and never becomes one.

The format: https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats .
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

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


def _labels(metric: object, names: tuple[str, ...]) -> Labels | None:
    if not isinstance(metric, Mapping):
        return None
    values = tuple([metric.get(name, "") for name in names])
    return values if all(isinstance(value, str) for value in values) else None


def number(text: object) -> float | None:
    """Return a sample's value (NaN and infinities included), or ``None`` if it is not in the format.

    The format has strings. A bare JSON number, or digits that only Python would read, are somebody else's answer.
    """
    if not isinstance(text, str) or not text.isascii() or "_" in text or text != text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _point(point: object) -> tuple[float, float] | None:
    if not isinstance(point, list) or len(point) != 2:
        return None
    at, text = point
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    try:
        seconds = float(at)
    except OverflowError:
        return None
    value = number(text)
    return None if value is None or not math.isfinite(seconds) else (seconds, value)


def parse_vector(result: object, names: tuple[str, ...]) -> Vector:
    """Read an instant answer; ``names`` are the labels that tell its series apart. Never raises."""
    answer = Vector()
    if not isinstance(result, list):
        answer.malformed = 1
        return answer
    for item in result:
        if not isinstance(item, Mapping):
            answer.malformed += 1
            continue
        labels, point = _labels(item.get("metric"), names), _point(item.get("value"))
        if labels is None or point is None:
            answer.malformed += 1
        elif labels in answer.values or labels in answer.not_a_number or labels in answer.duplicate:
            answer.duplicate.add(labels)
        elif math.isfinite(point[1]):
            answer.values[labels] = point[1]
        else:
            answer.not_a_number.add(labels)
    for labels in answer.duplicate:
        answer.values.pop(labels, None)
        answer.not_a_number.discard(labels)
    return answer


def parse_matrix(
    result: object, names: tuple[str, ...], *, start_seconds: float, step_seconds: float, steps: int
) -> Matrix:
    """Read a range answer of ``steps`` steps from ``start_seconds``. Never raises.

    Points that lie on no step, and numbers that are not finite, stay NaN.
    """
    answer = Matrix()
    if not isinstance(result, list):
        answer.malformed = 1
        return answer
    for item in result:
        if not isinstance(item, Mapping):
            answer.malformed += 1
            continue
        labels, points = _labels(item.get("metric"), names), item.get("values")
        if labels is None or not isinstance(points, list):
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


def _fill(row: list[float], points: list[object], start_seconds: float, step_seconds: float) -> int:
    bad = 0
    for each in points:
        point = _point(each)
        if point is None:
            bad += 1
            continue
        position = (point[0] - start_seconds) / step_seconds
        if not -0.5 < position < len(row) - 0.5:
            bad += 1
            continue
        index = round(position)
        if abs(position - index) > 1e-3:
            bad += 1
        elif math.isfinite(point[1]):
            row[index] = point[1]
    return bad


def parse_single(result: object) -> tuple[float, float] | str:
    """Read an answer that must be one number: a scalar or a vector of one series. Never raises.

    Returns:
        The sample's time and value, or a sentence that says why there is none.
    """
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
