"""Labels of namespaces, which a FleetPolicy's rules select by: listed when needed, and again once in a while."""

import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from forebay.actuation.kube import METADATA_LIST, ApiError, KubeApi
from forebay.api.grants import NAME_LABEL
from forebay.api.v1alpha1.fleetpolicy import FleetPolicy

logger = logging.getLogger(__name__)

Labels = Mapping[str, Mapping[str, str]]
"""By namespace."""


@dataclass(slots=True, kw_only=True)
class NamespaceLabels:
    """Lists namespaces: when one is new, and again once per ``resync_seconds``.

    Args:
        api: the client.
        resync_seconds: how old the labels may be.
        clock: monotonic seconds.
    """

    api: KubeApi
    resync_seconds: float
    clock: Callable[[], float]
    _labels: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _listed_seconds: float | None = None

    async def read(self, policy: FleetPolicy | None, namespaces: AbstractSet[str]) -> Labels:
        """Return the labels of these namespaces, as far as the policy selects by more than names.

        What cannot be read keeps its last labels. A namespace that was never read fits no rule that selects by
        labels.
        """
        if policy is None or not _selects_by_labels(policy):
            return {}
        old = self._listed_seconds is None or self.clock() - self._listed_seconds >= self.resync_seconds
        if old or (not namespaces <= self._labels.keys() and self.clock() - (self._listed_seconds or 0.0) >= 1.0):
            await self._list()
        return {name: self._labels[name] for name in namespaces if name in self._labels}

    async def _list(self) -> None:
        self._listed_seconds = self.clock()
        try:
            # Any version will do: labels change rarely, and the API server answers this from its own cache.
            found = await self.api.get("/api/v1/namespaces", params={"resourceVersion": "0"}, accept=METADATA_LIST)
        except ApiError as error:
            logger.warning("the labels of namespaces, which a FleetPolicy selects by, were not read: %s", error)
            return
        self._labels = {
            str(item["metadata"]["name"]): item["metadata"].get("labels") or {}
            for item in found.get("items") or ()
        }


def _selects_by_labels(policy: FleetPolicy) -> bool:
    return any(rule.namespace_selector.match_labels.keys() - {NAME_LABEL} for rule in policy.spec.tenants)
