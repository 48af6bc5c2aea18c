"""Whether a workload is between two revisions, and whether it gets on."""

from collections.abc import Sequence

from forebay.flow.kinds import WorkloadKind
from forebay.flow.observation import Rollout
from forebay.runtime.watch.records import PodRecord
from forebay.runtime.watch.workloads import WorkloadRecord

_NEVER_BY_ITSELF = ("ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "CreateContainer")
_CRASHES = 3
"""Restarts after which a pod that is not Ready counts as crashing."""


def rollout_of(
    workload: WorkloadRecord, row: WorkloadKind | None, pods: Sequence[PodRecord], *, overdue: int
) -> Rollout | None:
    """Return the rollout that a workload is in, or ``None``.

    Args:
        workload: the scale target.
        row: of its kind.
        pods: its living pods.
        overdue: replicas that should have been Ready long ago.
    """
    name, controller = f"{workload.target.kind} {workload.target.name}", workload.controller
    if controller.failure:
        message = f"{name} cannot have all its replicas ({controller.failure}): nothing of it is released"
        return Rollout(message, stuck=True, full=True)
    if controller.updating or _revisions(row, pods) > 1:
        return _of_two_revisions(workload, name, pods, overdue=overdue)
    if controller.paused:
        return Rollout(f"{name} is paused: nothing of it is released until it is resumed")
    return None


def trouble_of(pods: Sequence[PodRecord]) -> str:
    """Return why a pod will not become Ready by itself, in words; "" if none says so."""
    for pod in pods:
        if not pod.ready and (pod.trouble.startswith(_NEVER_BY_ITSELF) or pod.restarts >= _CRASHES):
            why = pod.trouble or f"its container was restarted {pod.restarts} times"
            return f"pod {pod.name} does not become Ready: {why}"
    return ""


def _of_two_revisions(workload: WorkloadRecord, name: str, pods: Sequence[PodRecord], *, overdue: int) -> Rollout:
    controller = workload.controller
    why = trouble_of(pods) or controller.stalled
    if not why and overdue:
        why = f"{overdue} of its replicas did not become Ready in time"
    if not why and controller.paused:
        why = "it is paused"
    if why:
        advice = "nothing of it is released until the rollout ends; mend it or undo it"
        return Rollout(f"the rollout of {name} does not get on: {why}; {advice}", stuck=True)
    return Rollout(f"{name} is being rolled out: nothing of it is released until the rollout ends")


def _revisions(row: WorkloadKind | None, pods: Sequence[PodRecord]) -> int:
    if row is None or row.revision_label is None:
        return 0
    return len({revision for pod in pods if (revision := pod.labels.get(row.revision_label)) is not None})
