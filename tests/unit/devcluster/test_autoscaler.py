"""The stand-in for a node autoscaler buys what waiting pods need, and gives back what stands empty."""

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client.exceptions import ApiException

from devcluster.autoscaler import (
    TO_BE_DELETED_TAINT,
    AutoscalerTimes,
    NodeAutoscaler,
    gpus_wanted,
    is_unschedulable,
    nodes_to_add,
)
from devcluster.gpu import GPU_RESOURCE, POOL_LABEL, NodePool
from devcluster.rest import Json, Rest, mapping, sequence, text
from devcluster.waiting import eventually

TIMES = AutoscalerTimes(decision_seconds=2, unneeded_seconds=10, retry_seconds=30)


def _pod(name: str, *, gpus: int = 8, pool: str = "h100", node: str = "", waits: bool = True) -> Json:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {
            "nodeName": node,
            "nodeSelector": {POOL_LABEL: pool},
            "containers": [{"resources": {"limits": {GPU_RESOURCE: str(gpus)}}}],
        },
        "status": {"conditions": [condition] if waits and not node else []},
    }


class FakeRest(Rest):
    """An API server of nodes, pods and events in memory."""

    def __init__(self) -> None:
        self.nodes: dict[str, Json] = {}
        self.pods: list[Json] = []
        self.events: dict[str, Json] = {}

    def items(self, path: str, **query: str) -> list[Json]:
        return list(self.pods) if path == "/api/v1/pods" else list(self.nodes.values())

    def create(self, path: str, body: object) -> Json:
        assert isinstance(body, dict)
        name = text(body, "metadata", "name")
        if path.endswith("/events"):
            if name in self.events:
                raise ApiException(status=409)
            self.events[name] = body
        else:
            assert path == "/api/v1/nodes"
            self.nodes[name] = body
            mapping(body, "metadata")["resourceVersion"] = "1"
        return body

    def patch(self, path: str, body: object, *, content_type: str = "") -> Json:
        assert isinstance(body, dict)
        node = self.nodes[path.rsplit("/", 1)[1]]
        mapping(node, "spec")["taints"] = sequence(body, "spec", "taints")
        return node

    def delete(self, path: str, **query: str) -> Json:
        return self.nodes.pop(path.rsplit("/", 1)[1])

    def warm(self, names: Iterable[str] | None = None) -> None:
        """Let nodes finish their cold start."""
        for name in names or self.nodes:
            status = mapping(self.nodes[name], "status")
            status["conditions"] = [{"type": "Ready", "status": "True"}]
            status["allocatable"] = {GPU_RESOURCE: "8"}

    def tainted(self) -> list[str]:
        return [
            name
            for name, node in self.nodes.items()
            if any(taint["key"] == TO_BE_DELETED_TAINT for taint in sequence(node, "spec", "taints"))
        ]

    def reasons(self) -> list[str]:
        return sorted(text(event, "reason") for event in self.events.values())


class World:
    """An autoscaler over one pool, with a clock that the test moves."""

    def __init__(self, pool: NodePool) -> None:
        self.rest = FakeRest()
        self.now = 0.0
        self.autoscaler = NodeAutoscaler(self.rest, [pool], times=TIMES, clock=lambda: self.now)

    def look_at(self, seconds: float) -> None:
        self.now = seconds
        self.autoscaler.look_once()


@pytest.fixture
def world() -> World:
    return World(NodePool("h100", max_nodes=3))


def test_a_pod_that_waits_gets_a_node_after_the_decision_took_its_time(world: World) -> None:
    world.rest.pods = [_pod("a")]
    world.look_at(0)
    world.look_at(1.9)
    assert not world.rest.nodes
    world.look_at(2)
    assert len(world.rest.nodes) == 1
    assert world.rest.reasons() == ["TriggeredScaleUp"]


def test_a_node_on_its_way_is_not_bought_twice(world: World) -> None:
    world.rest.pods = [_pod("a")]
    for second in range(20):
        world.look_at(second)
    assert len(world.rest.nodes) == 1


def test_small_pods_share_a_node_on_its_way(world: World) -> None:
    world.rest.pods = [_pod("a", gpus=4)]
    world.look_at(0)
    world.look_at(2)
    world.rest.pods.append(_pod("b", gpus=4))
    world.look_at(3)
    world.look_at(5)
    assert len(world.rest.nodes) == 1
    world.rest.pods.append(_pod("c", gpus=4))
    world.look_at(6)
    world.look_at(8)
    assert len(world.rest.nodes) == 2


def test_the_maximum_holds_and_is_said(world: World) -> None:
    world.rest.pods = [_pod(name) for name in "abcde"]
    for second in range(10):
        world.look_at(second)
    assert len(world.rest.nodes) == 3
    assert "NotTriggerScaleUp" in world.rest.reasons()


def test_the_minimum_is_there_without_any_pod() -> None:
    world = World(NodePool("h100", min_nodes=2, max_nodes=3))
    world.look_at(0)
    assert len(world.rest.nodes) == 2
    world.rest.warm()
    for second in range(1, 40):
        world.look_at(second)
    assert len(world.rest.nodes) == 2


