"""Who takes part: garbage stands beside the healthy, and nothing is parsed twice."""

from typing import Any

import pytest

from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.fleet import PoolKey
from forebay.runtime.cluster import roster as module
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from tests.keys import decode

DECODE = decode("h100")

NOW = 1_795_132_800.0
CHAT = PoolKey("serving", "chat")


async def test_a_garbage_pool_is_reported_beside_a_healthy_one(store: Store, objects: Any) -> None:
    store.apply(Kind.POOLS, objects.pool())
    store.apply(Kind.POOLS, objects.pool("bad", slo={"ttft": "soon"}))
    store.apply(Kind.POOLS, objects.pool("worse", roles=None))
    built = await RosterKeeper(store).build(NOW)
    assert list(built.pools) == [CHAT]
    assert sorted(item.record.name for item in built.invalid) == ["bad", "worse"]
    assert all(item.message.endswith(".") for item in built.invalid)


async def test_a_resource_is_parsed_when_its_generation_changes_only(
    store: Store, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    original = module._parse

    def parse(kind: Kind, record: Any) -> Any:
        parsed.append(record.name)
        return original(kind, record)

    monkeypatch.setattr(module, "_parse", parse)
    keeper, body = RosterKeeper(store), objects.pool()
    store.apply(Kind.POOLS, body)
    await keeper.build(NOW)
    body["status"] = {"message": "new"}
    body["metadata"]["resourceVersion"] = "2"
    store.apply(Kind.POOLS, body)
    built = await keeper.build(NOW)
    assert parsed == ["chat"]
    assert built.pools[CHAT].record.status == {"message": "new"}
    body["metadata"]["generation"] = 2
    body["spec"]["mode"] = "Recommend"
    store.apply(Kind.POOLS, body)
    built = await keeper.build(NOW)
    assert parsed == ["chat", "chat"]
    assert built.pools[CHAT].mode is Mode.RECOMMEND


async def test_a_node_pool_that_comes_later_reaches_the_pools_that_name_it(store: Store, objects: Any) -> None:
    keeper = RosterKeeper(store)
    store.apply(Kind.POOLS, objects.pool())
    entry = (await keeper.build(NOW)).pools[CHAT]
    assert "h100" in entry.problems[0]
    store.apply(Kind.NODE_POOLS, objects.node_pool(pricePerGPUHour="2.50"))
    entry = (await keeper.build(NOW)).pools[CHAT]
    assert entry.problems == ()
    assert entry.pool.variants[0].usd_per_replica_hour == 2.5


async def test_rights_that_are_given_later_are_told_of_though_there_is_nothing_to_read(
    store: Store, objects: Any
) -> None:
    keeper = RosterKeeper(store)
    store.apply(Kind.POOLS, objects.pool())
    store.without = {Kind.NODE_POOLS: "node pools may not be read"}
    assert (
        (await keeper.build(NOW))
        .pools[CHAT]
        .problems[0]
        .startswith("spec.roles.serve.variants[0].nodePool: node pools may not be read;")
    )
    store.without = {}
    assert "there is no gpunodepools.forebay.io h100" in (await keeper.build(NOW)).pools[CHAT].problems[0]


async def test_what_a_pool_names_and_cannot_be_used_is_not_called_missing(store: Store, objects: Any) -> None:
    """Whoever reads "there is no policy fast" beside the policy `fast` looks in the wrong place."""
    keeper = RosterKeeper(store)
    store.apply(Kind.POOLS, objects.pool(policyRef={"name": "fast"}))
    store.apply(Kind.NODE_POOLS, objects.node_pool(gpusPerNode="eight"))
    policy = objects.node_pool("fast", errorBudget="none")
    policy["metadata"]["namespace"] = "serving"
    store.apply(Kind.POLICIES, policy)
    of_policy, of_node_pool = (await keeper.build(NOW)).pools[CHAT].problems
    assert of_policy.startswith("spec.policyRef: what it names cannot be used: ScalingPolicy serving/fast: spec.")
    assert of_policy.endswith("; every default is used until then")
    assert of_node_pool == (
        "spec.roles.serve.variants[0].nodePool: what it names cannot be used: GPUNodePool h100: spec.gpusPerNode: "
        "must be a whole number, without quotes; its price and stock are unknown until then"
    )


async def test_a_paused_pool_keeps_what_it_has(store: Store, objects: Any) -> None:
    store.apply(Kind.POOLS, objects.pool(mode="Paused"))
    settings = (await RosterKeeper(store).build(NOW)).pools[CHAT].pool.settings
    assert settings.pause_scale_in
    assert settings.pause_scale_out


async def test_selectors_become_labels(store: Store, objects: Any) -> None:
    telemetry = {
        "engine": "vllm",
        "selector": {"matchLabels": {"model_name": "m"}},
        "gateway": {"dialect": "inference-extension", "selector": {"matchLabels": {"inference_pool": "chat"}}},
    }
    store.apply(Kind.POOLS, objects.pool(telemetry=telemetry))
    entry = (await RosterKeeper(store).build(NOW)).pools[CHAT]
    assert entry.series_labels == {"model_name": "m"}
    assert entry.gateway is not None
    assert (entry.gateway.dialect, entry.gateway.labels) == (
        "inference-extension",
        {"inference_pool": "chat", "namespace": "serving"},
    )


async def test_names_of_roles_are_told_apart_inside_and_short_outside(store: Store, objects: Any) -> None:
    def role(name: str) -> dict[str, Any]:
        target = {"kind": "Deployment", "name": f"chat-{name}"}
        return {"variants": [{"name": "h100", "target": target, "minReplicas": 1, "maxReplicas": 4}]}

    store.apply(Kind.POOLS, objects.pool(roles={"prefill": role("p"), "decode": role("d")}))
    entry = (await RosterKeeper(store).build(NOW)).pools[CHAT]
    assert entry.targets[DECODE].name == "chat-d"


async def test_a_dynamo_graph_is_never_scaled_to_zero(store: Store, objects: Any) -> None:
    """Protects: without a worker Dynamo's frontend drops the model, and no demand would ever be seen again."""
    target = {"kind": "DynamoGraphDeploymentScalingAdapter", "name": "chat-decode"}
    variant = {"name": "graph", "target": target, "minReplicas": 0, "maxReplicas": 4}
    other = {"name": "chat", "target": {"kind": "Deployment", "name": "chat"}, "minReplicas": 1, "maxReplicas": 4}
    store.apply(Kind.POOLS, objects.pool(roles={"serve": {"variants": [variant, other]}}))
    (entry,) = (await RosterKeeper(store).build(NOW)).pools.values()
    assert [each.min_replicas for each in entry.pool.variants] == [1, 1]
