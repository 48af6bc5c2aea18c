"""Scale targets: which object a variant scales, and where its `/scale` is.

Kinds that every cluster serves are known; any other kind is looked up in the server's discovery documents, so that
everything with a standard `/scale` subresource can be scaled without a release of Forebay.
"""

from dataclasses import dataclass
from urllib.parse import quote

from forebay.actuation.kube import ApiError, KubeApi
from forebay.flow.kinds import KINDS


@dataclass(frozen=True, slots=True, order=True)
class TargetRef:
    """One scalable object."""

    namespace: str
    api_version: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ResourceType:
    """How a kind with a `/scale` subresource is addressed."""

    api_version: str
    plural: str

    def path(self, namespace: str, name: str) -> str:
        """Return the path of one object."""
        prefix = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        return f"{prefix}/namespaces/{quote(namespace)}/{self.plural}/{quote(name)}"


_BUILT_IN = {
    (row.api_version, row.kind): ResourceType(row.api_version, row.plural) for row in KINDS if row.built_in
}


class UnknownKindError(Exception):
    """The API server serves no such kind, or it cannot be scaled; the message says what to do."""


class TargetDirectory:
    """Resolves kinds to resource types and remembers the answers.

    What was not found is asked again at the next call: a CRD may be installed later.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._known = dict(_BUILT_IN)

    async def resolve(self, target: TargetRef) -> ResourceType:
        """Return how `target`'s kind is addressed.

        Raises:
            UnknownKindError: no such kind, or one without `/scale`.
            ApiError: discovery failed.
        """
        key = (target.api_version, target.kind)
        if key not in self._known:
            self._known[key] = await self._discover(target)
        return self._known[key]

    async def _discover(self, target: TargetRef) -> ResourceType:
        prefix = "/apis" if "/" in target.api_version else "/api"
        try:
            document = await self._api.get(f"{prefix}/{target.api_version}")
        except ApiError as error:
            if not error.not_found:
                raise
            raise UnknownKindError(
                f"The cluster serves no {target.api_version}: install the CRD of {target.kind}, or correct the "
                f"target's apiVersion."
            ) from error
        names = {str(item.get("name")): str(item.get("kind")) for item in document.get("resources", [])}
        plural = next((name for name, kind in names.items() if kind == target.kind and "/" not in name), None)
        if plural is None:
            raise UnknownKindError(
                f"{target.api_version} has no kind {target.kind}: correct the target's kind or apiVersion."
            )
        if f"{plural}/scale" not in names:
            raise UnknownKindError(
                f"{target.kind} in {target.api_version} has no /scale subresource: choose a target that has one."
            )
        return ResourceType(target.api_version, plural)
