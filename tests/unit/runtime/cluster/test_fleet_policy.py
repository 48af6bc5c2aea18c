"""The borders between tenants: what a FleetPolicy grants a namespace, and what no pool may do without it."""

from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.flow.fleet import PoolKey
from forebay.runtime.cluster.namespaces import NamespaceLabels
from forebay.runtime.cluster.roster import PoolEntry, Roster, RosterKeeper
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.observe import fleet_of
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store

NOW = 1_795_132_800.0
CHAT = PoolKey("serving", "chat")
GATEWAY = {"dialect": "requests-counter", "selector": {"matchLabels": {"model": "chat"}}}


def policy(objects: Any, name: str = "fleet", **spec: Any) -> Any:
    return objects._own("FleetPolicy", name, spec)


def with_forecast(store: Store, objects: Any) -> None:
    spec = {"externalForecast": {"promql": "sum(other_teams_secret)"}}
    store.apply(Kind.POLICIES, objects._own("ScalingPolicy", "mine", spec, namespace="serving"))


async def built(store: Store, **keeper: Any) -> Roster:
    return await RosterKeeper(store, **keeper).build(NOW)


async def entry(store: Store, **keeper: Any) -> PoolEntry:
    return (await built(store, **keeper)).pools[CHAT]


async def test_a_query_of_a_tenant_runs_only_if_an_administrator_allows_it(store: Store, objects: Any) -> None:
    """Protects the operator's own queries, and other teams' series, from an editor of one namespace."""
    with_forecast(store, objects)
    store.apply(Kind.POOLS, objects.pool(policyRef={"name": "mine"}))
    refused = await entry(store)
    assert refused.forecast_query is None
    (sentence,) = refused.restrictions
    assert "externalForecast is not used" in sentence
    assert "allow: [ExternalForecasts]" in sentence
    assert "FleetPolicy fleet" in sentence
    store.apply(Kind.FLEET_POLICIES, policy(objects, tenants=[{"name": "all", "allow": ["ExternalForecasts"]}]))
    allowed = await entry(store)
    assert allowed.forecast_query == "sum(other_teams_secret)"
    assert allowed.restrictions == ()


async def test_a_gateway_is_read_within_the_pools_namespace_only(store: Store, objects: Any) -> None:
    """Protects other namespaces: a selector read their series, and kept their owner's pool from using them."""
    telemetry = {"engine": "vllm", "gateway": GATEWAY}
    store.apply(Kind.POOLS, objects.pool(telemetry=telemetry))
    pinned = await entry(store, namespace_label="kubernetes_namespace")
    assert pinned.gateway is not None
    assert pinned.gateway.labels == {"model": "chat", "kubernetes_namespace": "serving"}
    foreign = {**GATEWAY, "selector": {"matchLabels": {"model": "chat", "namespace": "victim"}}}
    store.apply(Kind.POOLS, objects.pool(telemetry={**telemetry, "gateway": foreign}))
    attack = await entry(store)
    assert attack.gateway is not None
    assert attack.gateway.labels == {"model": "chat", "namespace": "serving"}
    assert "telemetry.gateway reads series of namespace serving only" in attack.restrictions[0]
    store.apply(Kind.FLEET_POLICIES, policy(objects, tenants=[{"name": "all", "allow": ["ForeignGateways"]}]))
    allowed = await entry(store)
    assert allowed.gateway is not None
    assert allowed.gateway.labels == {"model": "chat", "namespace": "victim"}


async def test_a_priority_is_capped_by_the_fleet_and_further_by_the_rule(store: Store, objects: Any) -> None:
    store.apply(Kind.POOLS, objects.pool(priority=900))
    store.apply(Kind.FLEET_POLICIES, policy(objects, highestPriority=500))
    capped = await entry(store)
    assert capped.pool.priority == 500
    assert "spec.priority 900 counts as 500" in capped.restrictions[0]
    tenants = [{"name": "all", "highestPriority": 10}]
    store.apply(Kind.FLEET_POLICIES, policy(objects, highestPriority=500, tenants=tenants))
    assert (await entry(store)).pool.priority == 10


