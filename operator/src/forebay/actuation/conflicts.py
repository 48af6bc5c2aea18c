"""Who else sets the replicas of a target: found, reported, never fought.

Two controllers on one number make it oscillate. An HPA or a KEDA ScaledObject on the target always wins; a
change of `replicas` by any other writer after ours is respected for a while, so that a person on call can take
over a target by `kubectl scale` and a GitOps tool that keeps writing is noticed rather than raced.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from forebay.actuation.kube import FIELD_MANAGER
from forebay.actuation.targets import TargetRef


@dataclass(frozen=True, slots=True)
class ReplicaWriter:
    """Who last set a target's replicas, and when (Unix seconds)."""

    manager: str
    at_seconds: float


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """An HPA or ScaledObject and the object that it scales."""

    kind: str
    name: str
    target: TargetRef


def autoscaler_conflict(target: TargetRef, autoscalers: Iterable[Autoscaler]) -> str | None:
    """Return a sentence naming the autoscalers on `target`, or None.

    The version of the API group is ignored: `apps/v1` and `apps/v1beta2` name one Deployment.
    """
    found = sorted(
        f"{other.kind} {other.name}"
        for other in autoscalers
        if (other.target.namespace, other.target.kind, other.target.name)
        == (target.namespace, target.kind, target.name)
        and group_of(other.target.api_version) == group_of(target.api_version)
    )
    if not found:
        return None
    return f"{' and '.join(found)} also scales {target.kind} {target.name}: delete it, or take the variant out."


def writer_conflict(
    target: TargetRef,
    *,
    replicas: int,
    writer: ReplicaWriter | None,
    last_written: int | None,
    last_written_seconds: float | None,
    now_seconds: float,
    window_seconds: float,
) -> str | None:
    """Return a sentence if somebody else changed `replicas` after our last write and less than a window ago.

    Before our first write nobody can be in conflict with us. API timestamps are whole seconds, so a change within
    the second of our own write counts as later than it.
    """
    if writer is None or writer.manager == FIELD_MANAGER or last_written is None or last_written_seconds is None:
        return None
    if replicas == last_written or writer.at_seconds + 1.0 < last_written_seconds:
        return None
    left = window_seconds - (now_seconds - writer.at_seconds)
    if left <= 0:
        return None
    return (
        f"{writer.manager} set {target.kind} {target.name} to {replicas} replicas (Forebay wanted "
        f"{last_written}); left alone until {_clock_time(writer.at_seconds + window_seconds)}."
    )


def last_replica_writer(managed_fields: Iterable[dict[str, Any]]) -> ReplicaWriter | None:
    """Return who owns `spec.replicas` by an object's `managedFields`: the most recent, or None if nobody does."""
    writers = [
        ReplicaWriter(str(entry.get("manager", "unknown")), parse_time(entry.get("time")) or 0.0)
        for entry in managed_fields
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return max(writers, key=lambda writer: writer.at_seconds, default=None)


def parse_time(value: object) -> float | None:
    """Return an RFC 3339 time as Unix seconds; None where there is none or it cannot be read."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def group_of(api_version: str) -> str:
    """Return the group of an apiVersion; "" for the core group."""
    return api_version.rpartition("/")[0]


def _clock_time(unix_seconds: float) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, tz=UTC):%H:%M:%S} UTC"
