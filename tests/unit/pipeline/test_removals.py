"""What a lower count removes: counted before it is written, and never healthy replicas for overdue ones."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.observation import (
    EngineSample,
    NodePoolObservation,
    PoolObservation,
    Rollout,
    Standing,
    StartingReplica,
    VariantObservation,
)
from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.pipeline.guard.context import Counts, GuardContext
from forebay.pipeline.guard.guards import guarded
from forebay.pipeline.guard.removals import count_what_goes, hold_rollouts, keep_overdue_orders, note_withdrawals
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.supply import Supply, beside_free_gpus, supply_of
from tests.keys import prefill
from tests.unit.pipeline.fleets import KEY, split_pool, variant

A, B = prefill("a"), prefill("b")
TYPES = (
    variant(Role.PREFILL, "a", node_pool="a"),
    variant(Role.PREFILL, "b", node_pool="b", min_replicas=0),
)
POOL = split_pool(variants=TYPES)
READY, STARTING, LOST = Standing.READY, Standing.STARTING, Standing.LOST


def memory() -> PoolMemory:
    return PoolMemory(forecaster=Forecaster(PolicySettings()))


def context(supplies: Mapping[VariantKey, Supply], **more: Any) -> GuardContext:
    given: dict[str, Any] = {"held": frozenset(), "queued": frozenset(), "memory": memory(), **more}
    return GuardContext(pool=POOL, supplies=supplies, at_seconds=0.0, **given)


NONE = Supply(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("supply", "wanted", "target"),
    [
        (Supply(5, 5, 5, 0), 3, 3),
        (Supply(4, 3, 3, 1), 3, 3),  # a ReplicaSet removes the dead one
        (Supply(4, 3, 3, 1, removal=(READY, READY, READY, LOST)), 3, 4),  # a StatefulSet does not
        (Supply(4, 3, 3, 1, removal=(READY, READY, READY, LOST)), 2, 3),
        (Supply(4, 3, 3, 0), 4, 5),  # one that served and failed is replaced
        (Supply(4, 3, 3, 1, never_came=1), 4, 4),  # one that never came is not
        (Supply(4, 4, 3, 0, removal=(STARTING, READY, READY, READY)), 3, 3),
    ],
)
def test_a_target_is_what_leaves_or_brings_the_wanted_replicas(supply: Supply, wanted: int, target: int) -> None:
    """Protects: with a dead ordinal 0 a release of one replica took a healthy one."""
    assert supply.target_for(wanted) == target
    got, reasons = count_what_goes(context({A: supply, B: NONE}), {A: wanted, B: 0})
    assert got[A] == target
    assert bool(reasons) is (target != wanted)


def blocked(**more: Any) -> Supply:
    return Supply(5, 3, 3, 2, blocked="no stock", never_came=2, **more)


@pytest.mark.parametrize(
    ("supply", "target"),
    [
        (blocked(), 3),
        (blocked(removal=(LOST, LOST, READY, READY, READY)), 3),
        (blocked(removal=(READY, READY, READY, LOST, LOST)), 5),
        (blocked(removal=(LOST, READY, LOST, READY, READY)), 4),
        (blocked(rollout="is being rolled out"), 5),
        (blocked(kept_orders=True), 5),
    ],
)
def test_only_what_is_known_to_go_is_withdrawn(supply: Supply, target: int) -> None:
    """Protects: in a rollout the controller removed healthy replicas, Ready 7 -> 0 in 105 s."""
    seen = context({A: supply, B: NONE})
    counted, _ = count_what_goes(seen, {A: 3, B: 2})
    got, _ = keep_overdue_orders(seen, counted)
    assert got == {A: target, B: 2}


@pytest.mark.parametrize("held", [frozenset({Role.PREFILL}), frozenset[Role]()])
def test_a_rollout_releases_nothing_through_all_guards(held: frozenset[Role]) -> None:
    stuck = Supply(8, 7, 7, 1, blocked="the rollout is stuck", rollout="ImagePullBackOff")
    for planned in ({A: 7, B: 2}, {A: 4, B: 3}, {A: 0, B: 9}):
        counts: Counts = dict(planned)
        got, _ = guarded(context({A: stuck, B: NONE}, held=held), counts)
        assert got[A] == 8
        assert got[B] == planned[B]


def test_a_rollout_says_why_nothing_is_released() -> None:
    going = Supply(8, 8, 7, 0, rollout="chat is being rolled out")
    got, (reason,) = hold_rollouts(context({A: going, B: NONE}), {A: 5, B: 0})
    assert got[A] == 8
    assert "chat is being rolled out" in reason.message


SEEN = VariantObservation(name="a", role=Role.PREFILL, desired=8, ready=5, overdue=3)


def test_a_withdrawal_that_took_what_served_is_the_last() -> None:
    kept = memory()
    supply = supply_of(TYPES[0], SEEN, None, kept, 0.0)
    assert supply.withdrawable == 3
    note_withdrawals(context({A: supply, B: NONE}, memory=kept), {A: 7, B: 1})
    took_a_healthy_one = replace(SEEN, desired=7, ready=4)
    after = supply_of(TYPES[0], took_a_healthy_one, None, kept, 15.0)
    assert (after.kept_orders, after.withdrawable) == (True, 0)
    _, (reason,) = keep_overdue_orders(context({A: after, B: NONE}, memory=kept), {A: 4, B: 1})
    assert "a withdrawal removed replicas that served" in reason.message
    healed = supply_of(TYPES[0], replace(SEEN, desired=7, ready=7, overdue=0), None, kept, 9000.0)
    assert not healed.kept_orders


def test_a_withdrawal_that_took_what_was_overdue_goes_on() -> None:
    kept = memory()
    supply = supply_of(TYPES[0], SEEN, None, kept, 0.0)
    note_withdrawals(context({A: supply, B: NONE}, memory=kept), {A: 7, B: 1})
    after = supply_of(TYPES[0], replace(SEEN, desired=7, overdue=2), None, kept, 15.0)
    assert after.withdrawable == 2


@pytest.mark.parametrize(
    ("change", "alone", "grows"),
    [
        ({"gated": 2, "desired": 7}, True, False),
        ({"rollout": Rollout("stuck", stuck=True)}, False, False),
        ({"rollout": Rollout("stuck", stuck=True)}, True, True),
        ({"rollout": Rollout("exceeded quota", stuck=True, full=True)}, True, False),
        ({"rollout": Rollout("going")}, False, True),
    ],
)
def test_what_the_cluster_will_not_give_is_a_limit(change: dict[str, Any], *, alone: bool, grows: bool) -> None:
    seen = replace(SEEN, **{"desired": 5, "overdue": 0, **change})
    supply = supply_of(TYPES[0], seen, None, memory(), 0.0, alone=alone)
    assert (supply.blocked is None) is grows


def test_replicas_that_a_quota_forbids_let_another_type_be_tried() -> None:
    """Protects: 26 unborn replicas counted as supply for eleven hours beside a queue of 87,480."""
    ordered = tuple(StartingReplica(0.0, 120.0) for _ in range(3))
    seen = replace(SEEN, overdue=0, starting=ordered)
    assert supply_of(TYPES[0], seen, None, memory(), 200.0).live == 8
    late = supply_of(TYPES[0], seen, None, memory(), 400.0)
    assert (late.live, late.blocked is not None) == (5, True)


def nodes(**free: int) -> dict[str, NodePoolObservation]:
    return {
        name: NodePoolObservation(name=name, nodes=1, usable_gpus=8, free_gpus=gpus) for name, gpus in free.items()
    }


@pytest.mark.parametrize(
    ("queue", "free", "live"),
    [(12.0, {"a": 0, "b": 8}, 5), (0.0, {"a": 0, "b": 8}, 8), (12.0, {"a": 0, "b": 0}, 8)],
)
def test_a_replica_without_a_node_is_no_supply_beside_free_gpus_and_a_queue(
    queue: float, free: dict[str, int], live: int
) -> None:
    """Protects: a deleted node was five minutes of outage, with eleven GPUs of another type free."""
    waiting = tuple(StartingReplica(0.0, 300.0, unschedulable=True) for _ in range(3))
    first = replace(SEEN, overdue=0, starting=waiting)
    second = VariantObservation(name="b", role=Role.PREFILL, desired=0, ready=0)
    seen = PoolObservation(
        key=KEY,
        at_seconds=10.0,
        traffic=None,
        variants=(first, second),
        waiting_prefill=queue,
    )
    kept = memory()
    supplies = {
        key: supply_of(v, seen.variant(key), None, kept, 10.0) for v, key in zip(TYPES, (A, B), strict=True)
    }
    found = beside_free_gpus(POOL, seen, supplies, nodes(**free))
    assert found[A].live == live
    assert found[A].kept == 8, "the order stands until the other type has come"
    assert (found[A].blocked is None) is (live == 8)


def test_a_queue_inside_the_engines_is_a_queue() -> None:
    waiting = (StartingReplica(0.0, 300.0, unschedulable=True),)
    busy = EngineSample(interval_seconds=15.0, waiting=4.0)
    first = replace(SEEN, desired=6, overdue=0, starting=waiting, engine=busy)
    second = VariantObservation(name="b", role=Role.PREFILL, desired=0, ready=0)
    seen = PoolObservation(key=KEY, at_seconds=10.0, traffic=None, variants=(first, second))
    kept = memory()
    supplies = {
        key: supply_of(v, seen.variant(key), None, kept, 10.0) for v, key in zip(TYPES, (A, B), strict=True)
    }
    assert beside_free_gpus(POOL, seen, supplies, nodes(a=0, b=8))[A].live == 5
