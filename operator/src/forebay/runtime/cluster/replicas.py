"""Replicas of one variant as they are: ready, starting with the time they will be ready, draining."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from forebay.flow.observation import StartingReplica
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.watch.records import PodRecord, WorkloadRecord
from forebay.runtime.watch.selectors import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadTimes:
    """How long a variant's pod takes on a warm node, and how long a new node takes before that."""

    start_up: LeadTimeQuantiles
    node: LeadTimeQuantiles

    def total(self, *, needs_node: bool) -> LeadTimeQuantiles:
        """Return the quantiles from order to ready.

        The phases are taken as independent: medians add up, distances to the median add up in squares.
        """
        if not needs_node:
            return self.start_up
        p50 = self.start_up.p50_seconds + self.node.p50_seconds
        return LeadTimeQuantiles(
            p50_seconds=p50,
            p90_seconds=p50 + _together(self.start_up, self.node, "p90_seconds"),
            p99_seconds=p50 + _together(self.start_up, self.node, "p99_seconds"),
            observed=min(self.start_up.observed, self.node.observed),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """What the cluster shows of one variant's replicas."""

    ready: int
    starting: tuple[StartingReplica, ...]
    draining: int
    overdue: int
    """Replicas past their deadline: no supply any more."""
    overdue_for_nodes: int
    """Of the overdue ones, those that the scheduler cannot place: the others have their node, and fail on it."""
    undelivered: int
    """Of the overdue ones, those that were ordered and never came: the others served once, and failed."""
    waiting_for_quota: int
    lead_time: LeadTimeQuantiles


class PodIndex:
    """Finds the pods of many selectors in one namespace without looking at every pod for each."""

    def __init__(self, pods: Iterable[PodRecord]) -> None:
        self._by_label: dict[tuple[str, str], list[PodRecord]] = defaultdict(list)
        self._all = list(pods)
        for pod in self._all:
            for pair in pod.labels.items():
                self._by_label[pair].append(pod)

    def matching(self, selector: Selector) -> list[PodRecord]:
        """Return the pods of a selector; none for an empty one, which would mean all."""
        if selector.labels:
            candidates = min((self._by_label.get(pair, []) for pair in selector.labels.items()), key=len)
        else:
            candidates = self._all if selector else []
        return [pod for pod in candidates if selector.matches(pod.labels)]


def view_replicas(
    workload: WorkloadRecord,
    pods: Sequence[PodRecord],
    *,
    lead_times: LeadTimes,
    is_awaited: Callable[[str], bool],
    needs_node: bool,
    now_seconds: float,
    shortest_deadline_seconds: float,
) -> ReplicaView:
    """Return the replicas of a workload.

    Args:
        workload: the scale target.
        pods: its unfinished pods, one for each replica (``groups`` makes one of a group's pods).
        lead_times: of its variant.
        is_awaited: whether a pod, by uid, was never Ready since it was ordered.
        needs_node: a replica ordered now would wait for a new node.
        now_seconds: Unix time.
        shortest_deadline_seconds: a replica is given up after this, or its 99th percentile if that is longer.
    """
    alive = [pod for pod in pods if not pod.terminating]
    starting: list[StartingReplica] = []
    overdue = overdue_for_nodes = undelivered = waiting_for_quota = 0
    for pod in alive:
        if pod.ready:
            continue
        waiting_for_quota += pod.gated
        total = lead_times.total(needs_node=pod.unschedulable)
        if now_seconds - pod.created_seconds > max(shortest_deadline_seconds, total.p99_seconds):
            overdue += 1
            overdue_for_nodes += pod.unschedulable
            undelivered += is_awaited(pod.uid)
        else:
            starting.append(_starting(pod, lead_times, now_seconds))
    lead_time = lead_times.total(needs_node=needs_node)
    # Ordered, but the workload's controller has not made the pods yet.
    unborn = max(0, workload.replicas - len(alive))
    starting += [
        StartingReplica(now_seconds, now_seconds + lead_time.p90_seconds, unschedulable=False)
        for _ in range(unborn)
    ]
    ready = sum(pod.ready for pod in alive)
    surplus = max(0, len(alive) - workload.replicas)
    # Pods beyond the wanted count are going to be removed, the unready ones first.
    starting = sorted(starting, key=lambda replica: replica.expected_ready_seconds)
    starting = starting[: max(0, len(starting) - surplus)]
    return ReplicaView(
        ready=min(ready, workload.replicas),
        starting=tuple(starting),
        draining=sum(pod.terminating for pod in pods),
        overdue=overdue,
        overdue_for_nodes=overdue_for_nodes,
        # Pods beyond the wanted count are going to be removed, and are not waited for.
        undelivered=max(0, undelivered - surplus),
        waiting_for_quota=waiting_for_quota,
        lead_time=lead_time,
    )


def _starting(pod: PodRecord, lead_times: LeadTimes, now_seconds: float) -> StartingReplica:
    if pod.scheduled_seconds is not None:
        expected = pod.scheduled_seconds + lead_times.start_up.p90_seconds
    else:
        expected = pod.created_seconds + lead_times.total(needs_node=pod.unschedulable).p90_seconds
    return StartingReplica(pod.created_seconds, max(expected, now_seconds + 1.0), unschedulable=pod.unschedulable)


def _together(one: LeadTimeQuantiles, other: LeadTimeQuantiles, quantile: str) -> float:
    return math.hypot(
        getattr(one, quantile) - one.p50_seconds,
        getattr(other, quantile) - other.p50_seconds,
    )
