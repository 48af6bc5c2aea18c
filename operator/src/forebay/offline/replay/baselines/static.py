"""A fleet that never changes, sized for the busiest minute: what over-provisioning costs.

It knows the busiest minute of the traffic beforehand, which nobody does: a policy of hindsight. Replicas per
role = work that arrives in the busiest minute over the utilisation in that minute.
"""

from collections.abc import Mapping

from forebay.flow.fleet import VariantKey
from forebay.flow.observation import PoolObservation
from forebay.offline.replay.baselines.common.trace_work import fleet_for_busiest_minute
from forebay.offline.replay.baselines.registry import Baseline, Knob, PoolFacts


class Static:
    """Keeps the same counts."""

    interval_seconds = 60.0

    def __init__(self, counts: Mapping[VariantKey, int]) -> None:
        self._counts = dict(counts)

    def tick(self, seen: PoolObservation) -> Mapping[VariantKey, int]:  # noqa: ARG002
        """Return the counts."""
        return self._counts


def make(facts: PoolFacts, utilisation: float) -> Static:
    """Return the fleet for the busiest minute.

    Raises:
        ValueError: the traffic is not known, or empty.
    """
    trace = facts.future
    if trace is None or len(trace) == 0:
        raise ValueError("a fleet for the busiest minute needs the traffic; there is none")
    return Static(fleet_for_busiest_minute(facts, trace, utilisation))


BASELINES = (
    Baseline(
        name="static-peak",
        title="Static at the busiest minute (hindsight)",
        source="no product: the usual over-provisioning, with knowledge of the future",
        knob=Knob(
            name="utilisation in the busiest minute",
            default=1.0,
            sweep=(2.0, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7, 0.6),
        ),
        make=make,
        hindsight=True,
    ),
)
