"""Scale targets as the informer keeps them: counts, pods, who set the count, and what their controller says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forebay.actuation.conflicts import Writer, parse_time, replica_writers
from forebay.actuation.targets import TargetRef
from forebay.actuation.victims import SERVING
from forebay.flow.kinds import RemovalOrder, WorkloadKind
from forebay.runtime.watch.records import at_path
from forebay.runtime.watch.selectors import Selector, SelectorError, parse_selector

_POD_SPEC = ("spec", "template", "spec")
_GRACE_SECONDS = 30.0
"""What Kubernetes grants a pod that asks for no other time."""
_LONGEST = 300
"""Of a controller's message that is kept, in letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerState:
    """What a workload's controller says of its own work."""

    current: bool = True
    """It has seen the newest spec."""
    updating: bool = False
    """Replicas of two revisions exist, or will."""
    paused: bool = False
    stalled: str = ""
    """Why a rollout does not get on; "" if it does."""
    failure: str = ""
    """Why replicas cannot be created, such as a quota; "" if they can."""
    failing_since_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRecord:
    """A scale target: counts, its pods' labels and who last set its replicas."""

    target: TargetRef
    uid: str
    resource_version: str
    replicas: int
    is_set: bool = True
    """Whether the object itself has the count; else it is its controller's default."""
    selector: Selector
    """Of its pods; empty where the object has none."""
    writers: tuple[Writer, ...] = ()
    """Who set the replicas to what they are; several where they agree."""
    ready_replicas: int = 0
    """Replicas that are Ready as the object's own status says."""
    group_size: int = 1
    """Pods per replica."""
    parks: bool = False
    """Whether its pods can be taken out of traffic one by one before they go."""
    grace_seconds: float = 30.0
    """How long a pod that is removed may take to finish what it holds."""
    controller: ControllerState = ControllerState()
    problem: str = ""
    """Why it cannot be scaled as it is, as a sentence; "" if it can."""


def parse_workload(row: WorkloadKind, body: Mapping[str, Any]) -> WorkloadRecord:
    """Return the record of a workload of a known kind."""
    metadata = body["metadata"]
    replicas = at_path(body, ("spec", "replicas"))
    return workload_record(
        TargetRef(str(metadata.get("namespace") or ""), row.api_version, row.kind, str(metadata["name"])),
        body,
        row=row,
        replicas=None if replicas is None else int(replicas),
        resource_version=str(metadata.get("resourceVersion") or ""),
        selector=at_path(body, row.selector_path),
    )


def workload_record(
    target: TargetRef,
    body: Mapping[str, Any],
    *,
    row: WorkloadKind | None,
    replicas: int | None,
    resource_version: str,
    selector: object,
) -> WorkloadRecord:
    """Return the record of a scale target.

    Args:
        target: which object it is.
        body: the object.
        row: of its kind, where that is known.
        replicas: its count; None where it does not say.
        resource_version: with which the count was read.
        selector: as the object or its `/scale` writes it.
    """
    metadata, problem, name = body["metadata"], "", f"{target.kind} {target.name}"
    try:
        parsed = parse_selector(selector)
    except (SelectorError, KeyError):
        parsed, problem = Selector(), f"{name} has a selector that cannot be read: {selector}."
    if not parsed and not problem:
        problem = (
            f"{name} does not say which pods are its own: its /scale has no selector, so its replicas cannot be"
            " counted. Wait for its controller to set one, or name another target."
        )
    unset = row.unset_replicas if row is not None else 0
    size = at_path(body, row.group.size_path) if row is not None and row.group is not None else None
    return WorkloadRecord(
        target=target,
        uid=str(metadata["uid"]),
        resource_version=resource_version,
        replicas=unset if replicas is None else replicas,
        is_set=replicas is not None,
        selector=parsed,
        writers=replica_writers(metadata.get("managedFields") or ()),
        ready_replicas=int(at_path(body, ("status", "readyReplicas")) or 0),
        group_size=max(1, int(size)) if size is not None else 1,
        parks=_parks(row, body, parsed),
        grace_seconds=float(at_path(body, (*_POD_SPEC, "terminationGracePeriodSeconds")) or _GRACE_SECONDS),
        controller=controller_state(body),
        problem=problem,
    )


def _parks(row: WorkloadKind | None, body: Mapping[str, Any], selector: Selector) -> bool:
    """Whether the template has the label by which pods are in traffic, and we choose the pods that go.

    A selector that has the label would lose a pod whose label changes, and make another one in its place.
    """
    labels = at_path(body, ("spec", "template", "metadata", "labels")) or {}
    chosen = row is not None and row.removal is RemovalOrder.REPLICA_SET
    return chosen and labels.get(SERVING) == "true" and SERVING not in selector.keys


def controller_state(body: Mapping[str, Any]) -> ControllerState:
    """Return what an object's status says of rollouts and of replicas that could not be created.

    The kinds say it in different fields, and none uses another's for something else: all are read.
    """
    spec, status = body.get("spec") or {}, body.get("status") or {}
    conditions = {
        str(item.get("type")): item for item in status.get("conditions") or () if isinstance(item, Mapping)
    }
    failure = _holding(conditions, "ReplicaFailure", "True")
    return ControllerState(
        current=_number(status.get("observedGeneration"), 0) >= _number(body["metadata"].get("generation"), 0),
        updating=_is_updating(spec, status, conditions),
        paused=spec.get("paused") is True or bool(status.get("pauseConditions")),
        stalled=_stalled(status, conditions),
        failure=_words(failure),
        failing_since_seconds=parse_time((failure or {}).get("lastTransitionTime")),
    )


def _is_updating(spec: Mapping[str, Any], status: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    if _holding(conditions, "UpdateInProgress", "True") is not None:  # LeaderWorkerSet
        return True
    old, new = status.get("currentRevision"), status.get("updateRevision")  # StatefulSet
    if old and new:
        return old != new and not _awaits_a_person(spec, status)
    stable, hash_ = status.get("stableRS"), status.get("currentPodHash")  # Argo Rollout
    if stable and hash_:
        return bool(stable != hash_)
    replicas, updated = status.get("replicas"), status.get("updatedReplicas")
    # A Deployment leaves out a count of zero.
    return "observedGeneration" in status and bool(replicas) and _number(updated, 0) < _number(replicas, 0)


def _awaits_a_person(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether a StatefulSet has updated all that it may: the rest waits for somebody, for as long as they like."""
    strategy = spec.get("updateStrategy") or {}
    partition = _number((strategy.get("rollingUpdate") or {}).get("partition"), 0)
    wanted = max(0, _number(status.get("replicas"), 0) - partition)
    return strategy.get("type") == "OnDelete" or (
        partition > 0 and _number(status.get("updatedReplicas"), 0) >= wanted
    )


def _stalled(status: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    if status.get("phase") == "Degraded":  # Argo Rollout
        return str(status.get("message") or "Degraded")[:_LONGEST]
    progressing = conditions.get("Progressing") or {}
    if progressing.get("reason") != "ProgressDeadlineExceeded":
        return ""
    return _words(progressing)


def _holding(conditions: Mapping[str, Any], name: str, status: str) -> Mapping[str, Any] | None:
    condition = conditions.get(name)
    return condition if condition is not None and condition.get("status") == status else None


def _words(condition: Mapping[str, Any] | None) -> str:
    if condition is None:
        return ""
    return f"{condition.get('reason')}: {condition.get('message')}"[:_LONGEST]


def _number(value: object, default: int) -> int:
    """Return a whole number; Argo writes its observedGeneration as a string."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return default
