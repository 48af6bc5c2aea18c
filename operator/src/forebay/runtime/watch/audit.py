"""Compare the caches with the API server: complete before the first decision, and free of ghosts later.

A watch that reconnects after the server forgot its position re-lists what exists; deletions in between are never
told. And at the start nothing says when the last object of the first list has been handled. One comparison of
names answers both: every object listed must be in the store (or gone by now), and objects in the store that are
neither listed nor new are dropped.
"""

import logging
from collections.abc import AsyncIterator, Collection, Mapping

from forebay.actuation.conflicts import Autoscaler
from forebay.actuation.kube import METADATA_LIST, ApiError, JsonObject, KubeApi
from forebay.runtime.watch.records import parse_autoscaler
from forebay.runtime.watch.store import Kind, ObjectKey, Store
from forebay.runtime.watch.watching import Scope, collection_path

logger = logging.getLogger(__name__)

_PAGE = "500"
_KEDA = ("keda.sh", "v1alpha1", "scaledobjects")


class Auditor:
    """Lists names and compares them with the store."""

    def __init__(self, api: KubeApi, store: Store, scope: Scope) -> None:
        self._api = api
        self._store = store
        self._scope = scope
        self._complete: set[Kind] = set()

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

    async def drop_ghosts(self) -> int:
        """Drop objects that are gone from the server; returns how many.

        An object that appeared after the list was taken is in the store and not in the list: only what was in the
        store *before* the list counts.

        Raises:
            ApiError: a list failed.
        """
        dropped = 0
        for kind in self._store.kinds:
            before = self._store.keys(kind)
            listed = await self._list(kind)
            for key in before - listed.keys():
                self._store.drop(kind, key)
                dropped += 1
        if dropped:
            logger.warning("dropped %d objects whose deletion no watch had told", dropped)
        return dropped

    async def read_keda(self) -> None:
        """List KEDA's ScaledObjects where their CRD is installed; without it, or without rights, there are none.

        Raises:
            ApiError: the list failed for another reason.
        """
        found: list[Autoscaler] = []
        for namespace in self._scope.namespaces or (None,):
            try:
                answer = await self._api.get(collection_path(*_KEDA, namespace))
            except ApiError as error:
                if error.not_found or error.forbidden:
                    continue
                raise
            items = (parse_autoscaler({"kind": "ScaledObject", **item}) for item in answer.get("items") or ())
            found.extend(item for item in items if item is not None)
        self._store.keda = tuple(found)

    async def _list(self, kind: Kind) -> Mapping[ObjectKey, str]:
        """Return namespace and name of every object of a kind, with its uid."""
        names: dict[ObjectKey, str] = {}
        for path in self._scope.paths(kind):
            async for page in self._pages(path, self._scope.parameters(kind)):
                for item in page.get("items") or ():
                    metadata = item["metadata"]
                    names[(str(metadata.get("namespace") or ""), str(metadata["name"]))] = str(metadata["uid"])
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
