"""The GPUs that pools may use in all: what they hold, what is free, and what is still obtainable."""

from collections.abc import Mapping

from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, Variant
from forebay.flow.observation import FleetObservation, NodePoolObservation, VariantObservation
from forebay.pipeline.size.pool_draft import PoolDraft


def gpu_stock(fleet: Fleet, observed: FleetObservation, drafts: Mapping[PoolKey, PoolDraft]) -> dict[str, int]:
    """Return the GPUs per node pool that the drafted pools may use in all: held, free and still obtainable.

    The other pools keep what they have: the GPUs that they hold are neither free nor obtainable, and those that
    their pending pods wait for are left to them.
    """
    held: dict[str, int] = {}
    for key, pool in fleet.pools.items():
        draft = drafts.get(key)
        for variant in pool.variants:
            if variant.node_pool is not None:
                gpus = _gpus_pending(observed, pool, variant) if draft is None else _gpus_held(draft, variant)
                held[variant.node_pool] = held.get(variant.node_pool, 0) + (gpus if draft else -gpus)
    stock = {}
    for name, node_pool in fleet.node_pools.items():
        supply = observed.node_pools.get(name)
        if supply is not None:
            obtainable = _obtainable(node_pool, supply, observed.at_seconds)
            if obtainable is not None:
                stock[name] = max(0, held.get(name, 0) + supply.free_gpus + obtainable)
    return stock


def _gpus_held(draft: PoolDraft, variant: Variant) -> int:
    seen = draft.basis.observed.variant(variant.key)
    if seen is None:
        return draft.basis.supplies[variant.key].desired * variant.gpus_per_replica
    return _placed(seen) * variant.gpus_per_replica


def _gpus_pending(observed: FleetObservation, pool: Pool, variant: Variant) -> int:
    """Return the GPUs that ordered pods of a variant still wait for."""
    pool_seen = observed.pools.get(pool.key)
    seen = None if pool_seen is None else pool_seen.variant(variant.key)
    return (
        0 if seen is None else max(0, seen.desired + len(seen.parked) - _placed(seen)) * variant.gpus_per_replica
    )


def _placed(seen: VariantObservation) -> int:
    return seen.ready + len(seen.parked) + sum(1 for replica in seen.starting if not replica.unschedulable)


def _obtainable(node_pool: NodePool, seen: NodePoolObservation, at_seconds: float) -> int | None:
    """Return GPUs that more nodes would bring; ``None`` if there is no known limit."""
    more = more_nodes(node_pool, seen, at_seconds)
    return None if more is None else max(0, more + seen.provisioning_nodes) * node_pool.gpus_per_node


def more_nodes(node_pool: NodePool, seen: NodePoolObservation, at_seconds: float) -> int | None:
    """Return how many nodes can be had beyond those on their way, negative beyond a limit; ``None``: no limit."""
    if seen.blocked_until_seconds is not None and at_seconds < seen.blocked_until_seconds:
        return 0
    limits = []
    if node_pool.max_nodes is not None:
        limits.append(node_pool.max_nodes - seen.nodes - seen.launched_nodes)
    if seen.launchable_nodes is not None:
        limits.append(seen.launchable_nodes)
    return min(limits) if limits else None
