"""kopf as the informer: it watches, reconnects and re-lists; it decides nothing and writes nothing.

Only `event` handlers are registered: they need no finalizer, keep nothing in annotations and see every object
once at the start and at each change. Each handler parses the object into a small record and returns. The standby
replica runs the same informer, so that it takes over with warm caches.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import kopf
from kubernetes.aio.client.configuration import Configuration

from forebay.api.base import GROUP, VERSION
from forebay.runtime.store import Kind, Store
from forebay.runtime.watching import UNFINISHED_PODS, WATCHED, Scope

logger = logging.getLogger(__name__)


def kopf_settings(scope: Scope) -> kopf.OperatorSettings:
    """Return kopf's settings for an informer that must never stall silently nor give up."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.reporting_component = "forebay"
    # A limit below the number of objects deadlocks the start (nolar/kopf issue 1243).
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    # A whole number: the API server refuses 270.0.
    settings.watching.server_timeout = 270
    settings.watching.client_timeout = 300.0
    settings.watching.connect_timeout = 10.0
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 10.0
    settings.networking.error_backoffs = EndlessBackoff()
    # kopf's own names collide with those of every other kopf operator in the cluster.
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    # The kinds are fixed: no watch of CRDs and namespaces, and no rights to do so.
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.process.ultimate_exiting_timeout = 20.0
    settings.watching.field_selectors["", "v1", "pods"] = UNFINISHED_PODS
    if scope.pods:
        settings.watching.label_selectors["", "v1", "pods"] = scope.pods
    if scope.pools:
        settings.watching.label_selectors[GROUP, VERSION, Kind.POOLS.value] = scope.pools
    return settings


class EndlessBackoff:
    """Delays for retrying API calls, without end: an outage of an hour must not end a watch.

    Iterable many times, since kopf takes a fresh iterator for each call.
    """

    def __iter__(self) -> Iterator[float]:
        delay = 0.5
        while True:
            yield delay * (1.0 + 0.3 * random.random())  # noqa: S311 - spreads retries, guards nothing
            delay = min(10.0, 2.0 * delay)


def connection_info(configuration: Configuration) -> kopf.ConnectionInfo:
    """Return the credentials of our own client in kopf's words, so that both always agree."""
    token = str((configuration.api_key or {}).get("BearerToken") or "")
    _scheme, _, value = token.rpartition(" ")
    return kopf.ConnectionInfo(
        server=str(configuration.host),
        ca_path=configuration.ssl_ca_cert or None,
        ca_data=configuration.ca_cert_data or None,
        insecure=not configuration.verify_ssl,
        scheme="Bearer" if token else None,
        token=value or None if token else None,
        certificate_path=configuration.cert_file or None,
        private_key_path=configuration.key_file or None,
        proxy_url=configuration.proxy or None,
    )


class Informer:
    """Runs kopf and keeps the store up to date.

    Args:
        store: receives every change.
        scope: what is watched.
        login: returns fresh credentials; called at the start and whenever the API server answers 401.
    """

    def __init__(self, store: Store, *, scope: Scope, login: Callable[[], kopf.ConnectionInfo]) -> None:
        self._store = store
        self._scope = scope
        self._login = login
        self.unreadable = 0
        """Objects whose shape could not be understood; they are skipped and logged."""
        self._stop = asyncio.Event()

    def registry(self) -> kopf.OperatorRegistry:
        """Return kopf's registry with one event handler per kind that may be read."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._on_login)
        for kind in self._store.kinds:
            group, version = WATCHED[kind]
            kopf.on.event(group, version, kind.value, id=kind.value, registry=registry)(self._handler(kind))
        return registry

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Watch until `stop`; returns or raises only when kopf ends.

        Args:
            started: called when kopf has installed its signal handlers, to take them over.

        Raises:
            Exception: kopf failed for good, such as a watch that the server refuses.
        """
        existing = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self.registry(),
            settings=kopf_settings(self._scope),
            clusterwide=self._scope.whole_cluster,
            namespaces=self._scope.namespaces,
            standalone=True,
            # Without one kopf asks for the user's name, and an image's user id need not have any.
            identity=cast("Any", "forebay"),
            stop_flag=self._stop,
        )
        started()
        await kopf.run_tasks(tasks, ignored=existing)

    def stop(self) -> None:
        """Ask kopf to end."""
        self._stop.set()

    def _on_login(self, **_: Any) -> kopf.ConnectionInfo:
        return self._login()

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def on_event(event: kopf.RawEvent, **_: Any) -> None:
            try:
                self._store.apply(kind, event["object"], deleted=event["type"] == "DELETED")
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self.unreadable += 1
                logger.warning("an object of %s is not understood and ignored: %r", kind.value, error)

        return on_event
