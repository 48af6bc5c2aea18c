"""Node pools that are planned in whole nodes: those that are billed so and whose placement is known."""

from collections.abc import Collection, Mapping

from forebay.flow.fleet import Fleet, NodePool, PoolKey
from forebay.flow.observation import FleetObservation, NodePoolObservation, PlacedNode
from forebay.flow.plan import NodeGroup, NodeSupply
from forebay.pipeline.plan.stock import more_nodes
from forebay.pipeline.size.pool_draft import PoolDraft
from forebay.planning.nodes import MOST_ROLES


def node_supplies(
    fleet: Fleet, observed: FleetObservation, drafts: Mapping[PoolKey, PoolDraft]
) -> dict[str, NodeSupply]:
    """Return the supply of every node pool that is planned in nodes; none where the fleet is too large for it."""
    found = {}
    for name, node_pool in fleet.node_pools.items():
        seen = observed.node_pools.get(name)
        if seen is not None and seen.placement is not None and not node_pool.billed_per_gpu:
            supply = _supply(node_pool, seen, seen.placement, drafts.keys(), observed.at_seconds)
            if supply is not None:
                found[name] = supply
    roles = sum(len(draft.roles) for draft in drafts.values() if on_nodes(draft, found))
    return found if roles <= MOST_ROLES else {}


def on_nodes(draft: PoolDraft, nodes: Mapping[str, NodeSupply]) -> bool:
    """Return whether a pool may use node pools that are planned in nodes."""
    return any(variant.node_pool in nodes for variant in draft.pool.variants)


def _supply(
    node_pool: NodePool,
    seen: NodePoolObservation,
    placement: Collection[PlacedNode],
    planned: Collection[PoolKey],
    at_seconds: float,
) -> NodeSupply | None:
    if not node_pool.usd_per_gpu_hour:
        return None
    more = more_nodes(node_pool, seen, at_seconds)
    coming = NodeGroup(names=("",) * seen.provisioning_nodes, free_gpus=node_pool.gpus_per_node)
    return NodeSupply(
        gpus_per_node=node_pool.gpus_per_node,
        usd_per_node_hour=node_pool.usd_per_gpu_hour * node_pool.gpus_per_node,
        groups=(*_groups(placement, planned), *([coming] if seen.provisioning_nodes else [])),
        obtainable=None if more is None else max(0, more),
        paid_nodes=max(node_pool.reserved_nodes, node_pool.min_nodes),
    )


def _groups(placement: Collection[PlacedNode], planned: Collection[PoolKey]) -> list[NodeGroup]:
    """Put nodes together that are alike for the plan; replicas of pools that are not planned stay."""
    alike: dict[tuple[object, ...], list[PlacedNode]] = {}
    for node in placement:
        held = tuple(sorted((placed, count) for placed, count in node.replicas.items() if placed[0] in planned))
        stays = node.others or len(held) < len(node.replicas)
        alike.setdefault((node.free_gpus, held, stays), []).append(node)
    return [
        NodeGroup(
            names=tuple(sorted(node.name for node in nodes)),
            free_gpus=nodes[0].free_gpus,
            replicas={placed: count for placed, count in nodes[0].replicas.items() if placed[0] in planned},
            stays=nodes[0].others or any(placed[0] not in planned for placed in nodes[0].replicas),
        )
        for nodes in alike.values()
    ]
