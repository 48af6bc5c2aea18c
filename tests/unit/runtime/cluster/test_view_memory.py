"""What a world remembers between looks and takes over from the process before it."""

from typing import Any

import pytest

from forebay.runtime.cluster.look import Look
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.report.nodepools import node_pool_report
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store

NOW = 1_795_132_800.0  # 2026-11-20T00:00:00Z
TEN_HOURS = 36_000.0


@pytest.fixture
def store(store: Store, objects: Any) -> Store:
    """A pool of one replica that is Ready, on one node of eight GPUs that came for it."""
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.NODE_POOLS, objects.node_pool())
    store.apply(Kind.NODES, objects.node("n1", created="2026-11-20T00:01:00Z"))
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 1))
    store.apply(Kind.PODS, waited(objects, "a"))
    return store


def waited(objects: Any, name: str, **changes: Any) -> Any:
    times = {"scheduled": "2026-11-20T00:02:00Z", "ready": "2026-11-20T00:03:00Z", **changes}
    return objects.pod(name, **times)


async def look(world: ClusterView, now: float) -> Look:
    roster = await RosterKeeper(world.store).build(now)
    seen = world.look(roster, now)
    world.tidy(roster)
    return seen


def report(store: Store, objects: Any, seen: Look) -> None:
    """Write the node pool's status as a round does."""
    (item,) = seen.node_pools
    body = objects.node_pool()
    body["status"] = node_pool_report(item, now_seconds=seen.at_seconds).status
    store.apply(Kind.NODE_POOLS, body)


async def test_a_restart_does_not_take_a_flap_for_a_start_of_hours(store: Store, objects: Any) -> None:
    """Protects lead times, horizons and deadlines from a probe that failed once before the operator restarted."""
    (before,) = (await look(ClusterView(store), NOW + 300.0)).pools
    store.apply(Kind.PODS, waited(objects, "a", ready="2026-11-20T10:00:00Z"))
    (after,) = (await look(ClusterView(store), NOW + TEN_HOURS + 60.0)).pools
    assert before.variants[0].lead_time_seconds < 180.0
    assert after.variants[0].lead_time_seconds == pytest.approx(180.0), "the prior"


async def test_a_declared_start_up_makes_a_long_start_believable(store: Store, objects: Any) -> None:
    variant = {
        "name": "chat",
        "target": {"kind": "Deployment", "name": "chat"},
        "nodePool": "h100",
        "startUp": "20m",
    }
    limits = {"gpusPerReplica": 1, "minReplicas": 1, "maxReplicas": 8}
    store.apply(Kind.POOLS, objects.pool(roles={"serve": {"variants": [{**variant, **limits}]}}))
    store.apply(Kind.PODS, waited(objects, "a", ready="2026-11-20T00:24:00Z"))
    (seen,) = (await look(ClusterView(store), NOW + TEN_HOURS)).node_pools
    assert seen.start_up is not None
    assert seen.start_up.observed == 1


async def test_restarts_do_not_learn_from_the_same_pods_again(store: Store, objects: Any) -> None:
    """Protects the node lead time: it drifted, and its count grew, with each restart over the same pods."""
    seen = await look(ClusterView(store), NOW + 300.0)
    (first,) = seen.node_pools
    assert first.node.observed == 1
    for restart in range(1, 6):
        report(store, objects, seen)
        seen = await look(ClusterView(store), NOW + 300.0 + 60.0 * restart)
    (last,) = seen.node_pools
    assert last.node.observed == 1
    assert last.start_up is not None
    assert last.start_up.observed == 1, "no status tells it, so the living pods do"


async def test_a_fresh_pod_teaches_a_process_that_recalled(store: Store, objects: Any) -> None:
    report(store, objects, await look(ClusterView(store), NOW + 300.0))
    world = ClusterView(store)
    await look(world, NOW + 400.0)
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 2))
    store.apply(Kind.NODES, objects.node("n2", created="2026-11-20T00:08:00Z"))
    fresh = {"node": "n2", "created": "2026-11-20T00:07:00Z", "scheduled": "2026-11-20T00:09:00Z"}
    store.apply(Kind.PODS, waited(objects, "b", **{**fresh, "scheduled": None, "ready": None}))
    await look(world, NOW + 430.0)
    store.apply(Kind.PODS, waited(objects, "b", **fresh, ready="2026-11-20T00:10:00Z"))
    (seen,) = (await look(world, NOW + 605.0)).node_pools
    assert seen.start_up is not None
    assert (seen.node.observed, seen.start_up.observed) == (2, 2)