def test_a_pool_that_is_sold_out_gives_nothing_and_is_tried_again_later(world: World) -> None:
    world.autoscaler.set_stock("h100", 0)
    world.rest.pods = [_pod("a")]
    world.look_at(0)
    world.look_at(2)
    assert world.rest.reasons() == ["FailedScaleUp"]
    world.autoscaler.set_stock("h100", 1)
    world.look_at(3)
    assert len(world.rest.nodes) == 1


def test_a_partial_stock_gives_what_there_is_and_waits_before_it_tries_again(world: World) -> None:
    world.autoscaler.set_stock("h100", 1)
    world.rest.pods = [_pod("a"), _pod("b")]
    world.look_at(0)
    world.look_at(2)
    assert len(world.rest.nodes) == 1
    world.look_at(10)
    assert len(world.rest.nodes) == 1
    world.autoscaler.set_stock("h100", None)
    world.look_at(11)
    assert len(world.rest.nodes) == 2


def test_stock_of_an_unknown_pool_is_an_error(world: World) -> None:
    with pytest.raises(KeyError):
        world.autoscaler.set_stock("h200", 0)


def test_an_empty_node_is_tainted_first_and_removed_at_the_next_look(world: World) -> None:
    world.rest.create("/api/v1/nodes", NodePool("h100").node("n"))
    world.rest.warm()
    world.look_at(0)
    world.look_at(9)
    assert world.rest.tainted() == []
    world.look_at(10)
    assert world.rest.tainted() == ["n"]
    world.look_at(11)
    assert world.rest.nodes == {}


def test_a_pod_that_comes_in_the_last_moment_saves_the_node(world: World) -> None:
    world.rest.create("/api/v1/nodes", NodePool("h100").node("n"))
    world.rest.warm()
    world.look_at(0)
    world.look_at(10)
    world.rest.pods = [_pod("a", node="n")]
    world.look_at(11)
    assert list(world.rest.nodes) == ["n"]
    assert world.rest.tainted() == []
    world.rest.pods = []
    world.look_at(12)
    world.look_at(21)
    assert world.rest.tainted() == []


def test_a_node_that_still_starts_is_not_empty(world: World) -> None:
    world.rest.create("/api/v1/nodes", NodePool("h100").node("n"))
    for second in range(60):
        world.look_at(second)
    assert list(world.rest.nodes) == ["n"]


def test_a_lost_node_is_no_room_and_is_removed_in_time(world: World) -> None:
    world.rest.create("/api/v1/nodes", NodePool("h100").node("n"))
    mapping(world.rest.nodes["n"], "status")["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    world.rest.pods = [_pod("a", node="n"), _pod("b")]
    world.look_at(0)
    world.look_at(2)
    assert len(world.rest.nodes) == 2
    world.look_at(10)
    assert "n" not in world.rest.nodes


def test_pods_of_other_pools_and_pods_that_merely_are_new_buy_nothing(world: World) -> None:
    world.rest.pods = [_pod("a", pool="elsewhere"), _pod("b", waits=False)]
    for second in range(10):
        world.look_at(second)
    assert world.rest.nodes == {}


def test_a_pod_that_is_being_deleted_does_not_wait() -> None:
    pod = _pod("a")
    assert is_unschedulable(pod)
    mapping(pod, "metadata")["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_unschedulable(pod)


def test_gpus_are_counted_over_containers_and_once_where_requests_repeat_limits() -> None:
    container = {"resources": {"limits": {GPU_RESOURCE: "2"}, "requests": {GPU_RESOURCE: 2}}}
    assert gpus_wanted({"spec": {"containers": [container, container, {}]}}) == 4


@given(st.lists(st.integers(1, 8), max_size=30), st.integers(0, 5))
def test_what_is_bought_is_enough_and_within_first_fits_bound(sizes: list[int], on_their_way: int) -> None:
    added = nodes_to_add(sizes, gpus_per_node=8, on_their_way=on_their_way)
    assert (added + on_their_way) * 8 >= sum(sizes)
    # First fit leaves at most one node half empty (Johnson, 1973).
    assert added == 0 or added + on_their_way <= math.ceil(2 * sum(sizes) / 8) + on_their_way


def test_an_api_server_that_is_away_is_asked_again() -> None:
    rest, failures = FakeRest(), iter([ApiException(status=0, reason="refused"), OSError("reset")])

    class Flaky(FakeRest):
        def items(self, path: str, **query: str) -> list[Json]:
            if (failure := next(failures, None)) is not None:
                raise failure
            return rest.items(path, **query)

        def create(self, path: str, body: object) -> Json:
            return rest.create(path, body)

    autoscaler = NodeAutoscaler(
        Flaky(), [NodePool("h100", min_nodes=1)], times=AutoscalerTimes(scan_seconds=0.001)
    )
    autoscaler.start()
    eventually(lambda: len(rest.nodes) == 1, timeout_seconds=5)
    autoscaler.stop()
    assert len(autoscaler.troubles) == 2


def test_a_pod_that_no_node_can_hold_buys_none() -> None:
    assert nodes_to_add([16], gpus_per_node=8, on_their_way=0) == 0
