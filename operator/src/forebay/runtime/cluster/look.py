"""What one look at the cluster shows: values, made by ``world`` and read by every step of a round after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.actuation.providers.port import Situation
from forebay.actuation.providers.sight import Word
from forebay.flow.fleet import NodePool, PoolKey, VariantKey
from forebay.flow.observation import NodePoolObservation, VariantObservation
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.roster import NodePoolEntry, PoolEntry
from forebay.runtime.cluster.writes import LastWrite, Reversions
from forebay.runtime.watch.records import PodRecord
from forebay.runtime.watch.workloads import WorkloadRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLook:
    """One pool as the cluster shows it."""

    entry: PoolEntry
    at_seconds: float
    variants: tuple[VariantObservation, ...]
    """Without engine samples."""
    workloads: Mapping[VariantKey, WorkloadRecord]
    """By variant; a variant whose target does not exist is absent."""
    pods: Mapping[VariantKey, tuple[PodRecord, ...]]
    """Living replicas of these workloads, in the order in which a lower count removes them."""
    target_problems: tuple[str, ...]
    last_written: Mapping[VariantKey, LastWrite]
    """What we wrote last, or took over, by variant; a variant that we never wrote is absent."""
    reversions: Mapping[VariantKey, Reversions]
    """How often a manifest set a target back, by variant; a variant whose target never was is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePoolLook:
    """One node pool as the scheduler can use it, with its lead times."""

    entry: NodePoolEntry
    observed: NodePoolObservation
    situation: Situation
    """As its provider may want to know it."""
    pods: Mapping[tuple[PoolKey, VariantKey], int] = field(default_factory=dict)
    """Pods of each variant on nodes that nobody takes away."""
    last_failure: Word | None
    """The last time that a node could not be had."""
    node: LeadTimeQuantiles
    start_up: LeadTimeQuantiles | None
    total: LeadTimeQuantiles | None
    phases: Mapping[str, LeadTimeQuantiles] = field(default_factory=dict)
    """What each step of a node took."""
    warm_nodes: int = 0
    """Free nodes that are to be held."""

    @property
    def usd_per_hour(self) -> float | None:
        """What the nodes cost in an hour, from their launch to their end; ``None`` where no price is known."""
        held = sum(node.gpus_held for node in self.situation.nodes)
        return self.entry.node_pool.usd_per_hour(nodes=self.situation.states.paid, gpus_held=held)

    @property
    def idle_nodes(self) -> int:
        """Usable nodes of which no pod holds GPUs, beyond those that are held warm."""
        idle = sum(node.usable and node.gpus_held == 0 for node in self.situation.nodes)
        return max(0, idle - self.warm_nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything seen in one round."""

    at_seconds: float
    pools: tuple[PoolLook, ...]
    node_pools: tuple[NodePoolLook, ...]


def node_pools_of(look: Look) -> dict[str, NodePool]:
    """Return the node pools of a look by name, as the pipeline wants them."""
    return {pool.entry.node_pool.name: pool.entry.node_pool for pool in look.node_pools}


def going_nodes(look: Look) -> frozenset[str]:
    """Return the nodes that somebody takes away."""
    return frozenset(node.name for pool in look.node_pools for node in pool.situation.nodes if node.going)
