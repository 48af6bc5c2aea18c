"""One look at the cluster: from caches to observations."""

from typing import Any

import pytest

from forebay.actuation.targets import TargetRef
from forebay.runtime.cluster.look import Look
from forebay.runtime.cluster.roster import Roster, RosterKeeper
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.cluster.writes import LastWrite
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from tests.keys import serve

CHAT_KEY = serve("chat")

NOW = 1_795_132_800.0
CHAT = TargetRef("serving", "apps/v1", "Deployment", "chat")


@pytest.fixture
def world(store: Store, objects: Any) -> ClusterView:
    """A pool of two replicas, of which one is Ready, on one node with 8 GPUs."""
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.NODE_POOLS, objects.node_pool())
    store.apply(Kind.NODES, objects.node("n1"))
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 2))
    store.apply(Kind.PODS, objects.pod("a"))
    store.apply(Kind.PODS, objects.pod("b", ready=None))
    return ClusterView(store)


async def roster(world: ClusterView) -> Roster:
    return await RosterKeeper(world.store).build(NOW)


async def look(world: ClusterView, now: float = NOW + 60) -> Look:
    return world.look(await roster(world), now)


async def test_a_look_shows_replicas_and_supply(world: ClusterView) -> None:
    seen = await look(world)
    (pool,) = seen.pools
    (variant,) = pool.variants
    assert (variant.desired, variant.ready, len(variant.starting)) == (2, 1, 1)
    assert pool.target_problems == ()
    (node_pool,) = seen.node_pools
    assert (node_pool.observed.usable_gpus, node_pool.observed.free_gpus) == (8, 6)
    assert node_pool.start_up is not None
    assert node_pool.start_up.observed == 1


async def test_a_missing_target_is_told_and_comes_back(world: ClusterView, objects: Any) -> None:
    world.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat"), deleted=True)
    (pool,) = (await look(world)).pools
    assert pool.target_problems == ("Deployment chat does not exist: create it.",)
    assert not pool.variants[0].target_found
    world.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 1))
    (pool,) = (await look(world)).pools
    assert pool.target_problems == ()


async def test_an_hpa_on_the_target_is_a_conflict(world: ClusterView) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    hpa = {
        "metadata": {"name": "hpa", "namespace": "serving", "uid": "hpa"},
        "spec": {"scaleTargetRef": reference},
    }
    world.store.apply(Kind.AUTOSCALERS, hpa)
    (pool,) = (await look(world)).pools
    assert "hpa" in (pool.variants[0].conflict or "")


async def test_somebody_elses_change_after_ours_is_a_conflict_for_a_while(
    world: ClusterView, objects: Any
) -> None:
    fields = [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    world.writes.last[CHAT] = LastWrite(2, "1")
    world.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 5, managedFields=fields))
    (pool,) = (await look(world)).pools
    assert pool.variants[0].conflict is None, "the cache has not seen our own write yet"
    changed = objects.deployment("chat", 5, managedFields=fields, resourceVersion="3")
    world.store.apply(Kind.DEPLOYMENTS, changed)
    (pool,) = (await look(world)).pools
    assert (pool.variants[0].conflict or "").startswith("kubectl set Deployment chat to 5 replicas")
    (pool,) = (await look(world, NOW + 600)).pools
    assert pool.variants[0].conflict is not None
    (pool,) = (await look(world, NOW + 660)).pools
    assert pool.variants[0].conflict is None
    (pool,) = (await look(world, NOW + 661)).pools
    assert pool.last_written == {CHAT_KEY: 5}, "taken over: the next process has no reason to wait again"


@pytest.mark.parametrize(
    ("now", "manager", "conflict"), [(5, "kubectl", True), (5, "forebay", False), (2, "kubectl", False)]
)
async def test_a_change_while_nobody_ran_is_told_from_our_own(
    world: ClusterView, objects: Any, *, now: int, manager: str, conflict: bool
) -> None:
    """Protects what a person did during an upgrade; a write of ours that no status told of is still ours."""
    body = objects.pool()
    told = {"name": "chat", "ready": 2, "desired": 2, "recommended": 2, "lastWritten": 2}
    body["status"] = {"roles": [{"role": "serve", "variants": [told]}]}
    world.store.apply(Kind.POOLS, body)
    fields = [{"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    world.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", now, managedFields=fields))
    (pool,) = (await look(world)).pools
    assert ((pool.variants[0].conflict or "").startswith("kubectl set Deployment chat to 5")) is conflict
    assert pool.last_written == {CHAT_KEY: 2}


async def test_what_was_never_written_is_nobodys_conflict(world: ClusterView, objects: Any) -> None:
    body = objects.pool()
    body["status"] = {"roles": [{"role": "serve", "variants": [{"name": "chat", "recommended": 2}]}]}
    world.store.apply(Kind.POOLS, body)
    fields = [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    world.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 5, managedFields=fields))
    (pool,) = (await look(world)).pools
    assert pool.variants[0].conflict is None
    assert pool.last_written == {}


async def test_a_full_node_pool_makes_the_next_replica_wait_for_a_node(world: ClusterView, objects: Any) -> None:
    (before,) = (await look(world)).pools
    world.store.apply(Kind.PODS, objects.pod("big", labels={"app": "other"}, gpus=6))
    (after,) = (await look(world)).pools
    assert after.variants[0].lead_time_seconds > before.variants[0].lead_time_seconds + 100


async def test_a_node_pool_that_delivers_nothing_is_blocked_and_its_replicas_no_supply(
    world: ClusterView, objects: Any
) -> None:
    world.store.apply(Kind.PODS, objects.pod("b", scheduled=None, ready=None))
    seen = await look(world, NOW + 600)
    assert len(seen.pools[0].variants[0].starting) == 1
    assert seen.node_pools[0].observed.blocked_until_seconds is None
    seen = await look(world, NOW + 4000)
    assert seen.pools[0].variants[0].starting == ()
    assert seen.node_pools[0].observed.blocked_until_seconds == NOW + 4300
    assert "1 replicas of serving/chat got no node" in seen.node_pools[0].observed.blocked_reason


async def test_what_is_gone_is_forgotten(world: ClusterView, objects: Any) -> None:
    world.writes.last[CHAT] = LastWrite(2, "1")
    await look(world)
    world.store.apply(Kind.POOLS, objects.pool(), deleted=True)
    world.tidy(await roster(world))
    assert world.writes.last == {}


async def test_a_fresh_process_recalls_the_lead_time_that_the_status_tells(store: Store, objects: Any) -> None:
    body = objects.node_pool()
    body["status"] = {"leadTime": [{"phase": "node", "p50": "1m", "p90": "1m30s", "samples": 40}]}
    store.apply(Kind.NODE_POOLS, body)
    (seen,) = (await look(ClusterView(store))).node_pools
    assert seen.node.observed == 40
    assert seen.node.p50_seconds == pytest.approx(60.0, rel=0.05)
