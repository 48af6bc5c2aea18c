"""Replicas: what serves, what will, until when it counts, and what is given up."""

from collections.abc import Collection
from typing import Any

import pytest

from forebay.flow.kinds import BY_KIND
from forebay.flow.observation import Standing
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.removal import first_to_go
from forebay.runtime.cluster.replicas import Deadlines, PodIndex, ReplicaView, VariantLeadTimes, view_replicas
from forebay.runtime.watch.records import PodRecord, parse_pod
from forebay.runtime.watch.selectors import Selector
from forebay.runtime.watch.workloads import parse_workload

NOW = 1_795_132_800.0
LEAD_TIMES = VariantLeadTimes(
    start_up=LeadTimeQuantiles(60.0, 90.0, 150.0, 5), node=LeadTimeQuantiles(240.0, 400.0, 700.0, 5)
)


DEPLOYMENT = BY_KIND["Deployment"]


@pytest.fixture
def view(objects: Any) -> Any:
    def make(
        pods: list[Any],
        *,
        replicas: int,
        now: float = NOW + 30,
        kind: str = "Deployment",
        status: dict[str, Any] | None = None,
        unborn_since: float | None = None,
        awaited: Collection[str] = (),
        needs_node: bool = False,
        going_nodes: Collection[str] = (),
    ) -> ReplicaView:
        records = [record for body in pods if (record := parse_pod(body)) is not None]
        body = objects.deployment("chat", replicas) | {"status": status or {}}
        since = now if unborn_since is None else unborn_since
        return view_replicas(
            parse_workload(DEPLOYMENT, body),
            records,
            row=BY_KIND[kind],
            deadlines=Deadlines(lead_times=LEAD_TIMES, now_seconds=now, shortest_seconds=900.0),
            is_awaited=frozenset(awaited).__contains__,
            ordered_seconds=lambda pod: pod.created_seconds,
            unborn_since=lambda count: (since,) * count,
            needs_node=needs_node,
            going_nodes=frozenset(going_nodes),
        )

    return make


def test_ready_starting_and_unborn_are_told_apart(view: Any, objects: Any) -> None:
    seen = view([objects.pod("a"), objects.pod("b", ready=None)], replicas=3)
    assert seen.ready == 1
    assert [replica.unschedulable for replica in seen.starting] == [False, False]
    ends = [replica.expected_ready_seconds for replica in seen.starting]
    assert ends == [NOW + 1 + 90.0, NOW + 30 + 90.0]


def test_a_replica_on_a_node_that_is_taken_away_serves_and_is_no_supply(view: Any, objects: Any) -> None:
    """Protects spot pools: the replacement is ordered at the notice, minutes before the replica is gone."""
    pods = [objects.pod("a", node="kept"), objects.pod("b", node="taken")]
    seen = view(pods, replicas=2, going_nodes=["taken"])
    assert (seen.ready, seen.going, seen.overdue, seen.undelivered) == (1, 1, 0, 0)
    assert sorted(seen.removal) == sorted((Standing.LOST, Standing.READY))


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
    seen = view([never, served], replicas=2, now=NOW + 3000, awaited=awaited)
    assert (seen.overdue, seen.undelivered) == (2, 1)
    fewer = view([never, served], replicas=1, now=NOW + 3000, awaited=awaited)
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


def test_a_surge_pod_that_finds_no_node_is_neither_overdue_nor_an_order(view: Any, objects: Any) -> None:
    """Protects: a rollout's extra pod without a GPU blocked its node pool for every pool of the fleet."""
    pods = [*(objects.pod(name) for name in "abcd"), objects.pod("surge", scheduled=None, ready=None)]
    seen = view(pods, replicas=4, now=NOW + 3600, awaited=["uid-surge"])
    assert (seen.ready, seen.overdue, seen.overdue_for_nodes, seen.undelivered) == (4, 0, 0, 0)


QUOTA = {
    "conditions": [
        {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": "exceeded quota: gpus",
            "lastTransitionTime": "2026-11-20T00:00:00Z",
        }
    ]
}


def test_replicas_without_a_pod_are_overdue_after_their_deadline(view: Any, objects: Any) -> None:
    """Protects: 26 replicas that a quota forbade were "ordered 0 s ago" for eleven hours."""
    on_time = view([objects.pod("a")], replicas=3, now=NOW + 600, unborn_since=NOW)
    assert ([item.ordered_seconds for item in on_time.starting], on_time.overdue) == ([NOW, NOW], 0)
    late = view([objects.pod("a")], replicas=3, now=NOW + 1000, unborn_since=NOW)
    assert (late.starting, late.overdue, late.undelivered) == ((), 2, 2)


