"""Replicas: what serves, what will, until when it counts, and what is given up."""

from typing import Any

import pytest

from forebay.flow.kinds import BY_KIND
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.replicas import LeadTimes, PodIndex, ReplicaView, view_replicas
from forebay.runtime.watch.records import PodRecord, parse_pod, parse_workload
from forebay.runtime.watch.selectors import Selector

NOW = 1_795_132_800.0
LEAD_TIMES = LeadTimes(
    start_up=LeadTimeQuantiles(60.0, 90.0, 150.0, 5), node=LeadTimeQuantiles(240.0, 400.0, 700.0, 5)
)


@pytest.fixture
def view(objects: Any) -> Any:
    def make(pods: list[Any], *, replicas: int, now: float = NOW + 30, **more: Any) -> ReplicaView:
        records = [record for body in pods if (record := parse_pod(body)) is not None]
        workload = parse_workload(BY_KIND["Deployment"], objects.deployment("chat", replicas))
        given = {"lead_times": LEAD_TIMES, "needs_node": False, "is_awaited": frozenset().__contains__, **more}
        given.setdefault("shortest_deadline_seconds", 900.0)
        return view_replicas(workload, records, now_seconds=now, **given)

    return make


def test_ready_starting_and_unborn_are_told_apart(view: Any, objects: Any) -> None:
    seen = view([objects.pod("a"), objects.pod("b", ready=None)], replicas=3)
    assert seen.ready == 1
    assert [replica.unschedulable for replica in seen.starting] == [False, False]
    ends = [replica.expected_ready_seconds for replica in seen.starting]
    assert ends == [NOW + 1 + 90.0, NOW + 30 + 90.0]


def test_a_pod_that_waits_for_a_node_takes_a_node_longer(view: Any, objects: Any) -> None:
    (waiting,) = view([objects.pod("a", scheduled=None, ready=None)], replicas=1).starting
    assert waiting.unschedulable
    assert waiting.expected_ready_seconds > NOW + 300.0


def test_after_its_deadline_a_replica_is_no_supply_any_more(view: Any, objects: Any) -> None:
    pods = [objects.pod("a", scheduled=None, ready=None)]
    before = view(pods, replicas=1, now=NOW + 899)
    after = view(pods, replicas=1, now=NOW + 3000)
    assert (len(before.starting), before.overdue) == (1, 0)
    assert (len(after.starting), after.overdue, after.overdue_for_nodes) == (0, 1, 1)


def test_only_what_is_overdue_itself_and_has_no_node_is_overdue_for_nodes(view: Any, objects: Any) -> None:
    """Protects node pools from a block that a crashing pod and a pod of this minute make together."""
    crashing = objects.pod("a", ready=None, restarts=9)
    waiting = objects.pod("b", created="2026-11-20T00:49:00Z", scheduled=None, ready=None)
    seen = view([crashing, waiting], replicas=2, now=NOW + 3000)
    assert (len(seen.starting), seen.overdue, seen.overdue_for_nodes) == (1, 1, 0)


def test_only_what_never_came_is_undelivered(view: Any, objects: Any) -> None:
    """Protects capacity from a kubelet that falls silent: its replicas served, and are not withdrawn."""
    never, served = objects.pod("a", ready=None), objects.pod("b", ready=None)
    awaited = {record.uid for record in (parse_pod(never),) if record is not None}
    seen = view([never, served], replicas=2, now=NOW + 3000, is_awaited=awaited.__contains__)
    assert (seen.overdue, seen.undelivered) == (2, 1)
    fewer = view([never, served], replicas=1, now=NOW + 3000, is_awaited=awaited.__contains__)
    assert fewer.undelivered == 0, "one of them is going to be removed"


def test_a_late_replica_is_expected_soon_not_in_the_past(view: Any, objects: Any) -> None:
    (late,) = view([objects.pod("a", ready=None)], replicas=1, now=NOW + 600).starting
    assert late.expected_ready_seconds == NOW + 601


def test_pods_that_leave_are_draining_and_not_ready(view: Any, objects: Any) -> None:
    seen = view([objects.pod("a"), objects.pod("b", deleting=True)], replicas=1)
    assert (seen.ready, seen.draining, seen.starting) == (1, 1, ())


def test_replicas_beyond_the_wanted_count_are_no_supply(view: Any, objects: Any) -> None:
    seen = view([objects.pod("a"), objects.pod("b"), objects.pod("c", ready=None)], replicas=1)
    assert (seen.ready, seen.starting) == (1, ())


def test_an_order_that_needs_a_node_has_the_longer_lead_time(view: Any) -> None:
    warm, cold = view([], replicas=0), view([], replicas=0, needs_node=True)
    assert warm.lead_time.p90_seconds == 90.0
    assert cold.lead_time.p50_seconds == 300.0
    assert 300.0 < cold.lead_time.p90_seconds < 90.0 + 400.0


def test_the_index_finds_pods_by_all_labels_of_a_selector(objects: Any) -> None:
    bodies = [objects.pod("a"), objects.pod("b", labels={"app": "chat", "role": "x"}), objects.pod("c", labels={})]
    pods: list[PodRecord] = [record for body in bodies if (record := parse_pod(body)) is not None]
    index = PodIndex(pods)
    assert [pod.name for pod in index.matching(Selector({"app": "chat"}))] == ["a", "b"]
    assert [pod.name for pod in index.matching(Selector({"app": "chat", "role": "x"}))] == ["b"]
    assert index.matching(Selector({"app": "other"})) == []
    assert index.matching(Selector()) == []
