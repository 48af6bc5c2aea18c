"""Whether a round's numbers about engines can be true."""

from forebay.flow.observation import EngineSample
from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.grouping import Place
from forebay.telemetry.query.readings import ENGINES, Readings, level
from forebay.telemetry.signals.engines import HIGHEST_SHARE
from forebay.telemetry.signals.pool_view import SignalMemory
from forebay.telemetry.source import WorkloadTarget
from forebay.telemetry.transport.answer import Labels

_PATIENCE_SECONDS = 90.0
"""Pods that have just ended report for a while: so long may more replicas report than exist."""


def too_many(
    workload: WorkloadTarget, place: Place, sample: EngineSample | None, end_seconds: float, memory: SignalMemory
) -> str:
    """Say that more replicas report than exist, for longer than an ended pod's samples last; empty: no."""
    reporting = 0 if sample is None else sample.reporting_replicas or 0
    if workload.most_replicas is None or reporting <= workload.most_replicas:
        memory.too_many_since.pop(place, None)
        return ""
    since = memory.too_many_since.setdefault(place, end_seconds)
    if end_seconds - since < _PATIENCE_SECONDS:
        return ""
    return (
        f"{reporting} replicas report where {workload.most_replicas} exist: another cluster's or tenant's series"
        " are read as well (set prometheus.matchLabels), or the selector fits other pods"
    )


def impossible_share(readings: Readings, key: Labels) -> str:
    """Say that a share is above one; empty: none is."""
    total, engines = readings.value(level(Signal.KV_USAGE), key), readings.value(ENGINES, key)
    if total is None or not engines or total / engines <= HIGHEST_SHARE:
        return ""
    return f"the KV cache is {total / engines:.0%} full: some series repeats another; it is not used"
