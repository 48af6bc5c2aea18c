"""What the runtime's tests share: an API in memory, a clock that stands, objects as the API server writes them."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes.aio.client.configuration import Configuration

from forebay.actuation.kube import ApiError, JsonObject, KubeApi
from forebay.runtime.watch.store import Store

NOW = 1_795_132_800.0  # 2026-11-20T00:00:00Z


@dataclass(slots=True)
class Clock:
    """Seconds that a test moves."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


class MemoryApi(KubeApi):
    """Objects by path, with resource versions; lists are scripted; failures are planned."""

    def __init__(self) -> None:
        super().__init__(Configuration())
        self.objects: dict[str, JsonObject] = {}
        self.sent: list[tuple[str, str, JsonObject | None]] = []
        self.failures: list[ApiError] = []
        self._version = 100

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str | None = None,
    ) -> JsonObject:
        """Answer from memory."""
        self.sent.append((method, path, copy.deepcopy(body)))
        if self.failures:
            raise self.failures.pop(0)
        if method == "POST":
            if path.endswith("/events"):
                return {}
            path = f"{path}/{(body or {})['metadata']['name']}"
            if path in self.objects:
                raise ApiError("exists", status=409, reason="AlreadyExists")
            return self._store(path, body or {})
        if path not in self.objects:
            raise ApiError(f"{path} not found", status=404, reason="NotFound")
        if method == "PUT":
            return self._put(path, body or {})
        if method == "PATCH" and isinstance(body, list):
            return self._store(path, patched(self.objects[path], body))
        if method == "PATCH":
            return self._store(path, merge(self.objects[path], body or {}))
        return copy.deepcopy(self.objects[path])

    def changes_sent(self) -> list[tuple[str, str, JsonObject | None]]:
        """Return what was sent to change something."""
        return [item for item in self.sent if item[0] != "GET"]

    def _put(self, path: str, body: JsonObject) -> JsonObject:
        if body["metadata"]["resourceVersion"] != self.objects[path]["metadata"]["resourceVersion"]:
            raise ApiError("changed", status=409, reason="Conflict")
        return self._store(path, body)

    def _store(self, path: str, body: JsonObject) -> JsonObject:
        self._version += 1
        stored = copy.deepcopy(body)
        stored.setdefault("metadata", {})["resourceVersion"] = str(self._version)
        self.objects[path] = stored
        return copy.deepcopy(stored)


def patched(old: JsonObject, patch: list[JsonObject]) -> JsonObject:
    """Apply a JSON patch that tests the spec of a Scale and adds its count.

    Raises:
        ApiError: the test fails.
    """
    test, add = patch
    if (old.get("spec") or {}) != test["value"]:
        raise ApiError("the server rejected our request due to an error in our request", status=422)
    return {**old, "spec": {"replicas": add["value"]}}


def merge(old: JsonObject, patch: JsonObject) -> JsonObject:
    """Apply a JSON merge patch."""
    merged = copy.deepcopy(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


class Objects:
    """Makes objects as the API server writes them."""

    def pod(self, name: str, **overrides: Any) -> JsonObject:
        """Return a pod on node n1 that has been Ready since ten seconds after its creation."""
        given: dict[str, Any] = {
            "labels": {"app": "chat"},
            "node": "n1",
            "gpus": 1,
            "created": "2026-11-20T00:00:00Z",
            "scheduled": "2026-11-20T00:00:01Z",
            "ready": "2026-11-20T00:00:11Z",
            "phase": "Running",
            "deleting": False,
            "restarts": 0,
        } | overrides
        conditions = [
            {
                "type": "PodScheduled",
                "status": "True" if given["scheduled"] else "False",
                "lastTransitionTime": given["scheduled"] or given["created"],
                **({} if given["scheduled"] else {"reason": "Unschedulable"}),
            },
            {
                "type": "Ready",
                "status": "True" if given["ready"] else "False",
                "lastTransitionTime": given["ready"] or given["created"],
            },
        ]
        metadata: JsonObject = {
            "name": name,
            "namespace": "serving",
            "uid": f"uid-{name}",
            "labels": given["labels"],
            "creationTimestamp": given["created"],
        }
        if given["deleting"]:
            metadata["deletionTimestamp"] = given["created"]
        return {
            "metadata": metadata,
            "spec": {
                "nodeName": given["node"] if given["scheduled"] else None,
                "containers": [{"resources": {"limits": {"nvidia.com/gpu": str(given["gpus"])}}}],
            },
            "status": {
                "phase": given["phase"],
                "conditions": conditions,
                "containerStatuses": [{"restartCount": given["restarts"]}],
            },
        }

    def node(self, name: str, *, gpus: int = 8, **overrides: Any) -> JsonObject:
        """Return a Ready GPU node of pool h100."""
        given: dict[str, Any] = {
            "labels": {"pool": "h100"},
            "ready": "True",
            "taints": [],
            "cordoned": False,
            "created": "2026-11-19T00:00:00Z",
        } | overrides
        return {
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "labels": given["labels"],
                "creationTimestamp": given["created"],
            },
            "spec": {
                "unschedulable": given["cordoned"],
                "taints": [{"key": key, "effect": "NoSchedule"} for key in given["taints"]],
            },
            "status": {
                "conditions": [{"type": "Ready", "status": given["ready"]}],
                "allocatable": {"nvidia.com/gpu": str(gpus)},
            },
        }

    def deployment(self, name: str, replicas: int = 1, **metadata: Any) -> JsonObject:
        """Return a Deployment whose pods carry app=<name>."""
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": name,
                "namespace": "serving",
                "uid": f"uid-{name}",
                "resourceVersion": "1",
                **metadata,
            },
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}},
        }

    def pool(self, name: str = "chat", **spec: Any) -> JsonObject:
        """Return an InferencePool that serves by Deployment <name> on node pool h100."""
        variant = {
            "name": name,
            "target": {"kind": "Deployment", "name": name},
            "nodePool": "h100",
            "gpusPerReplica": 1,
            "minReplicas": 1,
            "maxReplicas": 8,
        }
        return self._own(
            "InferencePool",
            name,
            {
                "mode": "Auto",
                "slo": {"ttft": "1s", "itl": "50ms", "percentile": 95},
                "telemetry": {"engine": "vllm"},
                "roles": {"serve": {"variants": [variant]}},
                **spec,
            },
            namespace="serving",
        )

    def node_pool(self, name: str = "h100", **spec: Any) -> JsonObject:
        """Return a GPUNodePool of nodes labelled pool=<name>."""
        given = {"accelerator": "NVIDIA-H100-80GB-HBM3", "gpusPerNode": 8, "nodeSelector": {"pool": name}}
        return self._own("GPUNodePool", name, {**given, **spec})

    def _own(self, kind: str, name: str, spec: JsonObject, namespace: str | None = None) -> JsonObject:
        metadata = {"name": name, "uid": f"uid-{kind}-{name}", "generation": 1, "resourceVersion": "1"}
        if namespace:
            metadata["namespace"] = namespace
        return {"apiVersion": "forebay.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.fixture
def objects() -> Objects:
    """Makes objects."""
    return Objects()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at 2026-11-20T00:00:00Z."""
    return Clock()


@pytest.fixture
def memory_api() -> MemoryApi:
    """An API in memory."""
    return MemoryApi()


@pytest.fixture
def store() -> Store:
    """Empty caches."""
    return Store()
