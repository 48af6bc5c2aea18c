"""Nodes that are launched for pods, filled, emptied and given back, and what they cost."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.flow.fleet import Pool, VariantKey
from forebay.flow.observation import PlacedNode
from forebay.offline.simulation import (
    ForeignPods,
    NodeFleet,
    NodeRules,
    NodeScoring,
    SimulatedPool,
    StartUp,
    StockOut,
)
from forebay.offline.simulation.nodes.capacity import Pod
from tests.keys import decode, prefill
from tests.unit.simulation.builders import PLAIN, disaggregated, requests

P, D = prefill("p"), decode("d")
RULES = NodeRules(
    gpus_per_node=4, lead_time=StartUp.fixed(100.0), consolidate_after_seconds=50.0, minimum_billed_seconds=60.0
)


def nodes(rules: NodeRules = RULES, *, scoring: NodeScoring = NodeScoring.MOST_ALLOCATED) -> NodeFleet:
    return NodeFleet({"h100": rules}, scoring=scoring)


def on_nodes(gpus: int = 1) -> Pool:
    pool = disaggregated()
    return replace(
        pool, variants=tuple(replace(v, node_pool="h100", gpus_per_replica=gpus) for v in pool.variants)
    )


def simulated(capacity: NodeFleet, initial: Mapping[VariantKey, int], *, gpus: int = 1) -> SimulatedPool:
    return SimulatedPool(
        on_nodes(gpus), requests([0.0], 100, 2), initial=initial, capacity=capacity, functions=PLAIN
    )


def test_a_replica_that_fits_starts_at_once_and_one_that_does_not_waits_for_its_node() -> None:
    capacity = nodes()
    pool = simulated(capacity, {P: 2, D: 1})
    assert capacity.record("h100", 0.0).observed("h100", 0.0).free_blocks == (1,)
    pool.run_until(10.0)
    pool.scale({P: 4})
    seen = pool.observe().variants[0]
    assert [(s.unschedulable, s.expected_ready_seconds) for s in seen.starting] == [(False, 70.0), (True, 170.0)]
    assert seen.lead_time_seconds == 160.0  # one more waits for a node

    pool.run_until(169.0)
    assert pool.ready(P) == 3
    pool.run_until(170.0)
    assert pool.ready(P) == 4
    bill = capacity.record("h100", 170.0).bill(170.0)
    assert bill.node_seconds == pytest.approx(170.0 + 160.0)
    assert (bill.launched, bill.given_back_unused) == (1, 0)


def test_replicas_on_nodes_that_the_plan_empties_go_first() -> None:
    """Protects the bill: released by chance, replicas leave every node half full."""
    capacity = nodes()
    pool = simulated(capacity, {P: 4, D: 4})
    first, second = _placement(capacity, pool)
    for keep, empty in ((first, second), (second, first)):
        held = {key: count for (_, key), count in keep.replicas.items()}
        pool = simulated(capacity := nodes(), {P: 4, D: 4})
        pool.scale({key: held.get(key, 0) for key in (P, D)}, frozenset({empty.name}))
        kept = {node.name: node.replicas for node in _placement(capacity, pool)}
        assert kept[empty.name] == {}


def test_it_shows_which_replicas_hold_each_node() -> None:
    """Protects: Forebay planned per GPU in the replay and paid for nodes that a few replicas kept."""
    capacity = NodeFleet(
        {"h100": RULES}, foreign=[ForeignPods(node_pool="h100", gpus=1)], scoring=NodeScoring.MOST_ALLOCATED
    )
    pool = simulated(capacity, {P: 2, D: 2})
    first, second = _placement(capacity, pool)
    assert (first.free_gpus, first.others) == (0, True)
    assert first.replicas == {(pool.pool.key, P): 2, (pool.pool.key, D): 1}
    assert (second.free_gpus, second.others, second.replicas) == (3, False, {(pool.pool.key, D): 1})


def _placement(capacity: NodeFleet, pool: SimulatedPool) -> tuple[PlacedNode, ...]:
    seen = capacity.record("h100", 0.0).observed("h100", 0.0, pool.placed())
    assert seen.placement is not None
    return seen.placement


def test_a_cancelled_order_leaves_a_node_that_comes_and_is_given_back_unused() -> None:
    capacity = nodes()
    pool = simulated(capacity, {P: 2, D: 2})
    pool.run_until(10.0)
    pool.scale({P: 3})
    pool.run_until(20.0)
    pool.scale({P: 2})
    pool.run_until(500.0)

    assert pool.result().cancelled_orders == 1
    bill = capacity.record("h100", 500.0).bill(500.0)
    assert bill.node_seconds == pytest.approx(
        500.0 + 150.0
    )  # from launch, over its arrival, to the end of the delay
    assert (bill.launched, bill.given_back_unused) == (1, 1)


def test_a_waiting_pod_takes_room_that_becomes_free() -> None:
    capacity = nodes()
    pool = simulated(capacity, {P: 2, D: 2})
    pool.run_until(10.0)
    pool.scale({P: 3})
    pool.run_until(20.0)
    pool.scale({D: 1})
    pool.run_until(90.0)
    assert pool.ready(P) == 3  # 20 s and its own start-up of 60 s, not 110 s and 60 s
    pool.run_until(400.0)
    assert capacity.record("h100", 400.0).bill(400.0).given_back_unused == 1


def test_scale_in_takes_replicas_of_crowded_nodes_first_and_empty_nodes_go() -> None:
    capacity = nodes(replace(RULES, gpus_per_node=2))
    pool = simulated(capacity, {P: 2, D: 1})
    assert capacity.record("h100", 0.0).observed("h100", 0.0).nodes == 2
    pool.run_until(10.0)
    pool.scale({P: 1})
    pool.run_until(100.0)
    seen = capacity.record("h100", 100.0).observed("h100", 100.0)
    assert seen.free_blocks == (1, 1)  # both nodes keep a pod
    pool.scale({P: 0})
    pool.run_until(200.0)
    assert capacity.record("h100", 200.0).observed("h100", 200.0).nodes == 1


def test_the_scheduler_spreads_or_packs() -> None:
    for scoring, blocks in ((NodeScoring.LEAST_ALLOCATED, (3, 3)), (NodeScoring.MOST_ALLOCATED, (2, 4))):
        capacity = nodes(replace(RULES, min_nodes=2), scoring=scoring)
        for _ in range(2):
            capacity.place(Pod("h100", 1), 0.0)
        assert capacity.record("h100", 0.0).observed("h100", 0.0).free_blocks == blocks


def test_a_replica_larger_than_a_node_takes_whole_nodes() -> None:
    capacity = nodes()
    group = Pod("h100", 10)
    assert capacity.place(group, 0.0, at_once=True) == 0.0
    assert [gpus for _, gpus in group.places] == [4, 4, 2]
    capacity.remove(group, 30.0)
    assert capacity.record("h100", 90.0).observed("h100", 90.0).nodes == 0


def test_stock_outs_and_quotas_refuse_launches_and_the_provisioner_says_so() -> None:
    capacity = NodeFleet(
        {"h100": replace(RULES, max_nodes=2)},
        stock_outs=[StockOut(node_pool="h100", start_seconds=5.0, end_seconds=200.0)],
    )
    assert capacity.place(Pod("h100", 4), 0.0, at_once=True) == 0.0
    late = Pod("h100", 4)
    assert capacity.place(late, 10.0) is None
    assert capacity.record("h100", 10.0).observed("h100", 10.0).blocked_until_seconds == 190.0
    assert capacity.next_change_seconds(10.0) == 200.0
    assert capacity.place(late, 200.0) == 300.0
    assert capacity.place(Pod("h100", 1), 300.0) is None  # the quota
    assert capacity.record("h100", 300.0).observed("h100", 300.0).launchable_nodes == 0


def test_reserved_nodes_and_minimum_billing_are_paid_in_any_case() -> None:
    capacity = nodes(
        replace(RULES, reserved_nodes=1, minimum_billed_seconds=3600.0, consolidate_after_seconds=0.0)
    )
    pods = [Pod("h100", 4), Pod("h100", 4)]
    for pod in pods:
        capacity.place(pod, 0.0, at_once=True)
    for pod in pods:
        capacity.remove(pod, 600.0)
    bill = capacity.record("h100", 7200.0).bill(7200.0)
    assert bill.node_seconds == 2 * 3600.0
    assert bill.billed_node_seconds == 2 * 3600.0 + 3600.0


def test_foreign_pods_hold_their_nodes_for_their_time() -> None:
    capacity = NodeFleet(
        {"h100": RULES},
        foreign=[ForeignPods(node_pool="h100", gpus=3, count=2, end_seconds=1_000.0)],
        scoring=NodeScoring.MOST_ALLOCATED,
    )
    assert capacity.record("h100", 900.0).observed("h100", 900.0).free_blocks == (1, 1)
    assert capacity.place(Pod("h100", 2), 900.0) == 1_000.0  # a third node
    assert capacity.record("h100", 1_200.0).observed("h100", 1_200.0).nodes == 1


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 120), st.sampled_from(["order", "release"]), st.integers(1, 9)), max_size=40
    ),
    scoring=st.sampled_from(list(NodeScoring)),
    most=st.sampled_from([None, 3]),
)
def test_gpus_are_never_handed_out_twice_and_bills_never_shrink(
    steps: list[tuple[int, str, int]], scoring: NodeScoring, most: int | None
) -> None:
    capacity = nodes(replace(RULES, max_nodes=most, reserved_nodes=1), scoring=scoring)
    placed: list[Pod] = []
    now, before = 0.0, 0.0
    for pause, what, size in steps:
        now += pause
        if what == "order":
            pod = Pod("h100", size)
            starts = capacity.place(pod, now)
            if starts is not None:
                assert starts >= now
                placed.append(pod)
        elif placed:
            capacity.remove(placed.pop(size % len(placed)), now)
        record = capacity.record("h100", now)
        assert most is None or len(record.nodes) <= most
        for node in record.nodes:
            held = sum(gpus for pod in placed for where, gpus in pod.places if where is node)
            assert node.free == node.gpus - held >= 0
        assert all(node in record.nodes for pod in placed for node, _ in pod.places)
        bill = record.bill(now)
        assert bill.billed_node_seconds >= max(before, now) - 1e-6
        assert bill.billed_node_seconds >= bill.node_seconds - 1e-6
        before = bill.billed_node_seconds
    for pod in placed:
        capacity.remove(pod, now)
    assert capacity.record("h100", now + 1_000.0).observed("h100", now + 1_000.0).nodes == 0
