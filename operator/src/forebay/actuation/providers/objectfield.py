"""A number of nodes in any object, such as a cloud's node group that an operator of that cloud keeps.

The number is replaced by a JSON Patch that first tests what it was, so that two writers never overwrite each
other. The cloud chooses which node goes, so the number goes down only while no pod holds GPUs in the node pool.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.count import count_to_ask
from forebay.actuation.providers.port import Binding, CapacityWish, Situation
from forebay.actuation.providers.scalesubresource import explained
from forebay.actuation.providers.sight import ProviderSight
from forebay.api.v1alpha1.nodeprovider import ObjectField

_RIGHT = "rbac.extraNodeObjects"
#: Names beside the number by which these APIs bound it.
_MOST = ("maxSize", "maxCount", "maxNodeCount")


@dataclass(frozen=True, slots=True)
class _OtherOwner:
    """How an API says that somebody else sets the number."""

    holds: Callable[[Mapping[str, Any]], bool]
    who: str


_OTHER_OWNERS = (
    # EKS through ACK: with this annotation ACK leaves the number alone, so that setting it would do nothing.
    _OtherOwner(
        lambda body: (
            _annotations(body).get("eks.services.k8s.aws/desired-size-managed-by") == "external-autoscaler"
        ),
        "an external autoscaler (annotation eks.services.k8s.aws/desired-size-managed-by)",
    ),
    # GKE through Config Connector.
    _OtherOwner(lambda body: bool(_spec(body).get("autoscaling")), "GKE's autoscaler (spec.autoscaling)"),
    # AKS through Azure Service Operator.
    _OtherOwner(
        lambda body: bool(_spec(body).get("enableAutoScaling")), "AKS's autoscaler (spec.enableAutoScaling)"
    ),
)


class ObjectFieldProvider:
    """Sets a number in an object.

    Args:
        api: a fenced client.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._plurals: dict[tuple[str, str], str] = {}

    async def sight(self, binding: Binding, now_seconds: float) -> ProviderSight:  # noqa: ARG002 - the port's shape
        """Return the number in the object, and why it is not ours to set."""
        given = _given(binding)
        try:
            body = await self._api.get(await self._path(given))
        except ApiError as error:
            return ProviderSight(problem=explained(error, _named(given), _RIGHT))
        for other in _OTHER_OWNERS:
            if other.holds(body):
                return ProviderSight(
                    problem=f"{_named(given)} is scaled by {other.who}: turn that off, or use provider PodDriven."
                )
        count = at_pointer(body, given.path)
        if not isinstance(count, int) or isinstance(count, bool):
            problem = f"{_named(given)} has no whole number at {given.path}: set one, or correct the path."
            return ProviderSight(problem=problem)
        return ProviderSight(asked=count * given.nodes_per_count, ceiling=_ceiling(body, given))

    async def ensure(self, binding: Binding, wish: CapacityWish, situation: Situation) -> str:
        """Replace the number, where it differs from what it should be."""
        if situation.sight.asked is None:
            return situation.sight.problem
        given = _given(binding)
        before = situation.sight.asked // given.nodes_per_count
        nodes = count_to_ask(binding, wish, situation, asked=situation.sight.asked)
        count = math.ceil(nodes / given.nodes_per_count)
        if count == before or (count < before and any(node.gpus_held > 0 for node in situation.nodes)):
            return ""
        operations = [
            {"op": "test", "path": given.path, "value": before},
            {"op": "replace", "path": given.path, "value": count},
        ]
        try:
            await self._api.json_patch(await self._path(given), operations)
        except ApiError as error:
            return explained(error, _named(given), _RIGHT)
        return ""

    async def _path(self, given: ObjectField) -> str:
        key = (given.api_version, given.kind)
        if key not in self._plurals:
            document = await self._api.get(f"/apis/{given.api_version}")
            names = {str(item.get("kind")): str(item.get("name")) for item in _objects(document)}
            if given.kind not in names:
                raise ApiError(f"{given.api_version} has no kind {given.kind}", status=404, reason="NotFound")
            self._plurals[key] = names[given.kind]
        return f"/apis/{given.api_version}/namespaces/{given.namespace}/{self._plurals[key]}/{given.name}"


def at_pointer(body: Mapping[str, Any], pointer: str) -> object:
    """Return what a JSON pointer leads to; None where it leads nowhere."""
    found: object = body
    for part in pointer.split("/")[1:]:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _ceiling(body: Mapping[str, Any], given: ObjectField) -> int | None:
    beside = at_pointer(body, given.path.rpartition("/")[0])
    if not isinstance(beside, Mapping):
        return None
    bounds = [beside[name] for name in _MOST if isinstance(beside.get(name), int)]
    return min(bounds) * given.nodes_per_count if bounds else None


def _objects(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [item for item in document.get("resources") or () if "/" not in str(item.get("name"))]


def _spec(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body.get("spec") or {}


def _annotations(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return (body.get("metadata") or {}).get("annotations") or {}


def _given(binding: Binding) -> ObjectField:
    given = binding.provider.object_field
    if given is None:
        raise ValueError(f"node pool {binding.name} has no provider.objectField")
    return given


def _named(given: ObjectField) -> str:
    return f"{given.kind} {given.namespace}/{given.name}"