def test_replicas_that_cannot_be_created_are_given_up_soon(view: Any, objects: Any) -> None:
    seen = view([objects.pod("a")], replicas=3, now=NOW + 30, unborn_since=NOW, status=QUOTA)
    assert len(seen.starting) == 2, "a webhook may be restarting"
    seen = view([objects.pod("a")], replicas=3, now=NOW + 90, unborn_since=NOW, status=QUOTA)
    assert (seen.starting, seen.undelivered) == ((), 2)


def test_replicas_that_wait_for_a_quota_are_neither_starting_nor_overdue(view: Any, objects: Any) -> None:
    gated = objects.pod("b", scheduled=None, ready=None)
    gated["status"]["conditions"][0]["reason"] = "SchedulingGated"
    seen = view([objects.pod("a"), gated], replicas=2, now=NOW + 9000)
    assert (seen.ready, seen.starting, seen.overdue, seen.gated) == (1, (), 0, 1)


R, S, L = Standing.READY, Standing.STARTING, Standing.LOST


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("Deployment", (L, R, R, R)),
        ("StatefulSet", (R, R, R, L)),
        ("RoleBasedGroupScalingAdapter", (R, R, R, L)),
    ],
)
def test_what_a_lower_count_removes_depends_on_the_kind(
    view: Any, objects: Any, kind: str, order: tuple[Standing, ...]
) -> None:
    """Protects: a release counted on the dead replica to go, and a StatefulSet removes its highest ordinal."""
    pods = [objects.pod("chat-0", ready=None), *(objects.pod(f"chat-{number}") for number in (1, 2, 3))]
    assert view(pods, replicas=4, now=NOW + 3600, kind=kind).removal == order


def test_a_replica_without_a_pod_stands_at_its_ordinal(view: Any, objects: Any) -> None:
    pods = [objects.pod(f"chat-{number}") for number in (0, 2)]
    assert view(pods, replicas=3, kind="StatefulSet").removal == (R, S, R)
    assert view(pods, replicas=3).removal == (S, R, R)


def test_a_replica_set_removes_what_is_cheapest_to_lose_then_the_youngest(objects: Any) -> None:
    bodies = [
        objects.pod("old"),
        objects.pod("young", ready="2026-11-20T00:01:00Z"),
        objects.pod("starting", ready=None),
        objects.pod("pending", scheduled=None, ready=None),
        objects.pod("cheap"),
    ]
    bodies[-1]["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    pods = [pod for body in bodies if (pod := parse_pod(body)) is not None]
    order = [pod.name for pod in first_to_go(pods, DEPLOYMENT)]
    assert order == ["pending", "starting", "cheap", "young", "old"]


def test_an_order_that_needs_a_node_has_the_longer_lead_time() -> None:
    warm, cold = LEAD_TIMES.total(needs_node=False), LEAD_TIMES.total(needs_node=True)
    assert warm.p90_seconds == 90.0
    assert cold.p50_seconds == 300.0
    assert 300.0 < cold.p90_seconds < 90.0 + 400.0


def test_the_index_finds_pods_by_all_labels_of_a_selector(objects: Any) -> None:
    bodies = [objects.pod("a"), objects.pod("b", labels={"app": "chat", "role": "x"}), objects.pod("c", labels={})]
    pods: list[PodRecord] = [record for body in bodies if (record := parse_pod(body)) is not None]
    index = PodIndex(pods)
    assert [pod.name for pod in index.matching(Selector({"app": "chat"}))] == ["a", "b"]
    assert [pod.name for pod in index.matching(Selector({"app": "chat", "role": "x"}))] == ["b"]
    assert index.matching(Selector({"app": "other"})) == []
    assert index.matching(Selector()) == []


def test_a_replica_that_served_has_the_time_of_a_start_to_come_back(view: Any, objects: Any) -> None:
    """Protects: one failed probe made an old replica no supply in the same round."""
    flapping = objects.pod("a", ready=None)
    flapping["status"]["conditions"][1]["lastTransitionTime"] = "2026-11-20T02:00:00Z"
    seen = view([flapping], replicas=1, now=NOW + 7260)
    assert (len(seen.starting), seen.overdue) == (1, 0)
    seen = view([flapping], replicas=1, now=NOW + 7400)
    assert (len(seen.starting), seen.overdue, seen.undelivered) == (0, 1, 0)
