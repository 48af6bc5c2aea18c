"""One look at the cluster: from caches to observations."""

from typing import Any

import pytest

from forebay.actuation.targets import TargetRef
from forebay.flow.observation import PlacedNode
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


async def test_a_look_shows_which_replicas_run_on_each_node(world: ClusterView, objects: Any) -> None:
    """Protects: the planner planned per GPU and paid for nodes that a few replicas kept."""
    world.store.apply(Kind.NODES, objects.node("n2"))
    world.store.apply(Kind.PODS, objects.pod("c", deleting=True))
    world.store.apply(Kind.PODS, objects.pod("d", node="n2", labels={"app": "other"}))
    (node_pool,) = (await look(world)).node_pools
    (pool,) = (await look(world)).pools
    placed = (pool.entry.pool.key, pool.variants[0].key)
    assert node_pool.observed.placement == (
        PlacedNode(name="n1", free_gpus=5, replicas={placed: 2}),  # the third is being removed
        PlacedNode(name="n2", free_gpus=7, others=True),
    )


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
    fields = [{"manager": "kubectl", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
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
    assert pool.last_written[CHAT_KEY].replicas == 5, "taken over: the next process has no reason to wait again"


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
    fields = [{"manager": manager, "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    world.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", now, managedFields=fields))
    (pool,) = (await look(world)).pools
    assert ((pool.variants[0].conflict or "").startswith("kubectl set Deployment chat to 5")) is conflict
    assert pool.last_written[CHAT_KEY].replicas == 2


async def test_what_was_never_written_is_nobodys_conflict(world: ClusterView, objects: Any) -> None:
    body = objects.pool()
    body["status"] = {"roles": [{"role": "serve", "variants": [{"name": "chat", "recommended": 2}]}]}
    world.store.apply(Kind.POOLS, body)
    fields = [{"manager": "kubectl", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
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


async def test_of_two_pools_on_one_target_the_older_keeps_it_and_both_are_told(
    world: ClusterView, objects: Any
) -> None:
    """Protects: one Deployment flipped between 3 and 6, both pools without a conflict."""
    one, two = objects.pool(), objects.pool()
    one["metadata"]["creationTimestamp"] = "2026-11-19T00:00:00Z"
    two["metadata"] |= {"name": "other", "uid": "other", "creationTimestamp": "2026-11-18T00:00:00Z"}
    world.store.apply(Kind.POOLS, one)
    world.store.apply(Kind.POOLS, two)
    seen = {pool.entry.pool.key.name: pool.variants[0] for pool in (await look(world)).pools}
    assert seen["other"].conflict is None
    assert [(note.code, "serving/chat" in note.message) for note in seen["other"].notes] == [
        ("SharedTarget", True)
    ]
    assert seen["chat"].conflict_code == "SharedTarget"
    assert "InferencePool serving/other also scales Deployment chat" in (seen["chat"].conflict or "")


async def test_a_pool_that_only_recommends_takes_no_target_from_another(world: ClusterView, objects: Any) -> None:
    two = objects.pool(mode="Recommend")
    two["metadata"] |= {"name": "other", "uid": "other", "creationTimestamp": "2026-11-18T00:00:00Z"}
    world.store.apply(Kind.POOLS, two)
    assert [pool.variants[0].conflict for pool in (await look(world)).pools] == [None, None]


async def test_unborn_replicas_are_dated_from_the_order_through_rounds_and_restarts(
    store: Store, objects: Any
) -> None:
    """Protects: replicas that a quota forbids were "ordered 0 s ago" for ever, and again after each restart."""
    body = objects.pool()
    told = {"name": "chat", "lastWritten": 5, "lastWrittenTime": "2026-11-20T00:00:00Z"}
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 5))
    store.apply(Kind.PODS, objects.pod("a"))
    rounds = ClusterView(store)
    await look(rounds, NOW)
    seen = (await look(rounds, NOW + 800)).pools[0].variants[0]
    assert [replica.ordered_seconds for replica in seen.starting] == [NOW] * 4
    late = (await look(rounds, NOW + 40_000)).pools[0].variants[0]
    assert (late.starting, late.overdue) == ((), 4)
    store.apply(Kind.POOLS, body | {"status": {"roles": [{"role": "serve", "variants": [told]}]}})
    restarted = (await look(ClusterView(store), NOW + 40_000)).pools[0].variants[0]
    assert (restarted.starting, restarted.overdue) == ((), 4)


async def test_a_wait_for_a_quota_teaches_no_lead_time(world: ClusterView, objects: Any) -> None:
    """Protects: one pod that was gated for three hours taught its node pool a p90 of 5,244 s, for everybody."""

    def pod(*, gated: bool, **more: Any) -> Any:
        body = objects.pod("b", labels={"app": "chat", "kueue.x-k8s.io/managed": "true"}, **more)
        if gated:
            body["status"]["conditions"][0]["reason"] = "SchedulingGated"
        return body

    world.store.apply(Kind.PODS, pod(gated=True, scheduled=None, ready=None))
    variant = (await look(world, NOW + 10_800)).pools[0].variants[0]
    assert (variant.gated, variant.starting) == (1, ())
    assert [note.code for note in variant.notes] == ["WaitingForQuota"]
    world.store.apply(Kind.NODES, objects.node("n2", created="2026-11-20T03:01:00Z"))
    came = pod(gated=False, node="n2", scheduled="2026-11-20T03:03:00Z", ready="2026-11-20T03:04:00Z")
    world.store.apply(Kind.PODS, came)
    (node_pool,) = (await look(world, NOW + 11_100)).node_pools
    assert node_pool.node.observed == 1
    assert node_pool.node.p90_seconds < 600.0


async def test_a_pod_whose_admission_nobody_saw_teaches_nothing(world: ClusterView, objects: Any) -> None:
    world.store.apply(Kind.NODES, objects.node("n2", created="2026-11-20T00:09:00Z"))
    body = objects.pod(
        "b",
        labels={"app": "chat", "kueue.x-k8s.io/managed": "true"},
        node="n2",
        scheduled="2026-11-20T00:10:00Z",
        ready="2026-11-20T00:11:00Z",
    )
    world.store.apply(Kind.PODS, body)
    (node_pool,) = (await look(world, NOW + 11_100)).node_pools
    assert node_pool.node.observed == 0


async def test_what_was_given_up_stays_given_up_in_the_next_process(world: ClusterView, objects: Any) -> None:
    """Protects: each restart corrected a GitOps tool three times more."""
    body = objects.pool()
    told = {
        "name": "chat",
        "recommended": 2,
        "lastWritten": 2,
        "reversions": 4,
        "leftAloneUntil": "2026-11-20T00:16:00Z",
    }
    body["status"] = {"roles": [{"role": "serve", "variants": [told]}]}
    world.store.apply(Kind.POOLS, body)
    fields = [{"manager": "argocd-controller", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    world.store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 5, managedFields=fields))
    (pool,) = (await look(world)).pools
    assert pool.variants[0].conflict_code == "RevertedTooOften"
    assert len(pool.reversions[CHAT_KEY].at_seconds) == 4
    (pool,) = (await look(world, NOW + 961)).pools
    assert pool.variants[0].conflict_code == "RevertedTooOften", "once more, and for longer"
    assert pool.reversions[CHAT_KEY].left_alone_until_seconds == NOW + 961 + 2400.0
