"""Wishes for nodes: what the replicas of the plan fill, on each node pool."""

from typing import Any

from forebay.actuation.capacity import CapacityWish, PodDrivenProvider
from forebay.flow.decision import PoolDecision, VariantDecision
from forebay.flow.fleet import PoolKey, Role
from forebay.runtime.capacity import capacity_wishes, ensure_capacity
from forebay.runtime.cluster.look import Look
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store

NOW = 1_795_132_800.0
CHAT = PoolKey("serving", "chat")


async def look(store: Store, objects: Any, *, gpus: int, mode: str = "Auto") -> Look:
    variant = {
        "target": {"kind": "Deployment", "name": "chat"},
        "nodePool": "h100",
        "gpusPerReplica": gpus,
        "minReplicas": 1,
        "maxReplicas": 8,
    }
    store.apply(Kind.POOLS, objects.pool(mode=mode, roles={"serve": {"variants": [variant]}}))
    store.apply(Kind.NODE_POOLS, objects.node_pool())
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 1))
    return ClusterView(store).look(await RosterKeeper(store).build(NOW), NOW)


def decisions(desired: int) -> dict[PoolKey, PoolDecision]:
    variant = VariantDecision(name="chat", role=Role.SERVE, current=1, desired=desired)
    return {CHAT: PoolDecision(key=CHAT, at_seconds=NOW, variants=(variant,), reasons=())}


async def test_replicas_share_nodes_and_large_ones_take_whole_nodes(store: Store, objects: Any) -> None:
    small = capacity_wishes(await look(store, objects, gpus=3), decisions(3), deadline_seconds=900.0)
    assert [(wish.node_pool, wish.nodes, wish.deadline_seconds) for wish in small] == [("h100", 2, NOW + 900)]
    (large,) = capacity_wishes(await look(store, objects, gpus=16), decisions(3), deadline_seconds=900.0)
    assert large.nodes == 6


async def test_a_recommendation_asks_for_no_node(store: Store, objects: Any) -> None:
    seen = await look(store, objects, gpus=8, mode="Recommend")
    (wish,) = capacity_wishes(seen, decisions(5), deadline_seconds=900.0)
    assert wish.nodes == 1


async def test_a_node_pool_whose_provider_fails_does_not_hold_up_the_others() -> None:
    asked = []

    class Provider(PodDrivenProvider):
        async def ensure(self, wish: CapacityWish) -> str:
            asked.append(wish.node_pool)
            if wish.node_pool == "a":
                raise ValueError("a bug")
            return await super().ensure(wish)

    wishes = [CapacityWish(node_pool=name, nodes=1, deadline_seconds=NOW) for name in "ab"]
    assert not await ensure_capacity(wishes, Provider())
    assert asked == ["a", "b"]
    assert await ensure_capacity(wishes, PodDrivenProvider())
