"""The plain install on a test cluster: everything but its Deployment."""

from pathlib import Path

import yaml

import devcluster

MANIFESTS = Path(__file__).parents[2] / "manifests" / "install"


def install(cluster: devcluster.Cluster) -> None:
    """Apply the plain install, and wait until the CRDs serve.

    Without its Deployment: there is no image to pull here, KWOK would play its pod as running, and a cluster that
    exists may run an operator already. Tests and the demo run the operator from the checkout with the install's
    own account.
    """
    rendered = cluster.kubectl("kustomize", str(MANIFESTS))
    parts = [part for part in yaml.safe_load_all(rendered) if part["kind"] != "Deployment"]
    cluster.apply(parts)
    crds = [f"crd/{part['metadata']['name']}" for part in parts if part["kind"] == "CustomResourceDefinition"]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
