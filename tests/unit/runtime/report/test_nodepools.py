"""What the status of a node pool says, and that it fits the schema of the CRD."""

from dataclasses import replace
from typing import Any

from forebay.actuation.providers.port import Situation
from forebay.actuation.providers.sight import Cause, MachineClaim, NodeSight, ProviderSight, Word, node_states
from forebay.api.v1alpha1.gpunodepool_status import GPUNodePoolStatus
from forebay.flow.observation import NodePoolObservation
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.look import NodePoolLook
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.report.nodepools import node_pool_report
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store

NOW = 1_795_132_800.0
TIMES = LeadTimeQuantiles(p50_seconds=240.0, p90_seconds=400.0, p99_seconds=700.0, observed=2)


async def look(store: Store, objects: Any) -> NodePoolLook:
    """One usable node, one that is launched, three that are asked for; sold out."""
    store.apply(Kind.NODE_POOLS, objects.node_pool(pricePerGPUHour="2.50"))
    entry = (await RosterKeeper(store).build(NOW)).node_pools["h100"]
    node = NodeSight(
        name="n1",
        usable=True,
        leaving=False,
        going=False,
        gpus=8,
        gpus_held=5,
        created_seconds=NOW - 900,
        ready_seconds=NOW - 600,
    )
    claim = MachineClaim(name="c", created_seconds=NOW - 60, launched_seconds=NOW - 59)
    sight = ProviderSight(claims=(claim,), asked=5, problem="it may not be scaled: allow it.")
    states = node_states([node], sight, now_seconds=NOW, patience_seconds=900.0)
    return NodePoolLook(
        entry=entry,
        observed=NodePoolObservation(
            name="h100",
            nodes=1,
            usable_gpus=8,
            free_gpus=3,
            provisioning_nodes=1,
            blocked_until_seconds=NOW + 300,
            blocked_reason="sold out.",
        ),
        situation=Situation(at_seconds=NOW, nodes=(node,), states=states, sight=sight, blocked=True),
        last_failure=Word(cause=Cause.SOLD_OUT, message="word " * 400, at_seconds=NOW - 5),
        phases={"launch": replace(TIMES, p50_seconds=3.0)},
        node=TIMES,
        start_up=TIMES,
        total=TIMES,
    )


async def test_a_full_report_fits_the_schema(store: Store, objects: Any) -> None:
    status = node_pool_report(await look(store, objects), now_seconds=NOW).status
    parsed = GPUNodePoolStatus.model_validate(status)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == status


async def test_it_tells_states_cost_lead_times_and_why_nothing_comes(store: Store, objects: Any) -> None:
    report = node_pool_report(await look(store, objects), now_seconds=NOW)
    assert report.status["states"] == [
        {"state": "requested", "nodes": 3},
        {"state": "launched", "nodes": 1, "since": "2026-11-19T23:59:01Z"},
        {"state": "usable", "nodes": 1, "since": "2026-11-19T23:50:00Z"},
    ]
    assert report.status["costPerHour"] == "40.00", "two nodes of eight GPUs are paid for"
    launch, node = report.status["leadTime"][:2]
    assert launch == {"phase": "launch", "p50": "3s", "p90": "6m40s", "samples": 2}
    assert node == {"phase": "node", "p50": "4m", "p90": "6m40s", "samples": 2}
    assert report.status["asked"] == 5
    reasons = [item["reason"] for item in report.status["conditions"]]
    assert reasons == ["Blocked", "ProviderFailed"]
    assert report.status["lastFailure"]["reason"] == "SoldOut"


async def test_the_last_failure_outlives_the_process(store: Store, objects: Any) -> None:
    seen = await look(store, objects)
    status = node_pool_report(seen, now_seconds=NOW).status
    record = replace(seen.entry.record, status=status)
    later = replace(seen, entry=replace(seen.entry, record=record), last_failure=None)
    assert node_pool_report(later, now_seconds=NOW + 15).status["lastFailure"] == status["lastFailure"]
