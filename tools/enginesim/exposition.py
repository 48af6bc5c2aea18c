"""Prometheus text exposition of a target (format version 0.0.4, as the engines serve it to a plain scraper)."""

from collections.abc import Iterator, Mapping

import numpy as np

from enginesim.series import Histogram, Target
from enginesim.tables import Metric, Table

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(target: Target, *, override: float | None = None) -> str:
    """Return the text of ``/metrics``.

    Args:
        target: What to show.
        override: Shown instead of every value (NaN, for fault tests).
    """
    lines: list[str] = []
    previous = ""
    for index, (table, metric) in enumerate(target.metrics):
        if metric.lazy and metric.value not in target.touched:
            continue
        name = wire_name(table, metric)
        if name != previous:
            lines.append(f"# HELP {name} {_escaped_help(metric.help)}")
            lines.append(f"# TYPE {name} {metric.type}")
            previous = name
        labels = _labels(table, metric, target.names)
        if metric.type == "histogram":
            lines.extend(_histogram(name, labels, target.histograms[index], override))
        else:
            value = target.values.get(metric.value, 0.0) if override is None else override
            lines.append(f"{name}{_braced(labels)} {number(value)}")
    return "\n".join(lines) + "\n"


def wire_name(table: Table, metric: Metric) -> str:
    """Return the name on the wire."""
    return metric.name + (table.counter_suffix if metric.type == "counter" else "")


def _histogram(name: str, labels: str, histogram: Histogram, override: float | None) -> Iterator[str]:
    joined = f"{labels}," if labels else ""
    cumulative = np.cumsum(histogram.counts).tolist()
    for bound, count in zip([*histogram.bounds.tolist(), float("inf")], cumulative, strict=True):
        shown = number(count if override is None else override)
        yield f'{name}_bucket{{{joined}le="{number(bound)}"}} {shown}'
    yield f"{name}_sum{_braced(labels)} {number(histogram.total if override is None else override)}"
    yield f"{name}_count{_braced(labels)} {number(cumulative[-1] if override is None else override)}"


def _labels(table: Table, metric: Metric, names: Mapping[str, str]) -> str:
    engine_type = table.engine_types.get(names.get("role", ""), "")
    filled = {**names, "engine_type": engine_type}
    pairs = {**table.labels, **metric.labels}
    return ",".join(f'{key}="{_escaped(value.format_map(filled))}"' for key, value in pairs.items())


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def number(value: float) -> str:
    """Return a sample value as Prometheus writes it."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
