"""Cluster Autoscaler's own word: the state of its node groups, in the ConfigMap that it keeps (1.30 and newer)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from forebay.actuation.conflicts import parse_time
from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.sight import Cause, ProviderSight, Word

PATH = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
#: Error codes of the clouds that mean "none left"; the others are quotas and mistakes.
_SOLD_OUT = ("OutOfResource", "STOCKOUT", "InsufficientInstanceCapacity", "placeholder-cannot-be-fulfilled")


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerGroup:
    """One node group of Cluster Autoscaler."""

    target: int
    most: int
    word: Word | None
    """Why it is backed off."""


def read_status(text: str) -> dict[str, AutoscalerGroup]:
    """Return the node groups by name; nothing where the text is of another form (before 1.30 it was prose)."""
    try:
        status = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    groups = status.get("nodeGroups") if isinstance(status, Mapping) else None
    return {
        str(group["name"]): _group(group)
        for group in groups or ()
        if isinstance(group, Mapping) and "name" in group
    }


def _group(group: Mapping[str, Any]) -> AutoscalerGroup:
    health, scale_up = group.get("health") or {}, group.get("scaleUp") or {}
    word = None
    if scale_up.get("status") == "Backoff":
        backed_off = scale_up.get("backoffInfo") or {}
        code, message = str(backed_off.get("errorCode") or ""), str(backed_off.get("errorMessage") or "")
        word = Word(
            cause=Cause.SOLD_OUT if code.startswith(_SOLD_OUT) else Cause.LAUNCH_FAILED,
            message=f"{code} {message}".strip() or "Cluster Autoscaler backs off.",
            at_seconds=_seconds(scale_up.get("lastTransitionTime")),
        )
    return AutoscalerGroup(
        target=int(health.get("cloudProviderTarget") or 0), most=int(health.get("maxSize") or 0), word=word
    )


def _seconds(value: object) -> float:
    """Return a time as Unix seconds; YAML may have read it as one already."""
    return parse_time(value if isinstance(value, str) else getattr(value, "isoformat", str)()) or 0.0


def sight(groups: Mapping[str, AutoscalerGroup], named: Iterable[str]) -> ProviderSight:
    """Return what Cluster Autoscaler shows of the node groups that make up one node pool."""
    found = {name: groups[name] for name in named if name in groups}
    full = [name for name, group in found.items() if group.target >= group.most]
    return ProviderSight(
        words=tuple(group.word for group in found.values() if group.word is not None),
        launchable=sum(max(0, group.most - group.target) for group in found.values()) if found else None,
        limit=f"Node groups at their maximum size: {', '.join(full)}."
        if found and len(full) == len(found)
        else "",
    )


class ClusterAutoscalerReader:
    """Reads the status of Cluster Autoscaler.

    Args:
        api: a client.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self.problem = ""
        """Why it cannot be read, and what to do."""

    async def read(self) -> dict[str, AutoscalerGroup]:
        """Return its node groups by name.

        Raises:
            ApiError: the API server failed.
        """
        try:
            found = await self._api.get(PATH)
        except ApiError as error:
            if not error.not_found and not error.forbidden:
                raise
            self.problem = (
                "provider.podDriven.nodeGroups cannot be looked up: Cluster Autoscaler's ConfigMap"
                " kube-system/cluster-autoscaler-status "
                + ("may not be read: allow it" if error.forbidden else "does not exist: start it with")
                + (
                    " by rbac.nodeProviders.clusterAutoscaler."
                    if error.forbidden
                    else " --write-status-configmap."
                )
            )
            return {}
        self.problem = ""
        return read_status(str((found.get("data") or {}).get("status") or ""))
