"""What is watched: which kinds, in which namespaces, by which selectors; and what of it may be read."""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from forebay.actuation.kube import METADATA_LIST, ApiError, KubeApi
from forebay.api.base import GROUP, VERSION
from forebay.runtime.watch.store import Kind

#: Group and version of each watched kind.
WATCHED: dict[Kind, tuple[str, str]] = {
    Kind.POOLS: (GROUP, VERSION),
    Kind.NODE_POOLS: (GROUP, VERSION),
    Kind.PROFILES: (GROUP, VERSION),
    Kind.POLICIES: (GROUP, VERSION),
    Kind.NODES: ("", "v1"),
    Kind.PODS: ("", "v1"),
    Kind.DEPLOYMENTS: ("apps", "v1"),
    Kind.STATEFUL_SETS: ("apps", "v1"),
    Kind.AUTOSCALERS: ("autoscaling", "v2"),
}
#: No Role can grant these: an operator of single namespaces goes without those that it may not read.
CLUSTER_SCOPED = frozenset({Kind.NODE_POOLS, Kind.PROFILES, Kind.NODES})
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
        return (None,) if self.whole_cluster or kind in CLUSTER_SCOPED else self.namespaces

    def paths(self, kind: Kind) -> Iterator[str]:
        """Yield the collections that together hold what is watched of ``kind``."""
        for namespace in self.namespaces_of(kind):
            yield self.path(kind, namespace)

    def path(self, kind: Kind, namespace: str | None) -> str:
        """Return the collection of ``kind`` in a namespace, or (``None``) in the whole cluster."""
        group, version = WATCHED[kind]
        return collection_path(group, version, kind.value, namespace)

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


async def find_access(api: KubeApi, scope: Scope, kinds: Collection[Kind] = frozenset(Kind)) -> Access:
    """Try to list and to watch each kind in each place.

    Raises:
        ApiError: the API server failed; a refusal by its authorisation is an answer.
    """
    places = [(kind, namespace) for kind in WATCHED if kind in kinds for namespace in scope.namespaces_of(kind)]
    some = asyncio.Semaphore(_AT_ONCE)

    async def may_read(kind: Kind, namespace: str | None) -> bool:
        async with some:
            return await _may_read(api, scope, kind, namespace)

    answers = await asyncio.gather(*(may_read(*place) for place in places))
    without: dict[Kind, str] = {}
    refused: list[str] = []
    for (kind, namespace), allowed in zip(places, answers, strict=True):
        if allowed:
            continue
        group, _ = WATCHED[kind]
        name = f"{kind.value}.{group}" if group else kind.value
        if not scope.whole_cluster and kind in CLUSTER_SCOPED:
            without[kind] = (
                f"{name} may not be read; allow Forebay's service account to list and watch it by a ClusterRole"
            )
        else:
            refused.append(f"{name} in {namespace or 'all namespaces'}")
    problem = f"allow Forebay's service account to list and watch {', '.join(refused)}" if refused else ""
    return Access(without=without, problem=problem)


async def _may_read(api: KubeApi, scope: Scope, kind: Kind, namespace: str | None) -> bool:
    parameters = {**scope.parameters(kind), "limit": "1"}
    try:
        found = await api.get(scope.path(kind, namespace), params=parameters, accept=METADATA_LIST)
    except ApiError as error:
        if error.forbidden:
            return False
        raise
    version = str((found.get("metadata") or {}).get("resourceVersion") or "")
    return not version or await _may_watch(api, scope, kind, namespace, version)


async def _may_watch(api: KubeApi, scope: Scope, kind: Kind, namespace: str | None, version: str) -> bool:
    """Watch for a moment: what was not refused is allowed, also where there was news, which is not one object."""
    moment = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": version}
    try:
        await api.get(scope.path(kind, namespace), params={**scope.parameters(kind), **moment})
    except ApiError as error:
        return not error.forbidden
    return True
