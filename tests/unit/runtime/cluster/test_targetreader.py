"""Targets that are not watched: what is not answered is not missing, and what is missing is not remembered."""

from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.actuation.scale import ScaleWriter
from forebay.actuation.targets import TargetDirectory, TargetRef
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.targetreader import TargetReader
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.watch.kinds import WORKLOAD_KINDS, Kind
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.workloads import WorkloadRecord

NOW = 1_795_132_800.0
GROUP = "/apis/example.org/v1"
GROUPS = f"{GROUP}/namespaces/serving/enginegroups/chat"
CHAT = TargetRef("serving", "example.org/v1", "EngineGroup", "chat")
PASSING = [
    ApiError("the API server is ill", status=500),
    ApiError("etcd has no leader", status=503),
    ApiError("slower, please", status=429),
    ApiError("no answer within 10 s", status=0),
]


class Rig:
    """Reads the targets of what the store holds, and looks at them."""

    def __init__(self, store: Store, api: Any, clock: Any) -> None:
        self.store, self.api = store, api
        directory = TargetDirectory(api)
        self.reader = TargetReader(api, directory, ScaleWriter(api, directory, clock))
        self.world = ClusterView(store)

    async def read(self) -> dict[TargetRef, WorkloadRecord | str]:
        return await self.reader.read(await RosterKeeper(self.store).build(NOW))

    async def desired(self) -> tuple[int, bool, tuple[str, ...]]:
        """Return the replicas that a round sees, whether the target was found, and what it says of it."""
        roster = await RosterKeeper(self.store).build(NOW)
        self.world.other_workloads = await self.reader.read(roster)
        (pool,) = self.world.look(roster, NOW).pools
        (variant,) = pool.variants
        return variant.desired, variant.target_found, pool.target_problems


@pytest.fixture
def rig(store: Store, memory_api: Any, clock: Any, objects: Any) -> Rig:
    """A pool whose target is a EngineGroup of three groups."""
    target = {"apiVersion": "example.org/v1", "kind": "EngineGroup", "name": "chat"}
    variant = {
        "name": "chat",
        "target": target,
        "nodePool": "h100",
        "gpusPerReplica": 16,
        "minReplicas": 1,
        "maxReplicas": 8,
    }
    store.apply(Kind.POOLS, objects.pool(roles={"serve": {"variants": [variant]}}))
    memory_api.objects[GROUP] = {
        "resources": [
            {"name": "enginegroups", "kind": "EngineGroup"},
            {"name": "enginegroups/scale", "kind": "Scale"},
        ]
    }
    memory_api.objects[GROUPS] = {"metadata": {"uid": "uid-chat"}}
    memory_api.objects[f"{GROUPS}/scale"] = {
        "metadata": {"resourceVersion": "7"},
        "spec": {"replicas": 3},
        "status": {"selector": "app=chat,role=leader"},
    }
    return Rig(store, memory_api, clock)


async def test_a_target_is_read_with_its_count_and_its_pods_labels(rig: Rig) -> None:
    record = (await rig.read())[CHAT]
    assert isinstance(record, WorkloadRecord)
    assert (record.replicas, record.resource_version) == (3, "7")
    assert record.selector.labels == {"app": "chat", "role": "leader"}


@pytest.mark.parametrize("error", PASSING, ids=lambda error: str(error.status))
async def test_what_an_ill_server_does_not_answer_leaves_the_last_record(rig: Rig, error: ApiError) -> None:
    """Protects: one bad answer counted the capacity as none, and replacements were bought elsewhere."""
    assert await rig.desired() == (3, True, ())
    rig.api.failures = [error]
    assert await rig.desired() == (3, True, ())


