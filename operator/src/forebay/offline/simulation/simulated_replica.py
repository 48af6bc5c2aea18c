"""One replica of a simulated pool, its phase, and the properties of its variant."""

import math
from dataclasses import dataclass
from enum import Enum, auto

from forebay.flow.fleet import Variant
from forebay.flow.performance import Performance
from forebay.offline.simulation.nodes.capacity import Pod
from forebay.offline.simulation.simulation_options import StartUp


class Life(Enum):
    """The phase of a replica's life."""

    WAITING = auto()
    """For GPUs, or for a node that is on its way: not billed."""
    STARTING = auto()
    READY = auto()
    PARKED = auto()
    """Out of traffic: it finishes its requests, is billed, and returns to traffic at once if it is needed."""
    DRAINING = auto()
    GONE = auto()


class Due(Enum):
    """An event in the life of a replica."""

    STARTS = auto()
    """Its node is ready."""
    READY = auto()
    FAILS = auto()
    RECLAIMED = auto()
    """Its node gets a spot notice."""
    CUT_OFF = auto()
    """It was removed, and its termination grace period is over."""


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
    """A variant with the properties that the simulator needs."""

    variant: Variant
    performance: Performance
    start_up: StartUp
    share: float
    """Decode capacity, for least-loaded routing."""
    rank: float
    """Order among idle prefill replicas, smallest first."""
