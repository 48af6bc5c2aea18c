"""Node pools: only what the scheduler can use counts; one that did not deliver is left alone for a while."""

from typing import Any

from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.nodepools import BackOff, BackOffs, gpus_held, matches, observe_node_pool
from forebay.runtime.watch.records import parse_node, parse_pod

LEAD = LeadTimeQuantiles(240.0, 400.0, 700.0, 5)


def test_free_is_allocatable_minus_what_pods_hold(objects: Any) -> None:
    bodies = [
        objects.pod("a", gpus=4),
        objects.pod("b", gpus=2, deleting=True),
        objects.pod("c", gpus=1, node="n2"),
    ]
    held = gpus_held(record for body in bodies if (record := parse_pod(body)) is not None)
    nodes = [
        parse_node(objects.node("n1")),
        parse_node(objects.node("n2")),
        parse_node(objects.node("n3", gpus=0)),
        parse_node(objects.node("n4", cordoned=True)),
    ]
    observed = observe_node_pool("h100", nodes, held, lead_time=LEAD, back_off=BackOff(), now_seconds=0.0)
    assert (observed.nodes, observed.usable_gpus, observed.free_gpus) == (4, 16, 9)
    assert max(observed.free_blocks) == 7
    assert observed.provisioning_nodes == 1


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
