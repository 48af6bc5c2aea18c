"""Write statuses: only what changed, and nothing at all while only figures breathe."""

import logging
import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any
from urllib.parse import quote

from forebay.actuation.kube import ApiError, JsonObject, KubeApi
from forebay.api.base import GROUP, VERSION
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.figures import Figures
from forebay.runtime.report.text import shorten, without_asides
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.records import ResourceRecord
from forebay.runtime.watch.store import Store

logger = logging.getLogger(__name__)

#: What says where things stand; the rest says how much, and may breathe.
_FIGURES = frozenset(
    {
        "sloAttainment",
        "sloRequests",
        "sloMissed",
        "errorBudgetLeft",
        "attainment",
        "actionsLastHour",
        "cancelledLastHour",
        "costPerHour",
        "recommendedCostPerHour",
        "message",
        "forecast",
        "leadTime",
    }
)
_REFUSAL_SECONDS = 60.0
_LONGEST_REFUSAL = 400
_SUMMARY_FIGURES = frozenset({"demand", "why", "cost"})


class News(Enum):
    """What the writing of a status would tell."""

    NONE = "nothing"
    FIGURES = "other figures"
    MORE = "more than figures"


def merge_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7386) that turns ``old`` into ``new``; empty if they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(old.get(key), Mapping):
            inner = merge_difference(old[key], value)
            if inner:
                patch[key] = inner
        elif key not in old or old[key] != value:
            patch[key] = value
    return patch


def _urgent_field(key: str, old: Any, new: Any) -> bool:
    if key in _FIGURES:
        return False
    if key == "lastDecision":
        return bool((old or {}).get("changes") != (new or {}).get("changes"))
    if key == "summary":
        return _without(old, _SUMMARY_FIGURES) != _without(new, _SUMMARY_FIGURES)
    if key == "conditions":
        return [_without(one, {"message"}) for one in old or ()] != [
            _without(one, {"message"}) for one in new or ()
        ]
    return without_asides(old) != without_asides(new)


def _without(value: Mapping[str, Any] | None, keys: AbstractSet[str]) -> dict[str, Any]:
    return {key: inner for key, inner in (value or {}).items() if key not in keys}


class StatusWriter:
    """Brings statuses of our own resources up to date.

    Args:
        api: a fenced client.
        store: told of each answer, so that the next round compares with what was written.
        metrics: counts writes.
        drift_seconds: least time between two writes that only move figures.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        metrics: Metrics,
        *,
        drift_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._store = store
        self._metrics = metrics
        self._drift_seconds = drift_seconds
        self._clock = clock
        self._written: dict[str, float] = {}
        self._told: dict[str, Figures] = {}
        """The numbers behind the status that was written last."""
        self._refused: dict[str, float] = {}
        """Until when a status that the API server refused as such is not offered again."""

    def weigh(self, record: ResourceRecord, status: Mapping[str, Any], figures: Figures | None = None) -> News:
        """Return what writing ``status`` would tell; nothing if only figures moved, by little or a moment ago.

        Without ``figures`` each other wording is news.
        """
        return self._weighed(record, status, figures, merge_difference(record.status, status))

    def _weighed(
        self,
        record: ResourceRecord,
        status: Mapping[str, Any],
        figures: Figures | None,
        patch: Mapping[str, Any],
    ) -> News:
        if not patch:
            return News.NONE
        if any(_urgent_field(key, record.status.get(key), status.get(key)) for key in patch):
            return News.MORE
        since = self._clock() - self._written.get(record.uid, -self._drift_seconds)
        if since < self._drift_seconds or without_asides(record.status) == without_asides(status):
            return News.NONE
        told = self._told.get(record.uid)
        if figures is not None and told is not None and not figures.differ_from(told):
            return News.NONE
        return News.FIGURES

    async def write(
        self, kind: Kind, record: ResourceRecord, status: Mapping[str, Any], figures: Figures | None = None
    ) -> bool:
        """Write what is due; True if something was written. Never raises for what the API server answers."""
        patch = merge_difference(record.status, status)
        refused_until = self._refused.get(record.uid, -math.inf)
        if self._weighed(record, status, figures, patch) is News.NONE or self._clock() < refused_until:
            return False
        self._written[record.uid] = self._clock()
        try:
            answer = await self._api.merge_patch(status_path(kind, record), {"status": patch})
        except ApiError as error:
            self._failed(kind, record, error)
            return False
        self._metrics.status_writes.labels(kind.value, "ok").inc()
        if figures is not None:
            self._told[record.uid] = figures
        self._keep(kind, answer)
        return True

    def forget_others(self, uids: set[str]) -> None:
        """Drop the memory of objects that are gone."""
        self._written = {uid: at for uid, at in self._written.items() if uid in uids}
        self._told = {uid: figures for uid, figures in self._told.items() if uid in uids}
        self._refused = {uid: at for uid, at in self._refused.items() if uid in uids}

    def _keep(self, kind: Kind, answer: JsonObject) -> None:
        self._store.replace_status(kind, answer)

    def _failed(self, kind: Kind, record: ResourceRecord, error: ApiError) -> None:
        self._written.pop(record.uid, None)
        if error.not_found:
            # Deleted while the round ran.
            self._metrics.status_writes.labels(kind.value, "gone").inc()
            return
        if error.throttled:
            # The client told once for all; the next round offers it again.
            self._metrics.status_writes.labels(kind.value, "throttled").inc()
            return
        if error.refused:
            self._refused[record.uid] = self._clock() + _REFUSAL_SECONDS
        self._metrics.status_writes.labels(kind.value, "failed").inc()
        logger.warning(
            "the status was not written: %s",
            shorten(str(error), _LONGEST_REFUSAL),
            extra={"kind": kind.value, "namespace": record.namespace, "object": record.name},
        )


def status_path(kind: Kind, record: ResourceRecord) -> str:
    """Return the path of the status subresource of one of our own objects."""
    where = f"namespaces/{quote(record.namespace)}/" if record.namespace else ""
    return f"/apis/{GROUP}/{VERSION}/{where}{kind.value}/{quote(record.name)}/status"
