"""Replicas of several pods: whole or not there, and placed node by node."""

from typing import Any

import pytest

from forebay.flow.observation import VariantObservation
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.watch.kinds import WORKLOAD_KINDS, Kind
from forebay.runtime.watch.store import Store

NOW = 1_795_132_800.0
(GROUPS,) = (kind for kind, row in WORKLOAD_KINDS.items() if row.kind == "LeaderWorkerSet")
PREFIX = "leaderworkerset.sigs.k8s.io"


@pytest.fixture
def world(store: Store, objects: Any) -> ClusterView:
    """A LeaderWorkerSet of two groups of two pods with 8 GPUs each, and nodes of 8 GPUs."""
    target = {"kind": "LeaderWorkerSet", "name": "chat"}
    variant = {
        "name": "chat",
        "target": target,
        "nodePool": "h100",
        "gpusPerReplica": 16,
        "minReplicas": 1,
        "maxReplicas": 8,
    }
    store.apply(Kind.POOLS, objects.pool(roles={"serve": {"variants": [variant]}}))
    store.apply(Kind.NODE_POOLS, objects.node_pool())
    body = {
        "metadata": {"name": "chat", "namespace": "serving", "uid": "lws", "resourceVersion": "7"},
        "spec": {"replicas": 2, "leaderWorkerTemplate": {"size": 2}},
        "status": {"hpaPodSelector": f"{PREFIX}/name=chat,{PREFIX}/worker-index=0"},
    }
    store.apply(GROUPS, body)
    return ClusterView(store)


def add(world: ClusterView, objects: Any, group: int, worker: int, **overrides: Any) -> None:
    name = f"chat-{group}" + (f"-{worker}" if worker else "")
    labels = {f"{PREFIX}/name": "chat", f"{PREFIX}/group-index": str(group), f"{PREFIX}/worker-index": str(worker)}
    world.store.apply(Kind.PODS, objects.pod(name, labels=labels, gpus=8, node=f"n{group}{worker}", **overrides))


async def seen(world: ClusterView) -> VariantObservation:
    (pool,) = world.look(await RosterKeeper(world.store).build(NOW), NOW + 60).pools
    (variant,) = pool.variants
    assert pool.target_problems == ()
    return variant


async def test_a_group_is_ready_when_all_its_pods_are(world: ClusterView, objects: Any) -> None:
    """Protects: the selector in /scale finds leaders only, and a leader is Ready before its workers are."""
    for worker in (0, 1):
        add(world, objects, 0, worker)
    add(world, objects, 1, 0)
    add(world, objects, 1, 1, ready=None)
    variant = await seen(world)
    assert (variant.desired, variant.ready, len(variant.starting)) == (2, 1, 1)
    add(world, objects, 1, 1)
    assert (await seen(world)).ready == 2


async def test_a_group_that_lacks_a_pod_is_not_ready(world: ClusterView, objects: Any) -> None:
    add(world, objects, 0, 0)
    assert (await seen(world)).ready == 0


@pytest.mark.parametrize(("free_nodes", "waits"), [(2, False), (1, True)])
async def test_a_group_needs_room_on_as_many_nodes_as_it_has_pods(
    world: ClusterView, objects: Any, *, free_nodes: int, waits: bool
) -> None:
    """Protects: 16 GPUs were looked for on a single node of 8, so each order seemed to need a new node."""
    for number in range(free_nodes):
        world.store.apply(Kind.NODES, objects.node(f"free{number}"))
    variant = await seen(world)
    assert (variant.lead_time_seconds > 300.0) is waits
