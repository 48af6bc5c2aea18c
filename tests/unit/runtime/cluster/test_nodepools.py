"""Node pools: only what the scheduler can use counts; one that did not deliver is left alone for a while."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from forebay.actuation.providers.sight import Cause, MachineClaim, ProviderSight, Word
from forebay.flow.observation import NodePoolObservation, StartingReplica
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.nodepools import (
    BackOff,
    BackOffs,
    gpus_held,
    matches,
    observe_node_pool,
    see_nodes,
    waiting_notes,
)
from forebay.runtime.watch.records import parse_node, parse_pod

NOW = 1_795_132_800.0
LEAD = LeadTimeQuantiles(240.0, 400.0, 700.0, 5)


def observed_of(
    bodies: list[Any],
    held: Mapping[str, int],
    *,
    sight: ProviderSight | None = None,
    back_off: BackOff | None = None,
) -> NodePoolObservation:
    back_off = back_off or BackOff()
    seen = see_nodes(
        [parse_node(body) for body in bodies],
        held,
        sight or ProviderSight(),
        resource="nvidia.com/gpu",
        back_off=back_off,
        now_seconds=NOW,
        patience_seconds=900.0,
    )
    return observe_node_pool("h100", seen, gpus_per_node=8, lead_time=LEAD, back_off=back_off)


def test_free_is_allocatable_minus_what_pods_hold(objects: Any) -> None:
    bodies = [
        objects.pod("a", gpus=4),
        objects.pod("b", gpus=2, deleting=True),
        objects.pod("c", gpus=1, node="n2"),
    ]
    pods = [record for body in bodies if (record := parse_pod(body)) is not None]
    nodes = [
        objects.node("n1"),
        objects.node("n2"),
        objects.node("n3", gpus=0, created="2026-11-20T00:00:00Z"),
        objects.node("n4", cordoned=True),
        objects.node("n5", gpus=0),
        objects.node("n6", taints=["karpenter.sh/disrupted"]),
    ]
    observed = observed_of(nodes, gpus_held(pods, "nvidia.com/gpu"))
    assert (observed.nodes, observed.usable_gpus, observed.free_gpus) == (6, 16, 9)
    assert observed.free_blocks == (7, 2)
    assert observed.provisioning_nodes == 1, "n5 is stuck: it comes no more"


def test_what_is_bought_and_has_no_node_yet_is_on_its_way(objects: Any) -> None:
    claims = (
        MachineClaim(name="bought", created_seconds=NOW - 9, launched_seconds=NOW - 8),
        MachineClaim(name="asked", created_seconds=NOW - 1),
    )
    observed = observed_of([objects.node("n1")], {}, sight=ProviderSight(claims=claims, launchable=2))
    assert (observed.provisioning_nodes, observed.launched_nodes) == (1, 1)
    assert observed.launchable_nodes == 2


def test_gpus_of_another_name_are_counted_by_it(objects: Any) -> None:
    slices = {"nvidia.com/mig-1g.10gb": "7"}
    node, pod = objects.node("n1"), objects.pod("a")
    node["status"]["allocatable"] = slices
    pod["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/mig-1g.10gb": "2"}
    record = parse_pod(pod)
    assert record is not None
    assert gpus_held([record], "nvidia.com/mig-1g.10gb") == {"n1": 2}
    assert gpus_held([record], "nvidia.com/gpu") == {}
    assert parse_node(node).allocatable("nvidia.com/mig-1g.10gb") == 7
    assert parse_node(node).usable_for("nvidia.com/mig-1g.10gb")
    assert not parse_node(node).usable


def test_placeholders_hold_nothing_where_forebay_keeps_them_and_nowhere_else(objects: Any) -> None:
    labels = {"forebay.io/placeholder": "h100"}
    record = parse_pod(objects.pod("p", gpus=4, labels=labels))
    assert record is not None
    assert gpus_held([record], "nvidia.com/gpu", frozenset({("serving", "h100")})) == {}
    assert gpus_held([record], "nvidia.com/gpu", frozenset({("warm", "h100")})) == {"n1": 4}


def test_a_word_blocks_from_its_own_time_and_counts_once() -> None:
    back_off, told = BackOff(), Word(cause=Cause.SOLD_OUT, message="none left", at_seconds=NOW - 10.0)
    back_off.hear(told, NOW)
    assert (back_off.until_seconds, back_off.reason, back_off.last) == (NOW + 290.0, "none left", told)
    back_off.hear(told, NOW + 300.0)
    assert not back_off.blocked(NOW + 300.0), "the same word again is no news"
    back_off.hear(replace(told, at_seconds=NOW + 299.0), NOW + 300.0)
    assert back_off.until_seconds == NOW + 899.0, "another failure waits twice as long"


def test_an_old_word_blocks_nothing() -> None:
    back_off = BackOff()
    back_off.hear(Word(cause=Cause.SOLD_OUT, message="none left", at_seconds=NOW - 400.0), NOW)
    assert not back_off.blocked(NOW)


def test_a_node_that_was_bought_since_ends_the_wait() -> None:
    back_off, told = BackOff(), Word(cause=Cause.SOLD_OUT, message="none left", at_seconds=NOW - 10.0)
    before = MachineClaim(name="before", created_seconds=NOW - 12, launched_seconds=NOW - 11)
    back_off.hear_all(ProviderSight(words=(told,), claims=(before,)), NOW)
    assert back_off.blocked(NOW)
    since = MachineClaim(name="since", created_seconds=NOW - 2, launched_seconds=NOW - 1)
    back_off.hear_all(ProviderSight(words=(told,), claims=(before, since)), NOW)
    assert not back_off.blocked(NOW)


def test_replicas_that_wait_say_what_for() -> None:
    waiting = [StartingReplica(NOW, NOW + 60, unschedulable=True), StartingReplica(NOW, NOW + 60)]
    pool = NodePoolObservation(name="h100", nodes=0, usable_gpus=0, free_gpus=0, coming_since_seconds=NOW)
    (note,) = waiting_notes(waiting, pool)
    assert (
        note.message == "1 replicas wait for a node of pool h100, on its way since 00:00:00 UTC (usually 5 min)."
    )
    (early,) = waiting_notes(waiting, replace(pool, coming_since_seconds=None))
    assert "none is on its way yet" in early.message
    (never,) = waiting_notes(waiting, replace(pool, blocked_reason="sold out."))
    assert (never.code, never.message) == ("NoNodeToBeHad", "1 replicas wait for a node of pool h100: sold out.")
    assert waiting_notes(waiting[1:], pool) == []
    assert waiting_notes(waiting, None) == []


def test_a_back_off_outlives_the_process() -> None:
    back_off = BackOff()
    back_off.recall(until_seconds=NOW + 100.0, reason="none left")
    back_off.hear(Word(cause=Cause.SOLD_OUT, message="none left", at_seconds=NOW - 200.0), NOW)
    assert (back_off.until_seconds, back_off.reason) == (NOW + 100.0, "none left")


def test_an_empty_selector_has_no_nodes(objects: Any) -> None:
    node = parse_node(objects.node("n1"))
    assert matches(node, {"pool": "h100"})
    assert not matches(node, {"pool": "h100", "zone": "a"})
    assert not matches(node, {})


def test_the_back_off_doubles_up_to_half_an_hour_and_ends_with_success() -> None:
    back_off, now, waits = BackOff(), 0.0, []
    for _ in range(5):
        back_off.failed(now, "sold out")
        back_off.failed(now + 1.0, "again")  # while blocked: the same failure
        assert back_off.until_seconds is not None
        waits.append(back_off.until_seconds - now)
        now = back_off.until_seconds
        assert not back_off.blocked(now)
    assert waits == [300.0, 600.0, 1200.0, 1800.0, 1800.0]
    back_off.succeeded()
    back_off.failed(0.0, "sold out")
    assert back_off.until_seconds == 300.0


def test_back_offs_of_pools_that_are_gone_are_forgotten() -> None:
    back_offs = BackOffs()
    back_offs.of("a").failed(0.0, "x")
    back_offs.keep_only(["b"])
    assert not back_offs.of("a").blocked(1.0)
