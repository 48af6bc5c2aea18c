"""A cluster that is a few dictionaries, and writes down what is asked of it."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from kubernetes.client.exceptions import ApiException

from devcluster.errors import KubectlError
from kindscene.installation import Installation
from kindscene.scene import Scene


class FakeRest:
    """Objects by path; patches are remembered, and merged into `spec` where there is one."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.patches: list[tuple[str, object]] = []

    def get(self, path: str, **_query: str) -> Any:
        if path not in self.objects:
            raise ApiException(status=404)
        return self.objects[path]

    def items(self, path: str, **query: str) -> Any:
        wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
        return [
            one
            for one in self.objects.get(path, [])
            if wanted.items() <= one["metadata"].get("labels", {}).items()
        ]

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        self.patches.append((path, body))


class FakeCluster:
    """kubectl that says what it was told to say."""

    def __init__(self) -> None:
        self.fake = FakeRest()
        self.calls: list[tuple[str, ...]] = []
        self.said: dict[str, str] = {}
        self.applied: list[Any] = []

    def rest(self) -> FakeRest:
        return self.fake

    def kubectl(self, *arguments: str, **_options: Any) -> str:
        self.calls.append(arguments)
        words = " ".join(arguments)
        for beginning, answer in self.said.items():
            if words.startswith(beginning):
                return answer
        if "refused" in words:
            raise KubectlError(1, list(arguments), stderr="no")
        return ""

    def apply(self, manifest: Any) -> str:
        self.applied.append(manifest)
        return ""


class FakeInstallation(SimpleNamespace):
    """An installation on a `FakeCluster`, whose steps are written down."""

    def __init__(self) -> None:
        steps: list[tuple[str, ...]] = []
        super().__init__(
            cluster=FakeCluster(),
            steps=steps,
            kind=SimpleNamespace(
                on_node=lambda *words: steps.append(words),
                stop_node=lambda node: steps.append(("stop", node)),
                start_node=lambda node: steps.append(("start", node)),
            ),
            install=lambda *settings: steps.append(("install", *settings)),
            uninstall=lambda: steps.append(("uninstall",)),
            start_prometheus=lambda: steps.append(("prometheus",)),
            advertise_gpus=lambda: steps.append(("gpus",)),
        )


def scene() -> tuple[Scene, FakeInstallation]:
    """Return a scene, and the installation below it."""
    installation: Any = FakeInstallation()
    made: Installation = installation
    return Scene(made), installation


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """Return a Deployment as the API server tells it."""
    return {"metadata": {"name": name}, "spec": {"replicas": replicas}}


def pod(name: str, *, node: str = "n1", ready: bool = True, going: bool = False, **labels: str) -> dict[str, Any]:
    """Return a pod as the API server tells it."""
    metadata: dict[str, Any] = {"name": name, "labels": labels}
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"conditions": conditions}}


def listed(*items: dict[str, Any]) -> str:
    """Return what kubectl says of a list, as JSON."""
    return json.dumps({"items": list(items)})
