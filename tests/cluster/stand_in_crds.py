"""CRDs with the group, kind and scale paths of other projects' kinds, for as long as a test needs them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from devcluster import Cluster
from forebay.flow.kinds import WorkloadKind

#: A deleted CRD lasts until the API server has found its objects gone, which takes a minute on a busy machine.
_GONE_SECONDS = 240


def crd(api_version: str, kind: str, plural: str, selector: str = ".status.selector") -> dict[str, Any]:
    """Return a CRD of another project's kind: of any content, with a `/scale`."""
    group, version = api_version.split("/")
    anything: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    # Who set the count is known for fields that the schema has.
    spec = {**anything, "properties": {"replicas": {"type": "integer"}}}
    schema = {**anything, "properties": {"spec": spec}}
    metadata: dict[str, Any] = {"name": f"{plural}.{group}"}
    if group.endswith("k8s.io"):
        # The API server guards these groups; approved where the kind is a real one.
        metadata["annotations"] = {"api-approved.kubernetes.io": "unapproved, a stand-in for a test"}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": selector,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}, "scale": scale},
                }
            ],
        },
    }


def crd_of(row: WorkloadKind) -> dict[str, Any]:
    """Return a CRD that stands in for a kind of the table."""
    return crd(row.api_version, row.kind, row.plural, f".{'.'.join(row.selector_path)}")


@contextmanager
def stand_in_crds(cluster: Cluster, crds: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Serve these kinds for as long as the context lasts; skip the test where the cluster has one of its own."""
    names = [f"crd/{item['metadata']['name']}" for item in crds]
    there = cluster.kubectl("get", "crd", "-o", "name")
    if any(name.removeprefix("crd/") in there for name in names):
        pytest.skip("the cluster has kinds of other projects, which are not this test's to replace")
    try:
        cluster.apply(list(crds))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names, timeout_seconds=90)
        yield
    finally:
        wait = f"--timeout={_GONE_SECONDS}s"
        cluster.kubectl("delete", "--ignore-not-found", wait, *names, timeout_seconds=_GONE_SECONDS + 30)
