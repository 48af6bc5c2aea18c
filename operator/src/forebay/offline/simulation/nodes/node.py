"""One simulated node, and the properties of a node pool."""

import math
from dataclasses import dataclass
from enum import StrEnum

from forebay.offline.simulation.simulation_options import StartUp

CONSOLIDATE_AFTER_SECONDS = 600.0
"""How long an empty node stays: the Cluster Autoscaler's ``--scale-down-unneeded-time``."""
MINIMUM_BILLED_SECONDS = 60.0
"""The shortest time that a cloud bills for a node; billing by the second from a minute on is common."""


class NodeScoring(StrEnum):
    """Which of the nodes with room the scheduler takes (kube-scheduler's NodeResourcesFit strategies)."""

    LEAST_ALLOCATED = "least-allocated"
    """The emptiest: Kubernetes' default."""
    MOST_ALLOCATED = "most-allocated"
    """The fullest: packs pods, so that nodes become empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRules:
    """The properties of one node pool in the simulation."""

    gpus_per_node: int
    lead_time: StartUp
    """From the launch of a node until pods can start on it."""
    min_nodes: int = 0
    max_nodes: int | None = None
    """The quota."""
    consolidate_after_seconds: float = CONSOLIDATE_AFTER_SECONDS
    minimum_billed_seconds: float = MINIMUM_BILLED_SECONDS
    reserved_nodes: int = 0
    """Nodes that are paid for whether they run or not."""
    mean_seconds_between_reclaims: float | None = None
    """Spot: mean life of one node (exponential)."""
    notice_seconds: float = 120.0
    """Spot: from the notice to the end of the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPods:
    """GPUs of a node pool that pods of other users hold for a time, on one node each."""

    node_pool: str
    gpus: int
    count: int = 1
    start_seconds: float = 0.0
    end_seconds: float = math.inf


@dataclass(slots=True, eq=False)
class Node:
    """One node, from its launch until it is given back."""

    name: str
    gpus: int
    launched_seconds: float
    ready_seconds: float
    """When pods can start on it."""
    reclaim_seconds: float = math.inf
    """When a spot node gets its notice."""
    gone_seconds: float = math.inf
    free: int = 0
    pods: int = 0
    empty_since_seconds: float = math.nan
    used: bool = False
    """Whether a pod ever started here."""

    def take(self, gpus: int) -> None:
        """Let a pod hold ``gpus``, now or once the node is ready."""
        self.free -= gpus
        self.pods += 1

    def leave(self, gpus: int, when: float) -> None:
        """End a pod's hold on ``gpus``."""
        self.used = self.used or when > self.ready_seconds
        self.free += gpus
        self.pods -= 1
        if self.pods == 0:
            self.empty_since_seconds = max(when, self.ready_seconds)

    def undo(self, gpus: int) -> None:
        """Undo a `take` that was not used."""
        self.free += gpus
        self.pods -= 1

    def alive(self, now: float) -> bool:
        """Return whether the node is launched and not given back."""
        return now < self.gone_seconds

    def usable(self, now: float) -> bool:
        """Return whether the scheduler may place a pod here now."""
        return self.ready_seconds <= now < min(self.gone_seconds, self.reclaim_seconds)

    def coming(self, now: float) -> bool:
        """Return whether the node is launched and not ready yet."""
        return now < self.ready_seconds and now < self.gone_seconds
