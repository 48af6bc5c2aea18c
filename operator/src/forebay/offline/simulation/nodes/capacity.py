"""The interface between a simulated pool and GPU capacity: when can a pod start?"""

from dataclasses import dataclass, field
from typing import Protocol

from forebay.offline.simulation.nodes.node import Node


@dataclass(slots=True, eq=False)
class Pod:
    """The pods of one replica: GPUs of one node pool, on one node or on several where no node is large enough."""

    node_pool: str | None
    gpus: int
    places: list[tuple[Node, int]] = field(default_factory=list)
    """Nodes with the GPUs held there; a node may still be on its way."""


class PodCapacity(Protocol):
    """GPUs for pods, shared by every simulated pool that is given the same instance."""

    version: int
    """Changes whenever room may have become free, so that waiting pods are tried again."""

    def place(self, pod: Pod, now: float, *, at_once: bool = False) -> float | None:
        """Return when ``pod`` can start; ``None``: no capacity is available now.

        Args:
            pod: not placed yet.
            now: the time.
            at_once: start it now, with a new node if it needs one (for replicas that exist at the beginning).
        """
        ...

    def move(self, pod: Pod, now: float) -> bool:
        """Place ``pod``, which waits for a node, if there is room now; return whether there was."""
        ...

    def remove(self, pod: Pod, when: float) -> None:
        """Take ``pod`` off its nodes, if it has any."""
        ...

    def next_change_seconds(self, now: float) -> float:
        """Return when the next stock-out ends, or room becomes free for another reason than a pod that leaves."""
        ...

    def reclaim_seconds(self, pod: Pod) -> float:
        """Return when the first node of ``pod`` gets its spot notice; infinite: never."""
        ...

    def notice_seconds(self, pod: Pod) -> float:
        """Return the time between the notice and the end of its node."""
        ...

    def node_wait_seconds(self, node_pool: str | None, gpus: int, now: float) -> float:
        """Return the 90th percentile of one more pod's wait for a node; 0 where there is room."""
        ...

    def crowding(self, pod: Pod, others: list[Pod]) -> int:
        """Return how many of ``others`` share a node with ``pod``."""
        ...