async def test_variants_on_other_node_pools_are_left_as_they_are(store: Store, objects: Any) -> None:
    def variant(name: str) -> dict[str, Any]:
        target = {"kind": "Deployment", "name": f"chat-{name}"}
        return {"name": name, "target": target, "nodePool": name, "gpusPerReplica": 1, "maxReplicas": 8}

    roles = {"serve": {"variants": [variant("h100"), variant("l40s")]}}
    store.apply(Kind.POOLS, objects.pool(roles=roles))
    tenants = [{"name": "small", "nodePools": ["l40s"]}]
    store.apply(Kind.FLEET_POLICIES, policy(objects, tenants=tenants))
    kept = await entry(store)
    assert [each.node_pool for each in kept.pool.variants] == ["l40s"]
    assert [target.name for target in kept.targets.values()] == ["chat-l40s"]
    assert "rule small" in kept.restrictions[0]
    roles["serve"]["variants"].pop()
    store.apply(Kind.POOLS, objects.pool(roles=roles))
    (invalid,) = (await built(store)).invalid
    assert "gives namespace serving the node pools l40s only" in invalid.message


async def test_limits_and_quotas_reach_the_pipeline(store: Store, objects: Any) -> None:
    store.apply(Kind.POOLS, objects.pool())
    tenants = [{"name": "all", "maxGPUs": 4}]
    store.apply(
        Kind.FLEET_POLICIES,
        policy(objects, budgetPerHour="12.50", powerLimitWatts=7000, tenants=tenants),
    )
    store.apply(Kind.FLEET_POLICIES, policy(objects, "other", budgetPerHour="1.00"))
    roster = await built(store)
    fleet = fleet_of(ClusterView(store).look(roster, NOW), roster.fleet_policy)
    assert (fleet.budget_usd_per_hour, fleet.power_limit_watts) == (12.5, 7000)
    (quota,) = fleet.quotas
    assert (quota.gpus, quota.pools) == (4, frozenset({CHAT}))


async def test_rules_select_by_the_labels_of_namespaces(
    store: Store, objects: Any, memory_api: Any, clock: Any
) -> None:
    store.apply(Kind.POOLS, objects.pool(priority=100))
    rule = {"name": "lab", "namespaceSelector": {"matchLabels": {"team": "lab"}}, "highestPriority": 1}
    store.apply(Kind.FLEET_POLICIES, policy(objects, tenants=[rule]))
    namespace = {"metadata": {"name": "serving", "labels": {"team": "lab"}}}
    memory_api.objects["/api/v1/namespaces"] = {"items": [namespace]}
    labels = NamespaceLabels(api=memory_api, resync_seconds=300.0, clock=clock)
    keeper = RosterKeeper(store, namespaces=labels)
    assert (await keeper.build(NOW)).pools[CHAT].pool.priority == 1
    namespace["metadata"]["labels"] = {}
    assert (await keeper.build(NOW)).pools[CHAT].pool.priority == 1, "they are not read in every round"
    clock.now += 300.0
    assert (await keeper.build(NOW)).pools[CHAT].pool.priority == 100


async def test_labels_that_cannot_be_read_are_those_of_before(
    store: Store, objects: Any, memory_api: Any, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store.apply(Kind.POOLS, objects.pool(priority=100))
    rule = {"name": "lab", "namespaceSelector": {"matchLabels": {"team": "lab"}}, "highestPriority": 1}
    store.apply(Kind.FLEET_POLICIES, policy(objects, tenants=[rule]))
    namespace = {"metadata": {"name": "serving", "labels": {"team": "lab"}}}
    memory_api.objects["/api/v1/namespaces"] = {"items": [namespace]}
    keeper = RosterKeeper(store, namespaces=NamespaceLabels(api=memory_api, resync_seconds=300.0, clock=clock))
    await keeper.build(NOW)
    clock.now += 300.0
    memory_api.failures = [ApiError("busy", status=503)]
    assert (await keeper.build(NOW)).pools[CHAT].pool.priority == 1
    assert "the labels of namespaces" in caplog.text
