"""The chart on a real API server: install, upgrade, rollback, uninstall and reinstall, with users' pools intact.

The Deployment has no replicas here: there is no image to pull, and KWOK would play its pods as running.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from forebay.api.v1alpha1 import InferencePool
from tests.cluster.chart_helm import CHART, Helm, helm_for, render
from tests.unit.api.mutations import bases

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def home(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Helm]:
    """Helm for one namespace; a release that a failed test left behind is uninstalled."""
    helm = helm_for(cluster, tmp_path, namespace)
    yield helm
    helm.forget_all()


def values(**more: Any) -> dict[str, Any]:
    # The fixture's plain install owns the CRDs already; helm takes over only what it made or is told to.
    return {"replicas": 0, "fullnameOverride": f"fb-{secrets.token_hex(3)}", "crds": {"enabled": False}, **more}


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"rbac": {"scaling": {"enabled": False}}, "replicas": 1},
        {"networkPolicy": {"enabled": True}, "dashboard": {"enabled": True}},
        {"prometheus": {"tokenSecret": {"name": "token"}, "ca": {"configMapName": "ca"}}},
    ],
    ids=["defaults", "recommend-only", "options", "credentials"],
)
def test_the_api_server_takes_every_render(chosen: dict[str, Any], cluster: Cluster) -> None:
    text = yaml.safe_dump_all(render(chosen))
    flags = ["--server-side", "--force-conflicts", "--validate=strict", "--field-manager=chart-test"]
    said = cluster.kubectl("apply", *flags, "--dry-run=server", "-f", "-", input=text)
    assert said.count("serverside-applied (server dry run)") == len(render(chosen))


def test_a_release_comes_changes_goes_and_returns_while_pools_stay(
    cluster: Cluster, namespace: str, home: Helm
) -> None:
    chosen = values()
    name = chosen["fullnameOverride"]
    rest = cluster.rest()
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    pools = f"/apis/forebay.io/v1alpha1/namespaces/{namespace}/inferencepools"

    def interval() -> str:
        document: Any = rest.get(deployment)
        environment = document["spec"]["template"]["spec"]["containers"][0]["env"]
        return next(str(entry["value"]) for entry in environment if entry["name"] == "FOREBAY_INTERVAL")

    assert "Apply an InferencePool" in home("install", "one", str(CHART), values=chosen)
    pool = bases(InferencePool)[0]
    rest.create(pools, pool)
    home("upgrade", "one", str(CHART), values=chosen | {"operator": {"interval": "30s"}})
    assert interval() == "30s"
    home("rollback", "one", "1")
    assert interval() == "15s"
    home("uninstall", "one")
    assert not rest.exists(deployment)
    assert rest.exists(f"{pools}/{pool['metadata']['name']}")
    home("install", "one", str(CHART), values=chosen)
    assert interval() == "15s"
    assert rest.exists(f"{pools}/{pool['metadata']['name']}")


def test_uninstalling_the_release_that_has_the_crds_keeps_them(
    cluster: Cluster, namespace: str, home: Helm
) -> None:
    rest = cluster.rest()
    uids = {item["metadata"]["uid"] for item in _ours(rest)}
    chosen = values(crds={"enabled": True}, rbac={"aggregate": False})
    # The plain install of the fixture made them.
    home("install", "crds", str(CHART), "--take-ownership", values=chosen)
    home("uninstall", "crds")
    assert {item["metadata"]["uid"] for item in _ours(rest)} == uids
    home("install", "crds", str(CHART), values=chosen)
    assert {item["metadata"]["uid"] for item in _ours(rest)} == uids


def _ours(rest: Any) -> list[Any]:
    found = [item for item in rest.items(CRDS) if item["spec"]["group"] == "forebay.io"]
    assert len(found) == 4
    assert not [item for item in found if "deletionTimestamp" in item["metadata"]]
    return found
