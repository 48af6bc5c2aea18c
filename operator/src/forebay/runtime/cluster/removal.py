"""Which replica goes when a count is lowered: the order of each kind's controller, as far as it can be known."""

from collections.abc import Callable, Sequence

from forebay.flow.kinds import RemovalOrder, WorkloadKind
from forebay.flow.observation import Standing
from forebay.runtime.watch.records import PodRecord

_WORST_FIRST = (Standing.READY, Standing.STARTING, Standing.LOST)


def first_to_go(pods: Sequence[PodRecord], row: WorkloadKind | None) -> list[PodRecord]:
    """Return a workload's living pods in the order in which its controller removes those that are too many."""
    if row is not None and row.removal is RemovalOrder.HIGHEST_ORDINAL:
        return sorted(pods, key=lambda pod: ordinal(pod, row), reverse=True)
    return sorted(pods, key=_as_a_replica_set)


def standings_in_order(
    pods: Sequence[PodRecord],
    unborn: Sequence[Standing],
    *,
    row: WorkloadKind | None,
    standing: Callable[[PodRecord], Standing],
) -> tuple[Standing, ...]:
    """Return where each replica stands, in the order in which a lower count removes them.

    Args:
        pods: that stay at the present count, in the order of ``first_to_go``.
        unborn: replicas that have no pod yet.
        row: of the workload's kind; without one the order is not known, and the worst is assumed.
        standing: of a pod.
    """
    there = [standing(pod) for pod in pods]
    if row is None or row.removal is RemovalOrder.UNKNOWN:
        return tuple(sorted((*there, *unborn), key=_WORST_FIRST.index))
    if row.removal is RemovalOrder.REPLICA_SET:
        return (*unborn, *there)
    taken = {ordinal(pod, row): where for pod, where in zip(pods, there, strict=True)}
    missing = iter(unborn)
    ordered: list[Standing] = []
    number = max([len(pods) + len(unborn) - 1, *taken])
    while number >= 0 and len(ordered) < len(pods) + len(unborn):
        where = taken.get(number)
        where = next(missing, None) if where is None else where
        if where is not None:
            ordered.append(where)
        number -= 1
    return tuple(ordered)


def ordinal(pod: PodRecord, row: WorkloadKind) -> int:
    """Return a replica's ordinal, by its label or else by its name."""
    told = pod.labels.get(row.ordinal_label or "", "") or pod.name.rpartition("-")[2]
    return int(told) if told.isdecimal() else 0


def _as_a_replica_set(pod: PodRecord) -> tuple[bool, bool, int, float, int, float]:
    """Return by what a ReplicaSet sorts its pods: what has least to lose goes first."""
    ready_since = pod.ready_seconds or 0.0
    return (
        pod.node is not None,
        pod.ready,
        pod.deletion_cost,
        -ready_since,
        -pod.restarts,
        -pod.created_seconds,
    )
