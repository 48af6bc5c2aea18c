"""A reference to the gateway's pool: looked up rarely, told in one sentence, and never in the way of scaling."""

from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.runtime.cluster.references import GatewayPools
from forebay.runtime.cluster.roster import Roster, RosterKeeper
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store

THEIRS = "/apis/inference.networking.k8s.io/v1/namespaces/serving/inferencepools/gateway"
REFERENCE = {"inferencePoolRef": {"name": "gateway"}}


class ClusterView:
    """Checks the references of what the store holds."""

    def __init__(self, store: Store, api: Any, clock: Any) -> None:
        self.store, self.api, self.clock = store, api, clock
        self.gateway_pools = GatewayPools(api=api, resync_seconds=300.0, clock=clock)

    async def check(self) -> Roster:
        return await self.gateway_pools.check(await RosterKeeper(self.store).build(self.clock()))

    async def told(self) -> str:
        (entry,) = (await self.check()).pools.values()
        return " ".join(problem for problem in entry.problems if "inferencePoolRef" in problem)

    @property
    def asked(self) -> list[str]:
        return [path for _, path, _ in self.api.sent]


@pytest.fixture
def world(store: Store, memory_api: Any, clock: Any, objects: Any) -> ClusterView:
    store.apply(Kind.POOLS, objects.pool(**REFERENCE))
    return ClusterView(store, memory_api, clock)


async def test_a_pool_without_a_reference_costs_no_call(world: ClusterView, objects: Any) -> None:
    world.store.apply(Kind.POOLS, objects.pool())
    assert await world.told() == ""
    assert world.asked == []


async def test_a_missing_object_is_named_until_it_is_there(world: ClusterView) -> None:
    assert await world.told() == (
        "spec.inferencePoolRef: there is no inferencepools.inference.networking.k8s.io gateway in namespace"
        " serving; create it or correct the name; scaling goes on without it."
    )
    world.api.objects[THEIRS] = {"metadata": {}}
    world.clock.now += 300
    assert await world.told() == ""


async def test_a_missing_crd_is_told_from_a_missing_object(world: ClusterView) -> None:
    world.api.failures.append(ApiError("404 page not found", status=404))
    told = await world.told()
    assert "this cluster does not serve inferencepools.inference.networking.k8s.io in version v1" in told
    assert "install the CRDs" in told


async def test_a_missing_right_says_which(world: ClusterView) -> None:
    world.api.failures.append(ApiError("no", status=403, reason="Forbidden"))
    assert "allow Forebay's service account get on inferencepools.inference" in await world.told()


async def test_answers_are_kept_for_the_resync_interval(world: ClusterView) -> None:
    for _ in range(3):
        await world.told()
        world.clock.now += 100
    assert world.asked == [THEIRS]
    await world.told()
    assert world.asked == [THEIRS] * 2


async def test_a_change_of_the_pool_asks_at_once(world: ClusterView, objects: Any) -> None:
    await world.told()
    changed = objects.pool(inferencePoolRef={"name": "other"})
    changed["metadata"]["generation"] = 2
    world.store.apply(Kind.POOLS, changed)
    await world.told()
    assert world.asked == [THEIRS, THEIRS.replace("gateway", "other")]


@pytest.mark.parametrize("status", [0, 429, 500])
async def test_an_outage_changes_no_answer(world: ClusterView, status: int) -> None:
    world.api.objects[THEIRS] = {"metadata": {}}
    assert await world.told() == ""
    world.clock.now += 300
    world.api.failures.append(ApiError("busy", status=status))
    assert await world.told() == ""
    assert len(world.asked) == 2


async def test_what_was_never_looked_up_is_not_called_found(world: ClusterView) -> None:
    world.api.failures.append(ApiError("busy", status=429))
    assert "could not be looked up (busy)" in await world.told()


async def test_old_answers_are_asked_for_a_few_at_a_time_and_gone_pools_forgotten(
    world: ClusterView, objects: Any
) -> None:
    for number in range(120):
        world.store.apply(Kind.POOLS, objects.pool(f"chat-{number}", **REFERENCE))
    await world.check()
    assert len(world.asked) == 121
    world.clock.now += 300
    counts = []
    for _ in range(4):
        before = len(world.asked)
        await world.check()
        counts.append(len(world.asked) - before)
    assert counts == [50, 50, 21, 0]
    world.store.resources[Kind.POOLS].clear()
    assert (await world.check()).pools == {}
    assert not world.gateway_pools._answers
