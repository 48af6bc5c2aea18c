"""What is watched: which kinds, in which namespaces, by which selectors; and what of it may be read."""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum

from forebay.actuation.kube import METADATA_LIST, ApiError, KubeApi
from forebay.runtime.watch.kinds import ALL_KINDS, Kind

#: Finished pods hold nothing; clusters with batch jobs have many.
UNFINISHED_PODS = "status.phase!=Succeeded,status.phase!=Failed"
_AT_ONCE = 8
"""Places that are tried at once: a watch takes a second, and half of the client's requests are for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What of the cluster is looked at; the API server leaves out the rest."""

    namespaces: tuple[str, ...] = ()
    """The only ones that are watched; all where empty."""
    pools: str = ""
    """Label selector of InferencePools."""
    pods: str = ""
    """Label selector of pods."""

    @property
    def whole_cluster(self) -> bool:
        """Whether all namespaces are watched."""
        return not self.namespaces

    def namespaces_of(self, kind: Kind) -> tuple[str | None, ...]:
        """Return where ``kind`` is listed and watched: ``None`` stands for the whole cluster."""
        return (None,) if self.whole_cluster or kind.cluster_scoped else self.namespaces

    def paths(self, kind: Kind) -> Iterator[str]:
        """Yield the collections that together hold what is watched of ``kind``."""
        for namespace in self.namespaces_of(kind):
            yield self.path(kind, namespace)

    def path(self, kind: Kind, namespace: str | None) -> str:
        """Return the collection of ``kind`` in a namespace, or (``None``) in the whole cluster."""
        return collection_path(kind.group, kind.version, kind.value, namespace)

    def parameters(self, kind: Kind) -> dict[str, str]:
        """Return the query parameters with which a LIST of ``kind`` equals what is watched."""
        if kind is Kind.POOLS and self.pools:
            return {"labelSelector": self.pools}
        if kind is Kind.PODS:
            label = {"labelSelector": self.pods} if self.pods else {}
            return {"fieldSelector": UNFINISHED_PODS, **label}
        return {}


def collection_path(group: str, version: str, plural: str, namespace: str | None) -> str:
    """Return the path of a collection: of one namespace, or of the whole cluster."""
    prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{prefix}/{plural}" if namespace is None else f"{prefix}/namespaces/{namespace}/{plural}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What may be read of a scope.

    Attributes:
        without: kinds that the operator goes without, with a sentence for each that says what is missed.
        problem: what stands in the way of watching at all, and what to do; "" if nothing does.
    """

    without: dict[Kind, str]
    problem: str


class _Answer(Enum):
    """Whether a kind may be read in one place."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    NOT_SERVED = "not served"


async def find_access(api: KubeApi, scope: Scope, kinds: Collection[Kind] = ALL_KINDS) -> Access:
    """Try to list and to watch each kind in each place.

    Raises:
        ApiError: the API server failed; a refusal by its authorisation is an answer, and so is a kind of another
            project that it does not serve.
    """
    places = [(kind, namespace) for kind in ALL_KINDS if kind in kinds for namespace in scope.namespaces_of(kind)]
    some = asyncio.Semaphore(_AT_ONCE)

    async def may_read(kind: Kind, namespace: str | None) -> _Answer:
        async with some:
            return await _may_read(api, scope, kind, namespace)

    answers = await asyncio.gather(*(may_read(*place) for place in places))
    without: dict[Kind, str] = {}
    refused: list[str] = []
    for (kind, namespace), answer in zip(places, answers, strict=True):
        if answer is _Answer.ALLOWED:
            continue
        if kind.optional:
            without[kind] = _why_not(kind, answer)
        elif not scope.whole_cluster and kind.cluster_scoped:
            without[kind] = (
                f"{kind.resource} may not be read; allow Forebay's service account to list and watch it by a"
                " ClusterRole"
            )
        else:
            refused.append(f"{kind.resource} in {namespace or 'all namespaces'}")
    problem = f"allow Forebay's service account to list and watch {', '.join(refused)}" if refused else ""
    return Access(without=without, problem=problem)


def _why_not(kind: Kind, answer: _Answer) -> str:
    if answer is _Answer.NOT_SERVED:
        return f"the cluster serves no {kind.resource} in version {kind.version}: install its CRD"
    return f"{kind.resource} may not be read: allow Forebay's service account to list and watch it"


async def _may_read(api: KubeApi, scope: Scope, kind: Kind, namespace: str | None) -> _Answer:
    parameters = {**scope.parameters(kind), "limit": "1"}
    try:
        found = await api.get(scope.path(kind, namespace), params=parameters, accept=METADATA_LIST)
    except ApiError as error:
        if error.forbidden:
            return _Answer.REFUSED
        if kind.optional and error.not_found:
            return _Answer.NOT_SERVED
        raise
    version = str((found.get("metadata") or {}).get("resourceVersion") or "")
    if not version or await _may_watch(api, scope, kind, namespace, version):
        return _Answer.ALLOWED
    return _Answer.REFUSED


async def _may_watch(api: KubeApi, scope: Scope, kind: Kind, namespace: str | None, version: str) -> bool:
    """Watch for a moment: what was not refused is allowed, also where there was news, which is not one object."""
    moment = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": version}
    try:
        await api.get(scope.path(kind, namespace), params={**scope.parameters(kind), **moment})
    except ApiError as error:
        return not error.forbidden
    return True
