"""Compare the caches with the API server: complete before the first decision, and free of ghosts later.

A watch that reconnects after the server forgot its position re-lists what exists; deletions in between are never
told. And at the start nothing says when the last object of the first list has been handled. One comparison of
names answers both: every object listed must be in the store (or gone by now), and objects in the store that are
neither listed nor new are dropped. The versions of the objects tell whether the watches still tell of changes.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping

from forebay.actuation.conflicts import Autoscaler
from forebay.actuation.kube import METADATA_LIST, ApiError, JsonObject, KubeApi
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.records import parse_autoscaler
from forebay.runtime.watch.staleness import Staleness
from forebay.runtime.watch.store import ObjectKey, Seen, Store, key_of
from forebay.runtime.watch.watching import Scope, collection_path

logger = logging.getLogger(__name__)

_PAGE = "500"
_UNKNOWN_VERSION = frozenset({410, 500, 504})
"""Answers of a server that does not know our newest version, such as after its data were restored."""
_LISTED_AUTOSCALERS = (
    ("ScaledObject", ("keda.sh", "v1alpha1", "scaledobjects")),
    ("PodAutoscaler", ("autoscaling.aibrix.ai", "v1alpha1", "podautoscalers")),
)
"""Autoscalers of other projects that name their target in ``spec.scaleTargetRef``, by kind."""


class Auditor:
    """Lists names and compares them with the store."""

    def __init__(
        self, api: KubeApi, store: Store, scope: Scope, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._store = store
        self._scope = scope
        self._complete: set[Kind] = set()
        self.staleness = Staleness(clock)

    @property
    def complete(self) -> bool:
        """Whether every watched kind was found complete once."""
        return self._complete >= self._store.kinds

    @property
    def missing(self) -> tuple[str, ...]:
        """Kinds that were not complete yet."""
        return tuple(sorted(kind.value for kind in self._store.kinds - self._complete))

    async def check_completeness(self) -> bool:
        """Compare the kinds that were not complete so far; True once all were.

        Raises:
            ApiError: a list failed.
        """
        await self.are_complete(self._store.kinds - self._complete)
        return self.complete

    async def are_complete(self, kinds: Collection[Kind]) -> bool:
        """Compare some kinds with the API server; True if the store has all of them.

        Raises:
            ApiError: a list failed.
        """
        whole = {kind for kind in kinds if (await self._list(kind)).keys() <= self._store.keys(kind)}
        self._complete |= whole
        return whole >= set(kinds)

    async def compare(self) -> int:
        """Drop objects that are gone from the server, note how old the caches are; returns how many were dropped.

        A kind, or a namespace of it, that cannot be listed is left to the next time: the others are compared.
        """
        dropped = 0
        for kind in sorted(self._store.kinds):
            for namespace in self._scope.namespaces_of(kind):
                dropped += await self._compare(kind, namespace)
        if dropped:
            logger.warning("dropped %d objects whose deletion no watch had told", dropped)
        return dropped

    async def _compare(self, kind: Kind, namespace: str | None) -> int:
        """Compare one place; what came or changed while the list was under way may be newer than the list."""
        before = self._store.seen(kind, namespace)
        try:
            listed = await self._list_in(kind, namespace)
        except ApiError as error:
            logger.warning("the cache of %s was not compared with the API server: %s", kind.value, error)
            self.staleness.failed((kind, namespace), error)
            return 0
        now = self._store.seen(kind, namespace)
        ghosts = [key for key in before.keys() - listed.keys() if now.get(key) == before[key]]
        for key in ghosts:
            self._store.drop(kind, key)
        self.staleness.compared((kind, namespace), before, listed, now, self._store.told(kind, namespace))
        return len(ghosts)

    async def read_autoscalers(self) -> None:
        """List other projects' autoscalers where their CRD is installed; without it, or without rights, none.

        Raises:
            ApiError: the list failed for another reason.
        """
        found: list[Autoscaler] = []
        everywhere = [
            (kind, collection_path(*resource, namespace))
            for kind, resource in _LISTED_AUTOSCALERS
            for namespace in self._scope.namespaces or (None,)
        ]
        for kind, path in everywhere:
            try:
                answer = await self._api.get(path, params={"resourceVersion": "0"})
            except ApiError as error:
                if error.not_found or error.forbidden:
                    continue
                raise
            items = (parse_autoscaler({"kind": kind, **item}) for item in answer.get("items") or ())
            found.extend(item for item in items if item is not None)
        self._store.listed_autoscalers = tuple(found)

    async def _list(self, kind: Kind) -> Mapping[ObjectKey, Seen]:
        """Return every object of a kind, wherever it is watched."""
        names: dict[ObjectKey, Seen] = {}
        for namespace in self._scope.namespaces_of(kind):
            names |= await self._list_in(kind, namespace)
        return names

    async def _list_in(self, kind: Kind, namespace: str | None) -> dict[ObjectKey, Seen]:
        """Return every object of a kind in a namespace, or (``None``) in all.

        The API server answers from its cache, which must be as new as ours: else what it does not know yet would
        look as if it were gone.
        """
        path, parameters = self._scope.path(kind, namespace), self._scope.parameters(kind)
        if kind is Kind.PODS:
            # From the API server's cache a list comes in one piece, and pods may be many: these come in pages.
            return await self._names(path, parameters)
        fresh = {"resourceVersion": self._store.newest(kind, namespace), "resourceVersionMatch": "NotOlderThan"}
        try:
            return await self._names(path, {**parameters, **fresh})
        except ApiError as error:
            if error.status not in _UNKNOWN_VERSION:
                raise
            return await self._names(path, parameters)

    async def _names(self, path: str, parameters: Mapping[str, str]) -> dict[ObjectKey, Seen]:
        names: dict[ObjectKey, Seen] = {}
        async for page in self._pages(path, parameters):
            for item in page.get("items") or ():
                names[key_of(item["metadata"])] = Seen.of(item["metadata"])
        return names

    async def _pages(self, path: str, parameters: Mapping[str, str]) -> AsyncIterator[JsonObject]:
        following: dict[str, str] = {}
        while True:
            page = await self._api.get(
                path, params={**parameters, "limit": _PAGE, **following}, accept=METADATA_LIST
            )
            yield page
            token = str((page.get("metadata") or {}).get("continue") or "")
            if not token:
                return
            following = {"continue": token}
