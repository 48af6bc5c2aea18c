"""Kubernetes events: for people, on transitions only, each once in a while, and never a flood."""

import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import Literal

from forebay.actuation.kube import ApiError, JsonObject, KubeApi
from forebay.api.base import GROUP, VERSION
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.text import shorten, timestamp
from forebay.runtime.watch.records import ResourceRecord

logger = logging.getLogger(__name__)

_QUIET_SECONDS = 300.0
_BUCKET = 50.0
_REFILL_PER_SECOND = 1.0
_MOST_KEPT = 50


class EventRecorder:
    """Posts core/v1 events about our own objects.

    The same reason and message about the same object is posted once in five minutes; over all objects, fifty at
    once and then one a second are let through, so that a fleet-wide outage does not bury the API server.

    What the API server was too busy for, or not there for, is kept and posted later with the time at which it
    happened: the status may have moved on by then, and nothing else would tell of the trouble.

    Args:
        api: a fenced client.
        metrics: count what became of each event.
        instance: name of this process.
        clock: monotonic seconds.
        wall_clock: Unix seconds.
        namespaces: the only ones where it may post; all where empty. Events about objects of the cluster belong
            to `default`, where an operator of other namespaces has no rights.
    """

    def __init__(
        self,
        api: KubeApi,
        metrics: Metrics,
        *,
        instance: str,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        namespaces: Collection[str] = (),
    ) -> None:
        self._api = api
        self._metrics = metrics
        self._instance = instance
        self._clock = clock
        self._wall_clock = wall_clock
        self._namespaces = frozenset(namespaces)
        self._posted: dict[tuple[str, str, str], float] = {}
        self._tokens = _BUCKET
        self._refilled = clock()
        self._kept: deque[tuple[str, JsonObject]] = deque(maxlen=_MOST_KEPT)

    async def post(
        self, about: ResourceRecord, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> bool:
        """Post an event unless it is a repetition or one too many; failures are counted, never raised."""
        namespace = about.namespace or "default"
        if self._namespaces and namespace not in self._namespaces:
            return False
        if not self._admit(about, reason, message):
            return False
        path = f"/api/v1/namespaces/{namespace}/events"
        body = self._body(about, namespace, kind, reason, message)
        error = await self._send(path, body)
        if error is not None and error.passing:
            self._kept.append((path, body))
        return error is None

    async def post_kept(self) -> None:
        """Post what was kept, oldest first, until the API server is found too busy again."""
        while self._kept:
            error = await self._send(*self._kept[0])
            if error is not None and error.passing:
                return
            self._kept.popleft()

    async def _send(self, path: str, body: JsonObject) -> ApiError | None:
        try:
            await self._api.post(path, body)
        except ApiError as error:
            self._metrics.events.labels("delayed" if error.passing else "failed").inc()
            logger.debug("an event was not posted: %s", error)
            return error
        self._metrics.events.labels("ok").inc()
        return None

    def _admit(self, about: ResourceRecord, reason: str, message: str) -> bool:
        now = self._clock()
        self._posted = {key: at for key, at in self._posted.items() if now - at < _QUIET_SECONDS}
        key = (about.uid, reason, message)
        if key in self._posted:
            return False
        self._tokens = min(_BUCKET, self._tokens + (now - self._refilled) * _REFILL_PER_SECOND)
        self._refilled = now
        if self._tokens < 1.0:
            self._metrics.events.labels("suppressed").inc()
            return False
        self._tokens -= 1.0
        self._posted[key] = now
        return True

    def _body(self, about: ResourceRecord, namespace: str, kind: str, reason: str, message: str) -> JsonObject:
        at = timestamp(self._wall_clock())
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{shorten(about.name, 200)}.", "namespace": namespace},
            "involvedObject": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": about.kind,
                "namespace": about.namespace or None,
                "name": about.name,
                "uid": about.uid,
                "resourceVersion": about.resource_version,
            },
            "type": kind,
            "reason": reason,
            "message": shorten(message, 1000),
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
            "source": {"component": "forebay"},
            "reportingComponent": "forebay",
            "reportingInstance": shorten(self._instance, 120),
        }
