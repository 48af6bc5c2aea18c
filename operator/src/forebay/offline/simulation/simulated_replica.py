"""One replica of a simulated pool, how far it has come, and what holds for its variant."""

import math
from dataclasses import dataclass
from enum import Enum, auto

from forebay.flow.fleet import Variant
from forebay.flow.performance import Performance
from forebay.offline.simulation.nodes.capacity import Pod
from forebay.offline.simulation.simulation_options import StartUp


class Life(Enum):
    """How far a replica has come."""

    WAITING = auto()
    """For GPUs, or for a node that is on its way: not billed."""
    STARTING = auto()
    READY = auto()
    PARKED = auto()
    """Out of traffic: it finishes what it holds, is billed, and comes back at once if it is missed."""
    DRAINING = auto()
    GONE = auto()


class Due(Enum):
    """What happens to a replica at a time of the agenda."""

    STARTS = auto()
    """Its node is there."""
    READY = auto()
    FAILS = auto()
    RECLAIMED = auto()
    """Its node is given notice."""
    CUT_OFF = auto()
    """It was removed, and its time to end is over."""


@dataclass(slots=True, eq=False)
class Replica:
    """One replica of one variant."""

    name: str
    variant: int
    ordered_seconds: float
    pod: Pod
    life: Life = Life.WAITING
    starts_seconds: float = math.inf
    """When its pod starts; infinite while no node for it is there or coming."""
    ready_seconds: float = math.inf
    parked_seconds: float = math.inf
    expected_ready_seconds: float = math.inf
    slot: int = -1


@dataclass(frozen=True, slots=True)
class VariantModel:
    """A variant with what the simulator needs to know of it."""

    variant: Variant
    performance: Performance
    start_up: StartUp
    share: float
    """Decode capacity, for least-loaded routing."""
    rank: float
    """Order among idle prefill replicas, smallest first."""
