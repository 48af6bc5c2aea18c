"""A fleet whose nodes are known is planned in whole nodes."""

import importlib
from dataclasses import replace
from typing import Any

import pytest

from forebay.flow.fleet import NodePool, Pool, PoolKey
from forebay.flow.observation import NodePoolObservation, PlacedNode
from tests.keys import decode, prefill
from tests.unit.pipeline.fleets import KEY, World, codes, counts, fleet_world, split_pool

H100 = NodePool(name="h100", accelerator="H100", gpus_per_node=8, usd_per_gpu_hour=2.0)


def _on_h100() -> Pool:
    pool = split_pool(KEY)
    return replace(pool, variants=tuple(replace(v, node_pool="h100", min_replicas=1) for v in pool.variants))


def _placed(*nodes: PlacedNode, provisioning: int = 0) -> NodePoolObservation:
    return NodePoolObservation(
        name="h100",
        nodes=len(nodes),
        usable_gpus=8 * len(nodes),
        free_gpus=sum(node.free_gpus for node in nodes),
        provisioning_nodes=provisioning,
        launched_nodes=provisioning,
        placement=nodes,
    )


def _fleet(
    seen: NodePoolObservation, node_pool: NodePool = H100, *, rate: float, replicas: dict[str, int]
) -> World:
    return fleet_world(
        {KEY: _on_h100()}, {KEY: rate}, {"h100": node_pool}, node_pools={"h100": seen}, replicas={KEY: replicas}
    )


def test_replicas_that_find_room_open_no_node() -> None:
    held = {(KEY, prefill("prefill")): 2, (KEY, decode("decode")): 2}
    node = PlacedNode(name="a", free_gpus=4, replicas=held)
    decision = _fleet(_placed(node), rate=60.0, replicas={"prefill": 2, "decode": 2}).step()[KEY]
    assert "Nodes" in codes(decision)
    said = next(reason.message for reason in decision.reasons if reason.code == "Nodes")
    assert said == "node pool h100 is planned in nodes: 1 stay"
    assert sum(counts(decision).values()) <= 8


def test_the_decision_names_the_nodes_to_empty() -> None:
    """Protects scale-in: who lowers the count marks the replicas on these nodes to go first."""
    both = {(KEY, prefill("prefill")): 1, (KEY, decode("decode")): 1}
    full = PlacedNode(name="full", free_gpus=0, replicas=dict.fromkeys(both, 4))
    single = PlacedNode(name="single", free_gpus=6, replicas=both)
    for others, expected in ((False, {"single"}), (True, set())):
        seen = _placed(full, replace(single, others=others))
        world = _fleet(seen, rate=10.0, replicas={"prefill": 5, "decode": 5})
        # Nothing is released in the first rounds, before the demand is known.
        emptied = {name for _ in range(40) for name in world.step_fleet().emptying}
        assert emptied - {"full"} == expected


def test_demand_beyond_the_nodes_opens_one() -> None:
    held = {(KEY, prefill("prefill")): 4, (KEY, decode("decode")): 4}
    node = PlacedNode(name="a", free_gpus=0, replicas=held)
    decision = _fleet(_placed(node), rate=300.0, replicas={"prefill": 4, "decode": 4}).step()[KEY]
    said = next(reason.message for reason in decision.reasons if reason.code == "Nodes")
    assert "to open" in said
    assert sum(counts(decision).values()) > 8


def test_gpus_that_are_billed_one_by_one_are_planned_so() -> None:
    node = PlacedNode(name="a", free_gpus=4, replicas={(KEY, prefill("prefill")): 2, (KEY, decode("decode")): 2})
    per_gpu = replace(H100, billed_per_gpu=True)
    decision = _fleet(_placed(node), per_gpu, rate=60.0, replicas={"prefill": 2, "decode": 2}).step()[KEY]
    assert "Nodes" not in codes(decision)


def test_free_nodes_are_held_where_several_pools_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the bill: one pool alone buys replicas, and several are saved more by a node than it costs."""
    step = importlib.import_module("forebay.pipeline.decide")
    given, failures = step.warm_nodes, []

    def watched(*arguments: Any) -> dict[str, int]:
        try:
            return dict(given(*arguments))
        except Exception as error:
            failures.append(error)
            raise

    monkeypatch.setattr(step, "warm_nodes", watched)
    small = replace(H100, gpus_per_node=2, warm_max=2)

    def most_held(pools: int) -> int:
        keys = [PoolKey("test", f"model-{number}") for number in range(pools)]
        shared = {key: replace(_on_h100(), key=key) for key in keys}
        world = fleet_world(
            shared,
            dict.fromkeys(keys, 40.0),
            {"h100": small},
            node_pools={"h100": _placed(PlacedNode(name="a", free_gpus=0, others=True))},
            replicas={key: {"prefill": 2, "decode": 2} for key in keys},
        )
        return max(world.step_fleet().warm_nodes.get("h100", 0) for _ in range(25))

    assert (most_held(1), most_held(4) > 0) == (0, True)
    assert failures == []


def test_free_nodes_stay_while_nothing_is_known_of_who_needs_them() -> None:
    """Protects: an outage of Prometheus gave all free nodes back, and they were bought again after it."""
    world = fleet_world(
        {KEY: _on_h100()},
        {KEY: 40.0},
        {"h100": replace(H100, warm_max=2)},
        node_pools={"h100": _placed(PlacedNode(name="a", free_gpus=0, others=True))},
    )
    world.step_fleet()
    world.state.warm.held["h100"] = 2
    world.blind.add(KEY)
    world.clock += 300.0
    assert [world.step_fleet().warm_nodes for _ in range(3)] == [{"h100": 2}] * 3
    world.blind.clear()
    assert [world.step_fleet().warm_nodes for _ in range(3)][-1] == {}
