"""The port of a capacity provider, and what is handed to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from forebay.actuation.providers.sight import NodeSight, NodeState, NodeStates, ProviderSight
from forebay.api.v1alpha1.nodeprovider import Provider

_STAYING = (NodeState.LAUNCHED, NodeState.REGISTERED, NodeState.USABLE, NodeState.STUCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One GPUNodePool as its provider sees it: what the nodes are, and the provider's parameters."""

    name: str
    uid: str
    provider: Provider
    selector: Mapping[str, str]
    resource: str
    gpus_per_node: int
    min_nodes: int
    max_nodes: int | None
    minimum_billing_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityWish:
    """What the plan wants of one node pool. Level-based: the same wish twice changes nothing."""

    node_pool: str
    nodes: int
    """Nodes that the plan's replicas and the pods of others fill, those that exist included."""
    warm_nodes: int = 0
    """Free nodes to hold beside them."""
    chunk_gpus: int = 1
    """GPUs of the largest replica that fits on a node: the shape in which room is kept free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One node pool in one round, as its provider may want to know it."""

    at_seconds: float
    nodes: tuple[NodeSight, ...] = ()
    states: NodeStates = field(default_factory=NodeStates)
    sight: ProviderSight = field(default_factory=ProviderSight)
    blocked: bool = False
    """Nothing can be had of it now."""

    @property
    def reclaimed_nodes(self) -> int:
        """Nodes that the cloud takes back, and that their provisioner still counts."""
        return sum(node.reclaimed for node in self.nodes)

    @property
    def bought_nodes(self) -> int:
        """Nodes that count where a number is asked for: bought, and not being removed yet."""
        cordoned = sum(node.leaving and (node.reclaimed or not node.going) for node in self.nodes)
        return self.states.count(*_STAYING) + cordoned

    def kept_nodes(self, minimum_billing_seconds: float) -> int:
        """Nodes that are not given back: pods hold GPUs of them, whoever's they are, or they are paid for."""
        return sum(
            node.gpus_held > 0 or self.at_seconds - node.created_seconds < minimum_billing_seconds
            for node in self.nodes
            if not node.going
        )


class CapacityProvider(Protocol):
    """Makes nodes appear and disappear."""

    async def sight(self, binding: Binding, now_seconds: float) -> ProviderSight:
        """Return what the provisioner shows of a node pool.

        Raises:
            ApiError: it could not be read; the round goes on without.
        """

    async def ensure(self, binding: Binding, wish: CapacityWish, situation: Situation) -> str:
        """Ask for capacity, or for less; return a sentence about what stands in the way, "" if nothing does.

        Raises:
            ApiError: the request failed; repeated in the next round.
        """
