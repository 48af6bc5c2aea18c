"""The GPUs that pools may use in all: what they hold, what is free, and what is still obtainable."""

from collections.abc import Mapping

from forebay.flow.fleet import Fleet, NodePool, PoolKey, Variant
from forebay.flow.observation import FleetObservation, NodePoolObservation
from forebay.pipeline.size.pool_draft import PoolDraft


def gpu_stock(fleet: Fleet, observed: FleetObservation, drafts: Mapping[PoolKey, PoolDraft]) -> dict[str, int]:
    """Return the GPUs per node pool that these pools may use in all: held, free and still obtainable."""
    held: dict[str, int] = {}
    for draft in drafts.values():
        for variant in draft.pool.variants:
            if variant.node_pool is not None:
                held[variant.node_pool] = held.get(variant.node_pool, 0) + _gpus_held(draft, variant)
    stock = {}
    for name, node_pool in fleet.node_pools.items():
        seen = observed.node_pools.get(name)
        if seen is not None:
            obtainable = _obtainable(node_pool, seen, observed.at_seconds)
            if obtainable is not None:
                stock[name] = held.get(name, 0) + seen.free_gpus + obtainable
    return stock


def _gpus_held(draft: PoolDraft, variant: Variant) -> int:
    seen = draft.basis.observed.variant(variant.key)
    if seen is None:
        return draft.basis.supplies[variant.key].desired * variant.gpus_per_replica
    placed = seen.ready + sum(1 for replica in seen.starting if not replica.unschedulable)
    return placed * variant.gpus_per_replica


def _obtainable(node_pool: NodePool, seen: NodePoolObservation, at_seconds: float) -> int | None:
    """Return GPUs that more nodes would bring; ``None`` if there is no known limit."""
    blocked = seen.blocked_until_seconds is not None and at_seconds < seen.blocked_until_seconds
    if blocked:
        return seen.provisioning_nodes * node_pool.gpus_per_node
    limits = []
    if node_pool.max_nodes is not None:
        limits.append(node_pool.max_nodes - seen.nodes - seen.launched_nodes + seen.provisioning_nodes)
    if seen.launchable_nodes is not None:
        limits.append(seen.provisioning_nodes + seen.launchable_nodes)
    return max(0, min(limits)) * node_pool.gpus_per_node if limits else None
