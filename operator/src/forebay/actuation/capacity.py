"""Node capacity: how a node pool gets its nodes.

`CapacityProvider` is the port; every node pool names one provider. Replicas and nodes are changed through
different objects by different owners, so this port never touches workloads.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ProviderMode(StrEnum):
    """What a provider can be asked for."""

    POD_DRIVEN = "PodDriven"
    """Nothing: a node autoscaler reacts to pending pods."""
    COUNT = "Count"
    """A number of nodes."""
    BUFFER = "Buffer"
    """Spare capacity in chunks of one replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityWish:
    """What the plan wants of one node pool. Level-based: the same wish twice changes nothing."""

    node_pool: str
    nodes: int
    """Nodes that the plan's replicas fill, those that exist included."""
    deadline_seconds: float
    """Unix time after which the wish is given up and another node pool is tried."""


class CapacityProvider(Protocol):
    """Makes nodes appear and disappear."""

    @property
    def mode(self) -> ProviderMode:
        """What this provider can be asked for."""

    async def ensure(self, wish: CapacityWish) -> str:
        """Ask for capacity and return a sentence that says what was done; idempotent.

        Raises:
            ApiError: the request failed; repeated next round.
        """


class PodDrivenProvider:
    """The default: Cluster Autoscaler, Karpenter or a cloud's auto-provisioning reacts to pending pods.

    The scale-out itself is the request, so nothing has to be written, and taking replicas back takes it back.
    """

    mode = ProviderMode.POD_DRIVEN

    async def ensure(self, wish: CapacityWish) -> str:
        """Do nothing and say so."""
        return f"{wish.node_pool}: pending pods make the node autoscaler add nodes."
