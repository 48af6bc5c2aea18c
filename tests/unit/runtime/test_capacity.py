"""Wishes for nodes, and providers that fail: what replicas fill on each node pool, and who is asked for it."""

from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.actuation.providers.sight import ProviderSight
from forebay.flow.decision import FleetDecision, PoolDecision, VariantDecision
from forebay.flow.fleet import PoolKey, Role
from forebay.runtime.capacity import Capacity, capacity_wishes
from forebay.runtime.cluster.look import Look
from forebay.runtime.cluster.roster import Roster, RosterKeeper
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store

NOW = 1_795_132_800.0
CHAT = PoolKey("serving", "chat")
STATIC = {"type": "KarpenterStatic", "karpenterStatic": {"nodePool": "static"}}
NODE_POOL = "/apis/karpenter.sh/v1/nodepools/static"


async def look(store: Store, objects: Any, *, gpus: int, mode: str = "Auto", **node_pool: Any) -> Look:
    variant = {
        "name": "chat",
        "target": {"kind": "Deployment", "name": "chat"},
        "nodePool": "h100",
        "gpusPerReplica": gpus,
        "minReplicas": 1,
        "maxReplicas": 8,
    }
    store.apply(Kind.POOLS, objects.pool(mode=mode, roles={"serve": {"variants": [variant]}}))
    store.apply(Kind.NODE_POOLS, objects.node_pool(**node_pool))
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 1))
    return ClusterView(store).look(await RosterKeeper(store).build(NOW), NOW)


def decisions(desired: int, **warm_nodes: int) -> FleetDecision:
    variant = VariantDecision(name="chat", role=Role.SERVE, current=1, desired=desired)
    pool = PoolDecision(key=CHAT, at_seconds=NOW, variants=(variant,), reasons=())
    return FleetDecision(at_seconds=NOW, pools={CHAT: pool}, warm_nodes=warm_nodes)


NOTHING = FleetDecision(at_seconds=NOW, pools={})


async def test_replicas_share_nodes_and_large_ones_take_whole_nodes(store: Store, objects: Any) -> None:
    small = capacity_wishes(await look(store, objects, gpus=3), decisions(3))["h100"]
    assert (small.nodes, small.chunk_gpus) == (2, 3)
    large = capacity_wishes(await look(store, objects, gpus=16), decisions(3))["h100"]
    assert (large.nodes, large.chunk_gpus) == (6, 8)


async def test_pods_of_others_fill_nodes_too_and_ours_are_not_counted_twice(store: Store, objects: Any) -> None:
    store.apply(Kind.NODES, objects.node("n1"))
    store.apply(Kind.PODS, objects.pod("ours", gpus=4))
    store.apply(Kind.PODS, objects.pod("theirs", gpus=4, labels={"app": "batch"}))
    seen = await look(store, objects, gpus=4)
    assert capacity_wishes(seen, decisions(1))["h100"].nodes == 1
    assert capacity_wishes(seen, decisions(2))["h100"].nodes == 2


async def test_a_recommendation_asks_for_no_node(store: Store, objects: Any) -> None:
    seen = await look(store, objects, gpus=8, mode="Recommend")
    assert capacity_wishes(seen, decisions(5))["h100"].nodes == 1


async def test_a_pool_that_was_not_decided_on_keeps_what_it_asked_for(store: Store, objects: Any) -> None:
    seen = await look(store, objects, gpus=8)
    assert capacity_wishes(seen, NOTHING)["h100"].nodes == 1


async def test_warm_nodes_come_on_top(store: Store, objects: Any) -> None:
    provider = {"type": "Placeholder", "placeholder": {"namespace": "warm"}}
    seen = await look(store, objects, gpus=8, provider=provider, warm={"min": 1, "max": 3})
    assert capacity_wishes(seen, decisions(1))["h100"].warm_nodes == 1
    assert capacity_wishes(seen, decisions(1, h100=2))["h100"].warm_nodes == 2


async def test_free_gpus_in_pieces_that_are_too_small_hold_no_replica(store: Store, objects: Any) -> None:
    """Protects replicas from waiting for ever where the sum of free GPUs is large enough, and no node is."""
    for name in ("n1", "n2"):
        store.apply(Kind.NODES, objects.node(name))
        store.apply(Kind.PODS, objects.pod(f"theirs-{name}", gpus=6, node=name, labels={"app": "batch"}))
    seen = await look(store, objects, gpus=4)
    assert capacity_wishes(seen, decisions(1))["h100"].nodes == 3


async def roster_of(store: Store, objects: Any) -> Roster:
    store.apply(Kind.NODE_POOLS, objects.node_pool("a", provider=STATIC))
    store.apply(Kind.NODE_POOLS, objects.node_pool("b"))
    return await RosterKeeper(store).build(NOW)


async def test_a_provisioner_that_cannot_be_read_keeps_its_last_word(
    store: Store, objects: Any, memory_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    capacity, roster = Capacity(memory_api), await roster_of(store, objects)
    monkeypatch.setattr(capacity, "_last", {"a": ProviderSight(asked=3)})

    async def fail(*_: Any) -> ProviderSight:
        raise ApiError("busy", status=503)

    monkeypatch.setattr("forebay.actuation.providers.karpenterstatic.KarpenterStaticProvider.sight", fail)
    seen = await capacity.sights(roster, NOW)
    assert seen["a"].asked == 3
    assert seen["a"].problem == "The provider could not be asked; the next round does it again: busy"
    assert seen["b"] == ProviderSight()


async def test_an_operator_that_shares_node_pools_with_others_orders_none(
    store: Store, objects: Any, memory_api: Any
) -> None:
    memory_api.objects[f"{NODE_POOL}/scale"] = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 0}}
    roster = await roster_of(store, objects)
    seen = ClusterView(store).look(roster, NOW, {"a": ProviderSight(asked=0)})
    shared = Capacity(memory_api, orders=False)
    assert await shared.ensure(seen, NOTHING) == (seen, True)
    assert memory_api.sent == []


async def test_a_lost_lease_ends_all(
    store: Store, objects: Any, memory_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(*_: Any) -> str:
        raise LeaseLostError("lost")

    monkeypatch.setattr("forebay.actuation.providers.unasked.PodDrivenProvider.ensure", lose)
    seen = ClusterView(store).look(await roster_of(store, objects), NOW)
    with pytest.raises(LeaseLostError):
        await Capacity(memory_api).ensure(seen, NOTHING)
