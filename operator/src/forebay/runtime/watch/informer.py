"""kopf as the informer: it watches, reconnects and re-lists; it decides nothing and writes nothing.

Only `event` handlers are registered: they need no finalizer, keep nothing in annotations and see every object
once at the start and at each change. Each handler parses the object into a small record and returns. The standby
replica runs the same informer, so that it takes over with warm caches.

kopf reconnects by itself where a watch's connection ends or its position is forgotten (410). Any other error
within a watch, an answer that is no JSON, or a kind that is not served any more ends kopf as a whole: a reason to
list and watch anew, and no reason to lose the forecasters' memory with the process.

Two private parts of kopf are used, for which it has no public way: its memories (`NoMemories`) and the function
that its endless tasks run in (`_is_guarded_by_kopf`). kopf is pinned exactly for that long, and a test says when a
release changes them.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory
from kubernetes.aio.client.configuration import Configuration

from forebay.api.base import GROUP, VERSION
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.watching import UNFINISHED_PODS, Scope

logger = logging.getLogger(__name__)

_KOPF = str(Path(kopf.__file__).parent)
_SOUND_SECONDS = 15.0
"""Watches that lived so long have filled the caches: what ends them is another story than what ended the last."""
_PATIENCE_SECONDS = 300.0
"""Caches that could not be watched for this long are too old to decide on."""
_ENDING_SECONDS = 10.0


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
    # It would kill the process some time after a watch has failed; who ends us sets a limit of his own.
    settings.process.ultimate_exiting_timeout = None
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


class NoMemories(ResourceMemories):
    """Has kopf keep nothing of an object between its events.

    What it would keep is for kinds of handlers that are not used here; of ten thousand objects it is over ten
    megabytes.
    """

    async def recall(self, raw_body: Any, **options: Any) -> ResourceMemory:
        """Return a memory that nobody keeps."""
        return await super().recall(raw_body, **(options | {"ephemeral": True}))


class Informer:
    """Runs kopf, again and again where watches fail, and keeps the store up to date.

    Args:
        store: receives every change.
        scope: what is watched.
        login: returns fresh credentials; called at the start and whenever the API server answers 401.
        failed: told of each failure of the watches.
        pauses: seconds between a failure and the next beginning.
    """

    def __init__(
        self,
        store: Store,
        *,
        scope: Scope,
        login: Callable[[], kopf.ConnectionInfo],
        failed: Callable[[], None] = lambda: None,
        pauses: Iterable[float] | None = None,
    ) -> None:
        self._store = store
        self._scope = scope
        self._login = login
        self._failed = failed
        self._pauses = EndlessBackoff() if pauses is None else pauses
        self.unreadable = 0
        """Objects whose shape could not be understood; they are skipped and logged."""
        self._stopping = False
        self._wanted = asyncio.Event()
        """Set when what runs shall end."""

    def registry(self, kinds: Collection[Kind]) -> kopf.OperatorRegistry:
        """Return kopf's registry with one event handler per kind."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._on_login)
        for kind in kinds:
            kopf.on.event(kind.group, kind.version, kind.value, id=kind.value, registry=registry)(
                self._handler(kind)
            )
        return registry

    async def run(
        self, readable: Callable[[], Awaitable[Collection[Kind]]], started: Callable[[], None] = lambda: None
    ) -> None:
        """Watch until `stop`; when a watch fails for good, all kinds are listed and watched anew after a pause.

        Args:
            readable: waits until there is something to watch, and returns the kinds.
            started: called when kopf has installed its signal handlers, to take them over.

        Raises:
            Exception: watches kept failing for five minutes.
        """
        loop = asyncio.get_running_loop()
        pauses, failing_since = iter(self._pauses), None
        while not self._stopping:
            kinds = await readable()
            begun = loop.time()
            error = await self._watch(kinds, started)
            if error is None:
                continue
            if failing_since is None or loop.time() - begun > _SOUND_SECONDS:
                pauses, failing_since = iter(self._pauses), loop.time()
            if loop.time() - failing_since > _PATIENCE_SECONDS:
                raise error
            self._failed()
            pause = next(pauses)
            logger.warning(
                "a watch failed, and all begin anew in %.1f s: %s: %s", pause, type(error).__name__, error
            )
            await self._rest(pause)

    def stop(self) -> None:
        """Ask kopf to end."""
        self._stopping = True
        self._wanted.set()

    def begin_anew(self) -> None:
        """Ask for all kinds to be listed and watched from the beginning."""
        self._wanted.set()

    async def _watch(self, kinds: Collection[Kind], started: Callable[[], None]) -> BaseException | None:
        """Run kopf once; returns why it failed, None if it was asked to end."""
        ending = asyncio.Event()
        tasks = await kopf.spawn_tasks(
            registry=self.registry(kinds),
            settings=kopf_settings(self._scope),
            clusterwide=self._scope.whole_cluster,
            namespaces=self._scope.namespaces,
            memories=NoMemories(),
            standalone=True,
            # Without one kopf asks for the user's name, and an image's user id need not have any.
            identity=cast("Any", "forebay"),
            stop_flag=ending,
        )
        started()
        asked = asyncio.create_task(self._wanted.wait(), name="end of watching")
        try:
            await asyncio.wait({asked, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            failures = [_failure(task) for task in tasks if task.done()]
        finally:
            ending.set()
            asked.cancel()
            await _end(tasks)
            # A watch that failed leaves the others without anybody who would end them.
            await _end([task for task in asyncio.all_tasks() if _is_guarded_by_kopf(task)])
        self._wanted.clear()
        return failures[0] if failures else None

    async def _rest(self, seconds: float) -> None:
        """Wait, but not for longer than until `stop`."""
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return
        self._wanted.clear()

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


def _failure(task: asyncio.Task[None]) -> BaseException:
    """Return why a task of kopf ended, none of which ends by itself."""
    error = None if task.cancelled() else task.exception()
    return error or RuntimeError(f"{task.get_name()} ended")


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks of kopf and wait for them.

    Kopf's own way to end would take along every task of the process that is younger than the watches.
    """
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_ENDING_SECONDS)


def _is_guarded_by_kopf(task: asyncio.Task[Any]) -> bool:
    """Whether a task is one that kopf wants to run for ever; each of them ends what it began itself."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_name == "guard" and str(code.co_filename).startswith(_KOPF)
