"""Who else sets the replicas of a target, read from the object itself.

Two controllers on one number make it oscillate, so an HPA or a KEDA ScaledObject on the target always wins. Other
writers are told apart by how they wrote: through `/scale` somebody decided; in a manifest it is a by-product.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from forebay.actuation.kube import FIELD_MANAGER
from forebay.actuation.targets import TargetRef

_HANDS = frozenset({"kubectl-edit", "kubectl-patch", "Mozilla", "rancher", "k9s"})
"""Field managers of people who change one object."""


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


class Way(Enum):
    """How a writer set a count."""

    DECISION = "decision"
    """On purpose: through `/scale`, or by a person's edit."""
    MANIFEST = "manifest"
    """As a part of the whole object: applied, or updated by the object's owner."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who set the replicas of a target to their present value, and how."""

    manager: str
    way: Way

    @property
    def is_forebay(self) -> bool:
        """Whether it is a release of Forebay, this one or another."""
        return self.manager.partition(":")[0] == FIELD_MANAGER


def replica_writers(managed_fields: Iterable[dict[str, Any]]) -> tuple[Writer, ...]:
    """Return who set `spec.replicas` to its present value, by an object's `managedFields`, the newest first.

    A write that changes the value takes the field from everybody else. Entries that came through `/scale` carry no
    time, those of other ways do: without a time is newest.
    """
    owners = sorted(
        (
            (parse_time(entry.get("time")) or math.inf, str(entry.get("manager", "unknown")), _way(entry))
            for entry in managed_fields
            if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        ),
        key=lambda owner: owner[:2],
        reverse=True,
    )
    return tuple(Writer(sys.intern(manager), way) for _, manager, way in owners)


def _way(entry: Mapping[str, Any]) -> Way:
    by_hand = entry.get("subresource") == "scale" or entry.get("manager") in _HANDS
    return Way.DECISION if by_hand and entry.get("operation") != "Apply" else Way.MANIFEST


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
