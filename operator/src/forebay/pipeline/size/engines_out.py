"""Ready replicas whose engines take no requests: they are paid for, and are no capacity."""

from dataclasses import replace

from forebay.flow.observation import Standing, VariantObservation
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.supply import Supply

_ASKED_SECONDS = 600.0
"""Where nobody has asked for so long, an engine that does not move may as well have nothing to do."""


def without_engines_out(supply: Supply, seen: VariantObservation | None, memory: PoolMemory, at: float) -> Supply:
    """Return the supply without replicas whose engines sleep or do not move.

    They are replaced, and go when they are back. Which pods they are is not known, so a release is taken to remove
    the others first.
    """
    asked = memory.last_arrival_seconds is not None and at - memory.last_arrival_seconds <= _ASKED_SECONDS
    out = _replicas_out(seen) if seen is not None and asked and supply.frozen is None else 0
    out = min(out, supply.ready)
    if out == 0:
        return supply
    serving = [number for number, where in enumerate(supply.order) if where is Standing.READY]
    last = set(serving[len(serving) - out :])
    order = [Standing.LOST if number in last else where for number, where in enumerate(supply.order)]
    return replace(supply, live=supply.live - out, ready=supply.ready - out, removal=tuple(order))


def _replicas_out(seen: VariantObservation) -> int:
    """Return the replicas of a variant whose engines are out.

    Nobody can tell an engine that hangs from a metric that hangs. Of those that do not move no more than half of
    the variant counts, and at least one: a metric that lies never buys more than twice what is needed.
    """
    sample = seen.engine
    if sample is None:
        return 0
    stuck = min(sample.whole_replicas(sample.stuck_engines), max(1, seen.ready // 2))
    return sample.whole_replicas(sample.sleeping_engines) + stuck