async def test_a_crashing_replica_does_not_block_the_node_pool_of_one_that_just_asked(
    store: Store, objects: Any
) -> None:
    """Protects a node pool that delivers: the pod that is overdue has its node, the one that waits is not late."""
    world = ClusterView(store)
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 2))
    store.apply(Kind.PODS, waited(objects, "a", ready=None, restarts=40))
    store.apply(Kind.PODS, objects.pod("b", created="2026-11-20T01:06:00Z", scheduled=None, ready=None))
    (seen,) = (await look(world, NOW + 4000.0)).node_pools
    assert seen.observed.blocked_until_seconds is None


async def test_what_served_and_failed_is_no_order_that_did_not_come(store: Store, objects: Any) -> None:
    """Protects capacity from a node that falls silent: overdue orders are withdrawn, what served is not."""
    world = ClusterView(store)
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 2))
    store.apply(Kind.PODS, waited(objects, "a"))
    store.apply(Kind.PODS, waited(objects, "b", ready=None))
    await look(world, NOW + 300.0)
    store.apply(Kind.PODS, waited(objects, "a", ready=None))
    (pool,) = (await look(world, NOW + 9000.0)).pools
    (variant,) = pool.variants
    assert (variant.ready, variant.starting, variant.overdue) == (0, (), 1)


async def test_the_sentence_of_a_block_counts_those_that_wait_for_a_node(store: Store, objects: Any) -> None:
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", 2))
    store.apply(Kind.PODS, waited(objects, "a", ready=None, restarts=40))
    store.apply(Kind.PODS, objects.pod("b", scheduled=None, ready=None))
    (seen,) = (await look(ClusterView(store), NOW + 4000.0)).node_pools
    assert seen.observed.blocked_reason.startswith("1 replicas of serving/chat got no node")


async def test_what_was_learned_of_pools_that_are_gone_is_forgotten(store: Store, objects: Any) -> None:
    """Protects the memory of a process that sees thousands of pools come and go."""
    world = ClusterView(store)
    await look(world, NOW + 300.0)
    assert list(world.book.node) == ["h100"]
    assert len(world.book.start_up) == 1
    store.apply(Kind.POOLS, objects.pool(), deleted=True)
    store.apply(Kind.NODE_POOLS, objects.node_pool(), deleted=True)
    await look(world, NOW + 360.0)
    assert (world.book.node, world.book.start_up) == ({}, {})


async def test_a_node_pool_that_comes_back_begins_with_what_its_status_tells(store: Store, objects: Any) -> None:
    world = ClusterView(store)
    await look(world, NOW + 300.0)
    store.apply(Kind.NODE_POOLS, objects.node_pool(), deleted=True)
    await look(world, NOW + 315.0)
    body = objects.node_pool()
    body["status"] = {"leadTime": [{"phase": "node", "p50": "1m", "p90": "1m30s", "samples": 40}]}
    store.apply(Kind.NODE_POOLS, body)
    (seen,) = (await look(world, NOW + 330.0)).node_pools
    assert seen.node.observed == 40


async def test_a_spec_that_is_broken_for_a_while_costs_nothing_that_was_learned(
    store: Store, objects: Any
) -> None:
    """Protects: an invalid object is not a deleted one."""
    world = ClusterView(store)
    await look(world, NOW + 300.0)
    known = list(world.book.start_up), list(world.book.node)
    for kind, body in ((Kind.POOLS, objects.pool(slo={})), (Kind.NODE_POOLS, objects.node_pool(gpusPerNode=0))):
        body["metadata"]["generation"] = 2
        store.apply(kind, body)
    assert (await look(world, NOW + 315.0)).pools == ()
    assert (list(world.book.start_up), list(world.book.node)) == known


async def test_a_variant_without_a_node_pool_keeps_what_it_learned(store: Store, objects: Any) -> None:
    variant = {
        "name": "chat",
        "target": {"kind": "Deployment", "name": "chat"},
        "gpusPerReplica": 1,
        "maxReplicas": 8,
    }
    store.apply(Kind.POOLS, objects.pool(roles={"serve": {"variants": [variant]}}))
    world = ClusterView(store)
    await look(world, NOW + 300.0)
    assert world.book.of_node_pool("").count == 1
    await look(world, NOW + 315.0)
    assert world.book.of_node_pool("").count == 1
