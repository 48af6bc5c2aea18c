"""Helm for the chart's tests: rendering, what a render holds, and releases on a cluster.

All tests that need Helm are in this directory: its conftest builds Helm before the first of them where PATH has
none.
"""

import functools
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from devcluster.binaries import Binaries
from devcluster.errors import DevClusterError

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "forebay"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
#: All that is off unless asked for.
OPTIONS: dict[str, Any] = {
    name: {"enabled": True} for name in ("networkPolicy", "serviceMonitor", "prometheusRule", "dashboard")
}
Documents = list[dict[str, Any]]
#: Role, namespace ("" for the whole cluster), API group, resource, object's name ("" for any), verb.
Right = tuple[str, str, str, str, str, str]


@functools.cache
def helm_program() -> str:
    try:
        return str(Binaries.from_environment().helm())
    except DevClusterError as error:
        pytest.skip(f"there is no Helm 3 on PATH and none could be built: {error}")


def helm(*arguments: str, values: object = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run Helm, which knows of no cluster, with values on its standard input."""
    return subprocess.run(
        [helm_program(), *arguments, "-f", "-"],
        input=json.dumps({} if values is None else values),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def rendered(values: object = None, *flags: str, namespace: str = "forebay-system") -> str:
    """Return the text that Helm renders.

    Raises:
        AssertionError: it refuses; with its reason.
    """
    return _rendered(json.dumps({} if values is None else values), flags, namespace)


@functools.cache
def _rendered(values: str, flags: tuple[str, ...], namespace: str) -> str:
    result = helm("template", "forebay", str(CHART), "-n", namespace, *flags, values=json.loads(values))
    assert result.returncode == 0, result.stderr
    return result.stdout


def render(values: object = None, *flags: str, namespace: str = "forebay-system") -> Documents:
    """Return the documents that Helm renders."""
    # libyaml's loader reads the CRDs ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = rendered(values, *flags, namespace=namespace)
    return [document for document in yaml.load_all(text, Loader=loader) if document]


def named(documents: Documents, kind: str, name: str) -> dict[str, Any]:
    return next(item for item in documents if item["kind"] == kind and item["metadata"]["name"] == name)


def kinds(documents: Documents) -> set[str]:
    return {item["kind"] for item in documents}


def container(documents: Documents) -> Any:
    return named(documents, "Deployment", "forebay")["spec"]["template"]["spec"]["containers"][0]


def environment(documents: Documents) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in container(documents)["env"]}


def rights(documents: Iterable[dict[str, Any]]) -> set[Right]:
    """Return what the roles say, whether bound or not."""
    return {
        (role["metadata"]["name"], role["metadata"].get("namespace", ""), group, resource, name, verb)
        for role in documents
        if role["kind"] in {"ClusterRole", "Role"}
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


class Helm:
    """Releases in one namespace of a cluster, with credentials and a home of its own."""

    def __init__(self, kubeconfig: Path, home: Path, namespace: str) -> None:
        self._common = ["--kubeconfig", str(kubeconfig), "-n", namespace]
        self._environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}

    def __call__(self, *arguments: str, values: object = None) -> str:
        result = self.attempt(*arguments, values=values)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def attempt(self, *arguments: str, values: object = None) -> subprocess.CompletedProcess[str]:
        command = [helm_program(), *arguments, *self._common]
        text = None
        if values is not None:
            command, text = [*command, "-f", "-"], json.dumps(values)
        return subprocess.run(
            command, input=text, env=self._environment, capture_output=True, text=True, timeout=90, check=False
        )

    def forget_all(self) -> None:
        """Uninstall what a failed test left behind."""
        for name in self("list", "--all", "--short").split():
            self("uninstall", name)


def helm_for(cluster: Cluster, home: Path, namespace: str) -> Helm:
    """Return Helm with the cluster's own, all-powerful credentials."""
    return Helm(cluster.kubeconfig, home, namespace)
