"""One round over the fleet."""

from forebay.flow.decision import FleetDecision
from forebay.flow.fleet import Fleet
from forebay.flow.observation import FleetObservation
from forebay.pipeline.state import FleetState


def decide(fleet: Fleet, observed: FleetObservation, state: FleetState) -> FleetDecision:
    """Decide the replicas of every variant of every pool for this round."""
    return FleetDecision(at_seconds=observed.at_seconds, pools={})
