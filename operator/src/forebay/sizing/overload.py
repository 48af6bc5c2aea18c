"""Later misses of work beyond capacity: the queue that it leaves must be drained."""

import numpy as np

from forebay.sizing.curve import DemandNodes, SizedCurve

DRAIN_SHARE = 0.15
"""Share of capacity that is free to drain a queue later; requests behind the queue are late until then. Fleets
that are sized by misses have about this share free."""


def with_overload(curve: SizedCurve, demand: DemandNodes, seconds_per_request: float) -> SizedCurve:
    """Return ``curve`` with the misses of draining added, at the same counts of replicas.

    A second of work beyond capacity makes ``1 / (DRAIN_SHARE x seconds per request)`` later requests late.
    """
    offered = demand.rates * seconds_per_request
    beyond = np.maximum(offered - curve.replicas[:, None], 0.0) @ demand.weights
    late = beyond / (DRAIN_SHARE * max(seconds_per_request, 1e-12))
    return SizedCurve(curve.replicas, curve.misses_per_second + late, curve.erlangs)
