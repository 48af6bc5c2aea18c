"""Replicas of one variant as they are: ready, starting with the time they will be ready, draining."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from forebay.flow.kinds import WorkloadKind
from forebay.flow.observation import Standing, StartingReplica
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.removal import first_to_go, standings_in_order
from forebay.runtime.watch.records import PodRecord
from forebay.runtime.watch.selectors import Selector
from forebay.runtime.watch.workloads import WorkloadRecord

_FAILURE_PATIENCE_SECONDS = 60.0
"""How long a controller may fail to create replicas before they are given up: a webhook may be restarting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantLeadTimes:
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

    desired: int
    """The count of the target, without those that are parked."""
    ready: int
    starting: tuple[StartingReplica, ...]
    parked: tuple[PodRecord, ...]
    """Replicas out of traffic, which are among no others."""
    draining: int
    going: int
    """Replicas on nodes that are taken away."""
    overdue: int
    """Replicas past their deadline: no supply any more."""
    overdue_for_nodes: int
    """Of the overdue ones, those that the scheduler cannot place: the others have their node, and fail on it."""
    undelivered: int
    """Of the overdue ones, those that were ordered and never came: the others served once, and failed."""
    gated: int
    """Replicas that a quota system has not admitted."""
    unborn: int
    """Replicas that have no pod."""
    alive: tuple[PodRecord, ...]
    removal: tuple[Standing, ...] | None
    """As in ``VariantObservation``."""
    existing: int
    """Replicas with pods in any state, those that a rollout adds included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Until when a replica that is not Ready is on its way."""

    lead_times: VariantLeadTimes
    now_seconds: float
    shortest_seconds: float
    """A replica is given up after this, or its 99th percentile if that is longer."""

    def passed(self, since_seconds: float, *, needs_node: bool) -> bool:
        """Return whether a replica that was ordered then is overdue."""
        p99_seconds = self.lead_times.total(needs_node=needs_node).p99_seconds
        return self.now_seconds - since_seconds > max(self.shortest_seconds, p99_seconds)


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
    row: WorkloadKind | None,
    deadlines: Deadlines,
    is_awaited: Callable[[str], bool],
    ordered_seconds: Callable[[PodRecord], float],
    unborn_since: Callable[[int], Sequence[float]],
    needs_node: bool,
    going_nodes: AbstractSet[str] = frozenset(),
) -> ReplicaView:
    """Return the replicas of a workload.

    Args:
        workload: the scale target.
        pods: its unfinished pods, one for each replica (``groups`` makes one of a group's pods).
        row: of the workload's kind, where that is known.
        deadlines: of its variant.
        is_awaited: whether a pod, by uid, was never Ready since it was ordered.
        ordered_seconds: since when a pod is on its way: its creation, or its admission by a quota system.
        unborn_since: since when each of so many replicas without a pod is awaited.
        needs_node: a replica ordered now would wait for a new node.
        going_nodes: nodes that are taken away: replicas on them serve, and are no supply any more.
    """
    alive = first_to_go([pod for pod in pods if not pod.terminating], row)
    # Pods beyond the wanted count are going to be removed: they are neither capacity nor overdue.
    staying = alive[max(0, len(alive) - workload.replicas) :]
    parked = [pod for pod in staying if pod.parked_seconds is not None]
    staying = [pod for pod in staying if pod.parked_seconds is None]
    desired = workload.replicas - len(parked)
    going = {pod.uid for pod in staying if pod.node in going_nodes}
    waiting = [pod for pod in staying if not pod.ready and not pod.gated and pod.uid not in going]
    late = {pod.uid for pod in waiting if _is_late(pod, is_awaited(pod.uid), ordered_seconds(pod), deadlines)}
    awaited = unborn_since(max(0, workload.replicas - len(alive)))
    lead_time = deadlines.lead_times.total(needs_node=needs_node)
    unborn = [_Unborn(since, _will_not_come(workload, since, deadlines, needs_node)) for since in awaited]

    def standing(pod: PodRecord) -> Standing:
        if pod.uid in going:
            return Standing.LOST
        if pod.ready:
            return Standing.READY
        return Standing.LOST if pod.gated or pod.uid in late else Standing.STARTING

    starting = [_starting(pod, ordered_seconds(pod), deadlines) for pod in waiting if pod.uid not in late]
    starting += [
        StartingReplica(
            item.since_seconds, max(item.since_seconds + lead_time.p90_seconds, deadlines.now_seconds + 1)
        )
        for item in unborn
        if not item.lost
    ]
    ready = sum(pod.ready and pod.uid not in going for pod in staying)
    lost_unborn = sum(item.lost for item in unborn)
    return ReplicaView(
        desired=desired,
        ready=ready,
        parked=tuple(parked),
        starting=tuple(sorted(starting, key=lambda replica: replica.expected_ready_seconds)),
        draining=sum(pod.terminating for pod in pods),
        going=len(going),
        overdue=len(late) + lost_unborn,
        overdue_for_nodes=sum(pod.uid in late and pod.unschedulable and pod.gpus > 0 for pod in waiting),
        undelivered=sum(pod.uid in late and is_awaited(pod.uid) for pod in waiting) + lost_unborn,
        gated=sum(pod.gated for pod in staying),
        unborn=len(unborn),
        alive=tuple(alive),
        removal=None
        if ready == desired
        else standings_in_order(
            staying,
            [Standing.LOST if item.lost else Standing.STARTING for item in unborn],
            row=row,
            standing=standing,
        ),
        existing=len(pods),
    )


def _is_late(pod: PodRecord, awaited: bool, ordered_seconds: float, deadlines: Deadlines) -> bool:
    """Whether a pod that is not Ready counts no more. One that served has the time of a start-up to come back."""
    if not deadlines.passed(ordered_seconds, needs_node=pod.unschedulable):
        return False
    if awaited or pod.unready_seconds is None:
        return True
    back_seconds = deadlines.lead_times.start_up.p99_seconds
    return deadlines.now_seconds - pod.unready_seconds > back_seconds


@dataclass(frozen=True, slots=True)
class _Unborn:
    """A replica without a pod."""

    since_seconds: float
    lost: bool


def _will_not_come(workload: WorkloadRecord, since_seconds: float, deadlines: Deadlines, needs_node: bool) -> bool:
    """Whether a replica without a pod is overdue, or its controller has failed to make it for a while."""
    failing = workload.controller.failing_since_seconds
    if failing is not None and deadlines.now_seconds - max(failing, since_seconds) > _FAILURE_PATIENCE_SECONDS:
        return True
    return deadlines.passed(since_seconds, needs_node=needs_node)


def _starting(pod: PodRecord, ordered_seconds: float, deadlines: Deadlines) -> StartingReplica:
    lead_times = deadlines.lead_times
    if pod.scheduled_seconds is not None:
        expected = pod.scheduled_seconds + lead_times.start_up.p90_seconds
    else:
        expected = ordered_seconds + lead_times.total(needs_node=pod.unschedulable).p90_seconds
    return StartingReplica(
        ordered_seconds, max(expected, deadlines.now_seconds + 1.0), unschedulable=pod.unschedulable
    )


def _together(one: LeadTimeQuantiles, other: LeadTimeQuantiles, quantile: str) -> float:
    return math.hypot(
        getattr(one, quantile) - one.p50_seconds,
        getattr(other, quantile) - other.p50_seconds,
    )
