"""Who else sets the replicas of a target: found, reported, never fought.

Two controllers on one number make it oscillate. An HPA or a KEDA ScaledObject on the target always wins; a
change of `replicas` by any other writer after ours is respected for a while, so that a person on call can take
over a target by `kubectl scale` and a GitOps tool that keeps writing is noticed rather than raced.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from forebay.actuation.kube import FIELD_MANAGER
from forebay.actuation.targets import TargetRef


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
        {
            f"{other.kind} {other.name}"
            for other in autoscalers
            if (other.target.namespace, other.target.kind, other.target.name)
            == (target.namespace, target.kind, target.name)
            and group_of(other.target.api_version) == group_of(target.api_version)
        }
    )
    if not found:
        return None
    return f"{' and '.join(found)} also scales {target.kind} {target.name}: delete it, or take the variant out."


def replica_owner(managed_fields: Iterable[dict[str, Any]]) -> str | None:
    """Return who set `spec.replicas` to its present value, by an object's `managedFields`; None if nobody did.

    A write that changes the value takes the field from everybody else. Entries that came through `/scale` carry no
    time, those of other ways do: without a time is newest.
    """
    owners = [
        (parse_time(entry.get("time")) or math.inf, str(entry.get("manager", "unknown")))
        for entry in managed_fields
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    if any(manager == FIELD_MANAGER for _, manager in owners):
        return FIELD_MANAGER
    return max(owners)[1] if owners else None


def writer_conflict(
    target: TargetRef,
    *,
    replicas: int,
    owner: str | None,
    last_written: int,
    since_seconds: float,
    now_seconds: float,
    window_seconds: float,
) -> str | None:
    """Return a sentence if somebody else changed what we wrote last, less than a window ago.

    Args:
        target: whose replicas.
        replicas: the count now.
        owner: who set it.
        last_written: the count that we wrote last.
        since_seconds: when this owner's count was first seen, Unix seconds.
        now_seconds: Unix seconds.
        window_seconds: how long it is left alone.
    """
    if owner is None or owner == FIELD_MANAGER or replicas == last_written:
        return None
    end = since_seconds + window_seconds
    if now_seconds >= end:
        return None
    return (
        f"{owner} set {target.kind} {target.name} to {replicas} replicas (Forebay wanted {last_written}); "
        f"left alone until {_clock_time(end)}."
    )


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
