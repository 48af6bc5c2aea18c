"""Replicas that are groups of pods: one record for each group, Ready when all its pods are."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from forebay.runtime.watch.records import PodRecord


def replicas_of_groups(pods: Iterable[PodRecord], *, label: str, size: int) -> list[PodRecord]:
    """Return one record for each group of pods: those that share the value of ``label``.

    Args:
        pods: of one workload.
        label: that all pods of one group share.
        size: pods of a whole group.
    """
    groups: dict[str, list[PodRecord]] = defaultdict(list)
    for pod in pods:
        groups[pod.labels.get(label, "")].append(pod)
    return [_as_one(members, size) for members in groups.values()]


def _as_one(pods: Sequence[PodRecord], size: int) -> PodRecord:
    """Return a group as one record: it has what all its pods have, and waits for what any of them waits for."""
    alive = [pod for pod in pods if not pod.terminating]
    members = sorted(alive or pods, key=lambda pod: pod.name)
    complete = len(members) >= size
    scheduled = [pod.scheduled_seconds for pod in members if pod.scheduled_seconds is not None]
    unready = [pod.unready_seconds for pod in members if pod.unready_seconds is not None]
    ready = [pod.ready_seconds for pod in members if pod.ready_seconds is not None]
    return replace(
        members[0],
        gpus=sum(pod.gpus for pod in members),
        created_seconds=min(pod.created_seconds for pod in members),
        scheduled_seconds=max(scheduled) if complete and len(scheduled) == len(members) else None,
        ready_seconds=max(ready) if complete and len(ready) == len(members) else None,
        unready_seconds=max(unready, default=None),
        unschedulable=any(pod.unschedulable for pod in members),
        gated=any(pod.gated for pod in members),
        terminating=not alive,
        restarts=sum(pod.restarts for pod in members),
    )
