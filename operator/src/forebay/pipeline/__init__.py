"""Pipeline: one round of forecast, size and plan over the whole fleet, as a function of values.

``decide`` is called by the live loop and by the replay in exactly the same way.
"""

from forebay.pipeline.decide import decide
from forebay.pipeline.remember.fleet_state import FleetState, StateError

__all__ = ["FleetState", "StateError", "decide"]
