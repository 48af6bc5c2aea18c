"""The plain installs on a test cluster: everything but their Deployment."""

from pathlib import Path
from typing import Any

import yaml

import devcluster

_MANIFESTS = Path(__file__).parents[2] / "manifests"
MANIFESTS = _MANIFESTS / "install"
NAMESPACED = _MANIFESTS / "namespaced"


def rendered(cluster: devcluster.Cluster, manifests: Path) -> list[dict[str, Any]]:
    """Return the objects of a kustomize directory."""
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(manifests))))


def install(cluster: devcluster.Cluster) -> None:
    """Apply the plain install, and wait until the CRDs serve.

    Without its Deployment: there is no image to pull here, KWOK would play its pod as running, and a cluster that
    exists may run an operator already. Tests and the demo run the operator from the checkout with the install's
    own account.
    """
    parts = [part for part in rendered(cluster, MANIFESTS) if part["kind"] != "Deployment"]
    cluster.apply(parts)
    crds = [f"crd/{part['metadata']['name']}" for part in parts if part["kind"] == "CustomResourceDefinition"]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
