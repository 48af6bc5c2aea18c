"""What the tests of providers share: a node pool, its nodes, and an API server that has what a test puts there."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from kubernetes.aio.client.configuration import Configuration

from forebay.actuation.kube import ApiError, JsonObject, KubeApi
from forebay.actuation.providers.port import Binding, CapacityWish, Situation
from forebay.actuation.providers.sight import NodeSight, ProviderSight, node_states
from forebay.api.v1alpha1.nodeprovider import Provider

NOW = 1_795_132_800.0


def binding(provider: Mapping[str, Any] | None = None, **changes: Any) -> Binding:
    """Return a node pool of 8-GPU nodes labelled pool=h100."""
    given: dict[str, Any] = {
        "name": "h100",
        "uid": "uid-h100",
        "provider": Provider.model_validate(provider or {}),
        "selector": {"pool": "h100"},
        "resource": "nvidia.com/gpu",
        "gpus_per_node": 8,
        "min_nodes": 0,
        "max_nodes": None,
        "minimum_billing_seconds": 0.0,
    }
    return Binding(**{**given, **changes})


def node(name: str, **changes: Any) -> NodeSight:
    """Return a usable, empty node that came an hour ago."""
    given: dict[str, Any] = {
        "name": name,
        "usable": True,
        "leaving": False,
        "going": False,
        "gpus": 8,
        "gpus_held": 0,
        "created_seconds": NOW - 3600,
        "ready_seconds": NOW - 3500,
    }
    return NodeSight(**{**given, **changes})


def situation(*nodes: NodeSight, sight: ProviderSight | None = None, blocked: bool = False) -> Situation:
    """Return a node pool's situation now."""
    sight = sight or ProviderSight()
    return Situation(
        at_seconds=NOW,
        nodes=nodes,
        states=node_states(nodes, sight, now_seconds=NOW, patience_seconds=900.0),
        sight=sight,
        blocked=blocked,
    )


def wish(nodes: int, **changes: Any) -> CapacityWish:
    """Return the wish for so many nodes."""
    return CapacityWish(node_pool="h100", nodes=nodes, **changes)


class Server(KubeApi):
    """Objects by path; a GET of a path that is not there answers 404, patches are recorded and merged."""

    def __init__(self, objects: Mapping[str, JsonObject] | None = None) -> None:
        super().__init__(Configuration())
        self.objects: dict[str, JsonObject] = copy.deepcopy(dict(objects or {}))
        self.written: list[tuple[str, Any]] = []
        self.failures: dict[str, ApiError] = {}
        """By path."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: JsonObject | Sequence[JsonObject] | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
    ) -> JsonObject:
        """Answer from memory."""
        key = f"{path}?{params['fieldSelector']}" if params and "fieldSelector" in params else path
        if path in self.failures:
            raise self.failures[path]
        if method == "GET":
            if key not in self.objects:
                raise ApiError(f"{key} not found", status=404, reason="NotFound")
            return copy.deepcopy(self.objects[key])
        self.written.append((path, copy.deepcopy(body)))
        if isinstance(body, dict) and "apply-patch" in content_type:
            self.objects[path] = copy.deepcopy(body)
        return {}