async def test_the_last_record_stays_through_an_outage_and_goes_with_the_next_answer(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.read()
    for _ in range(3):
        rig.api.failures = [PASSING[0]]
        assert await rig.desired() == (3, True, ())
    assert len(caplog.records) == 1, "an outage is told once"
    rig.api.objects[f"{GROUPS}/scale"]["spec"]["replicas"] = 5
    assert await rig.desired() == (5, True, ())


async def test_without_a_last_record_it_says_that_the_target_could_not_be_read(rig: Rig) -> None:
    rig.api.failures = [PASSING[1]]
    assert (await rig.read())[CHAT] == "EngineGroup chat could not be read: etcd has no leader"


async def test_a_target_that_is_gone_is_not_brought_back_by_an_outage(rig: Rig) -> None:
    await rig.read()
    gone = rig.api.objects.pop(f"{GROUPS}/scale")
    assert (await rig.read())[CHAT] == "EngineGroup chat does not exist: create it."
    rig.api.objects[f"{GROUPS}/scale"] = gone
    rig.api.failures = [PASSING[0]]
    assert "could not be read" in str((await rig.read())[CHAT])


@pytest.mark.parametrize("status", [401, 403])
async def test_a_target_that_may_not_be_read_any_more_says_so_at_once(rig: Rig, status: int) -> None:
    await rig.read()
    rig.api.failures = [ApiError("forbidden", status=status)]
    assert "may not be read: allow get on it" in str((await rig.read())[CHAT])


async def test_a_refusal_that_will_not_pass_is_told(rig: Rig) -> None:
    await rig.read()
    rig.api.failures = [ApiError("what is this?", status=400)]
    assert (await rig.read())[CHAT] == "EngineGroup chat could not be read: what is this?"


async def test_a_kind_that_is_not_served_is_told(rig: Rig) -> None:
    del rig.api.objects[GROUP]
    assert "install the CRD of EngineGroup" in str((await rig.read())[CHAT])


async def test_the_record_of_a_target_that_no_pool_has_any_more_is_forgotten(rig: Rig, objects: Any) -> None:
    """Protects a pool that comes back from the count that its target had when it left."""
    (body,) = (record for record in rig.store.resources[Kind.POOLS].values())
    await rig.read()
    rig.store.apply(Kind.POOLS, objects.pool(), deleted=True)
    assert await rig.read() == {}
    rig.store.apply(Kind.POOLS, objects.pool(roles=dict(body.spec)["roles"]))  # type: ignore[call-overload]
    rig.api.failures = [PASSING[0]]
    assert "could not be read" in str((await rig.read())[CHAT])


@pytest.mark.parametrize("selector", ["", None])
async def test_a_target_whose_pods_nobody_can_tell_is_told_and_left_alone(
    rig: Rig, objects: Any, selector: str | None
) -> None:
    """Protects: three Ready pods were "ready 0, starting 3" for ever, and nothing was said."""
    status: dict[str, Any] = {} if selector is None else {"selector": selector}
    rig.api.objects[f"{GROUPS}/scale"]["status"] = status
    for name in "abc":
        rig.store.apply(Kind.PODS, objects.pod(name))
    desired, found, (problem,) = await rig.desired()
    assert (desired, found) == (3, False)
    assert "its /scale has no selector" in problem
    roster = await RosterKeeper(rig.store).build(NOW)
    (pool,) = rig.world.look(roster, NOW).pools
    assert pool.workloads == {}, "nothing is written to it"


async def test_a_known_kind_is_not_read_by_name(rig: Rig, objects: Any) -> None:
    """Protects an idle round from two requests for each target; a kind that is not watched says why."""
    target = {"kind": "LeaderWorkerSet", "name": "chat"}
    variant = {"name": "chat", "target": target, "gpusPerReplica": 16, "maxReplicas": 8}
    rig.store.apply(Kind.POOLS, objects.pool(roles={"serve": {"variants": [variant]}}))
    (kind,) = (kind for kind, row in WORKLOAD_KINDS.items() if row.kind == "LeaderWorkerSet")
    rig.store.without = {kind: "the cluster serves no leaderworkersets"}
    assert await rig.read() == {}
    assert await rig.desired() == (
        0,
        False,
        ("LeaderWorkerSet chat is not known: the cluster serves no leaderworkersets.",),
    )
