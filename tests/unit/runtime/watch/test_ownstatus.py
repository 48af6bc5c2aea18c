"""Stored objects that today's schema would refuse: any JSON as spec and status raises nothing on its way."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.columns import invalid_node_pool_status, invalid_report
from forebay.runtime.report.conditions import invalid
from forebay.runtime.report.status import News, StatusWriter
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.ownstatus import usable_status
from forebay.runtime.watch.store import Store
from tests.unit.runtime.conftest import NOW, MemoryApi, Objects

POOL_FIELDS = ("spec", "slo", "ttft", "roles", "serve", "prefill", "decode", "variants", "target", "kind", "name")
MORE_FIELDS = (
    "maxReplicas",
    "telemetry",
    "engine",
    "policyRef",
    "mode",
    "accelerator",
    "gpusPerNode",
    "errorBudget",
)
STATUS_FIELDS = ("summary", "why", "conditions", "type", "status", "reason", "message", "lastTransitionTime")
OLD_FIELDS = ("lastDecision", "changes", "leadTime", "phase", "p50", "p90", "samples", "forecast", "lastWritten")
FIELDS = (*POOL_FIELDS, *MORE_FIELDS, *STATUS_FIELDS, *OLD_FIELDS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.sampled_from(("", "1s", "Deployment", "True", "2026-11-20T00:00:00Z", "x" * 300)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=20,
)
CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "AsRecommended",
    "message": "fine",
    "lastTransitionTime": "2026-11-20T00:00:00Z",
}


def stored(kind: str, spec: Any, status: Any) -> dict[str, Any]:
    body = Objects()._own(kind, "odd", spec, namespace=None if kind in {"GPUNodePool", "ServingProfile"} else "a")
    return {**body, "status": status}


@settings(max_examples=200)
@given(spec=JSON, status=JSON)
def test_any_stored_object_is_looked_at_and_reported(spec: Any, status: Any) -> None:
    store, kinds = Store(), {"InferencePool": Kind.POOLS, "GPUNodePool": Kind.NODE_POOLS}
    for name, kind in {**kinds, "ServingProfile": Kind.PROFILES, "ScalingPolicy": Kind.POLICIES}.items():
        store.apply(kind, stored(name, spec, status))
    roster = asyncio.run(RosterKeeper(store).build(NOW))
    ClusterView(store).look(roster, NOW)
    writer = StatusWriter(MemoryApi(), store, Metrics(), drift_seconds=60.0, clock=lambda: NOW)
    for item in roster.invalid:
        assert item.message.endswith(".")
        for render in (invalid_report, invalid_node_pool_status):
            report = render(item.record.status, invalid(item.message), generation=1, now_seconds=NOW)
            assert report.status["conditions"][0]["reason"] == "InvalidSpec"
            assert writer.weigh(item.record, report.status) is not News.NONE


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"conditions": [CONDITION], "summary": {"why": "x"}, "leadTime": "4m", "roles": []},
        {"leadTime": [{"phase": "node", "p50": "4m", "p90": "6m40s", "samples": 2}]},
    ],
)
def test_what_forebay_wrote_is_kept_as_it_is(status: dict[str, Any]) -> None:
    assert usable_status(status) is status


@pytest.mark.parametrize(
    ("status", "kept"),
    [
        ("text", {}),
        ([1], {}),
        (None, {}),
        ({"summary": [], "message": "m"}, {"message": "m"}),
        ({"conditions": [{**CONDITION, "lastTransitionTime": "yesterday"}]}, {}),
        ({"conditions": [CONDITION, None]}, {}),
        ({"leadTime": [{"phase": "node", "p50": "soon", "p90": "1s"}], "nodes": 1}, {"nodes": 1}),
        ({"leadTime": [{"phase": "node", "p50": "1s", "p90": "1s", "samples": "2"}]}, {}),
    ],
)
def test_what_has_another_shape_is_as_good_as_not_there(status: Any, kept: dict[str, Any]) -> None:
    assert usable_status(status) == kept
