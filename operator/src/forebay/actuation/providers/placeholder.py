"""Warm nodes by pods that do nothing: any real pod takes their place, and they bring the next node.

They are of a priority class with a negative value and no grace period, so that a replica that needs their room has
it within a second (measured: 0.3 s on kube-scheduler 1.36), and the provisioner sees the ones that were pushed out
as pods that wait. Forebay counts the GPUs that they hold as free.
"""

from collections.abc import Mapping
from typing import Any

from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.chunks import (
    NODE_POOL_LABEL,
    PLACEHOLDER_LABEL,
    chunk_pod,
    chunks_to_hold,
    metadata,
    object_name,
)
from forebay.actuation.providers.port import Binding, CapacityWish, Situation
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.scalesubresource import explained
from forebay.actuation.providers.sight import ProviderSight
from forebay.api.v1alpha1.nodeprovider import Placeholder

_RIGHT = "rbac.nodeProviders.placeholders"


class PlaceholderProvider:
    """Keeps a Deployment of placeholder pods as the plan wants it.

    Args:
        api: a fenced client.
        provisioners: what Karpenter shows.
    """

    def __init__(self, api: KubeApi, provisioners: Provisioners) -> None:
        self._api = api
        self._provisioners = provisioners

    async def sight(self, binding: Binding, now_seconds: float) -> ProviderSight:  # noqa: ARG002 - the port's shape
        """Return what Karpenter shows of these nodes."""
        return self._provisioners.karpenter_sight(binding)

    async def ensure(self, binding: Binding, wish: CapacityWish, situation: Situation) -> str:
        """Make as many placeholders as the plan wants; a Deployment that nobody needs is not made."""
        given = binding.provider.placeholder
        if given is None:
            return ""
        pods = chunks_to_hold(binding, wish, situation)
        path = f"/apis/apps/v1/namespaces/{given.namespace}/deployments/{object_name(binding)}"
        try:
            found = await self._found(path)
            if (found is None and pods == 0) or _is_as_wanted(found, binding, wish, pods):
                return ""
            await self._api.apply(path, deployment(binding, given, pods=pods, gpus=wish.chunk_gpus))
        except ApiError as error:
            return explained(error, f"Deployment {given.namespace}/{object_name(binding)}", _RIGHT)
        return ""

    async def _found(self, path: str) -> Mapping[str, Any] | None:
        try:
            return await self._api.get(path)
        except ApiError as error:
            if error.not_found:
                return None
            raise


def deployment(binding: Binding, given: Placeholder, *, pods: int, gpus: int) -> dict[str, Any]:
    """Return the Deployment of so many placeholders, each with so many GPUs."""
    labels = {PLACEHOLDER_LABEL: binding.name}
    pod = {**chunk_pod(binding, gpus, image=given.image), "priorityClassName": given.priority_class_name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(binding, given.namespace),
        "spec": {
            "replicas": pods,
            # New placeholders never wait for old ones, and never hold more room than was meant.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": {**labels, NODE_POOL_LABEL: binding.name}}, "spec": pod},
        },
    }


def _is_as_wanted(found: Mapping[str, Any] | None, binding: Binding, wish: CapacityWish, pods: int) -> bool:
    spec = (found or {}).get("spec") or {}
    containers = (((spec.get("template") or {}).get("spec") or {}).get("containers")) or [{}]
    held = ((containers[0].get("resources") or {}).get("limits") or {}).get(binding.resource)
    return spec.get("replicas") == pods and held == str(wish.chunk_gpus)
