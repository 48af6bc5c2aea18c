"""What is told of resources that cannot be used: nothing that is not allowed, nothing that others write."""

from typing import Any

import pytest

from forebay.runtime.cluster.roster import Invalid
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.events import EventRecorder
from forebay.runtime.report.reporter import Reporter
from forebay.runtime.report.status import StatusWriter
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.records import parse_resource
from forebay.runtime.watch.store import Store

NODE_POOL = "/apis/forebay.io/v1alpha1/gpunodepools/h100"
EVENTS = "/api/v1/namespaces/default/events"
NOW = 1_795_132_800.0


@pytest.fixture
def invalid_node_pool(objects: Any, store: Store, memory_api: Any) -> Invalid:
    body = objects.node_pool()
    store.apply(Kind.NODE_POOLS, body)
    memory_api.objects[f"{NODE_POOL}/status"] = body
    return Invalid(Kind.NODE_POOLS, parse_resource(body), "gpusPerNode is wrong.")


@pytest.fixture
def invalid_profile(objects: Any) -> Invalid:
    """A kind of the cluster that has no status."""
    record = parse_resource({**objects.node_pool("llama"), "kind": "ServingProfile"})
    return Invalid(Kind.PROFILES, record, "points are wrong.")


async def tell(
    item: Invalid, api: Any, store: Store, clock: Any, *namespaces: str, tells_of_node_pools: bool
) -> list[str]:
    """Report one resource; return the paths that were written."""
    metrics = Metrics()
    status = StatusWriter(api, store, metrics, drift_seconds=60.0, clock=clock)
    events = EventRecorder(api, metrics, instance="me", clock=clock, wall_clock=clock, namespaces=namespaces)
    reporter = Reporter(status, events, metrics, tells_of_node_pools=tells_of_node_pools)
    await reporter._invalid(item, NOW)
    return [path for _, path, _ in api.changes_sent()]


async def test_an_invalid_node_pool_is_told_by_its_status_and_an_event(
    invalid_node_pool: Invalid, memory_api: Any, store: Store, clock: Any
) -> None:
    assert await tell(invalid_node_pool, memory_api, store, clock, tells_of_node_pools=True) == [
        f"{NODE_POOL}/status",
        EVENTS,
    ]


async def test_who_does_not_tell_of_node_pools_posts_no_event_of_them_either(
    invalid_node_pool: Invalid, memory_api: Any, store: Store, clock: Any
) -> None:
    """Protects: every five minutes an event that RBAC refused, or one from each release of a fleet."""
    assert await tell(invalid_node_pool, memory_api, store, clock, tells_of_node_pools=False) == []


async def test_an_operator_of_namespaces_posts_nothing_beside_them(
    invalid_profile: Invalid, memory_api: Any, store: Store, clock: Any
) -> None:
    """Protects: an event in `default`, where a namespaced install has no rights, was refused for ever."""
    assert await tell(invalid_profile, memory_api, store, clock, "serving", tells_of_node_pools=False) == []


async def test_an_operator_of_the_cluster_tells_of_a_profile_whatever_its_selector(
    invalid_profile: Invalid, memory_api: Any, store: Store, clock: Any
) -> None:
    assert await tell(invalid_profile, memory_api, store, clock, tells_of_node_pools=False) == [EVENTS]


async def test_who_watches_default_tells_there(
    invalid_profile: Invalid, memory_api: Any, store: Store, clock: Any
) -> None:
    told = await tell(invalid_profile, memory_api, store, clock, "a", "default", tells_of_node_pools=False)
    assert told == [EVENTS]
