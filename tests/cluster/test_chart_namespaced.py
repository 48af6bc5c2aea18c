"""A release by somebody who administers one namespace and nothing else, beside the parts that releases share."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from devcluster.waiting import eventually
from runoperator.scenario import Stage, Step, steps
from tests.cluster.chart_helm import CHART, Helm, environment, helm_for, render

SHARED = "forebay-shared"
#: Told to the operator by the tests themselves: where it listens and what it reads differ outside a cluster.
_OWN = {"FOREBAY_PROMETHEUS_URL", "FOREBAY_STATE_DIRECTORY", "FOREBAY_IDENTITY"}
#: Short enough for a test; the chart's defaults are for clusters.
_FAST = {"FOREBAY_INTERVAL", "FOREBAY_PROMETHEUS_SETTLE", "FOREBAY_HISTORY", "FOREBAY_STATUS_DRIFT"}
_FAST |= {"FOREBAY_LOG_FORMAT", "FOREBAY_LEASE_DURATION", "FOREBAY_RENEW_DEADLINE", "FOREBAY_RETRY_PERIOD"}
_FLAGS = {"FOREBAY_WATCH_NAMESPACES": "namespace"}


def example(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CHART / "examples" / f"{name}.yaml").read_text())
    return values


@pytest.fixture
def administrator(cluster: Cluster, tmp_path: Path) -> Iterator[Helm]:
    """Helm of who administers the cluster, in the namespace of the shared parts."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHARED}})
    helm = helm_for(cluster, tmp_path / "administrator", SHARED)
    yield helm
    helm.forget_all()
    cluster.kubectl("delete", "namespace", SHARED, "--wait=false")


@pytest.fixture
def owner(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Helm]:
    """Helm of somebody who is admin of one namespace, and nobody elsewhere."""
    subject = {"kind": "ServiceAccount", "name": "owner", "namespace": namespace}
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "owner", "namespace": namespace}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "owner", "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
                "subjects": [subject],
            },
        ]
    )
    helm = Helm(cluster.kubeconfig_for(namespace, "owner"), tmp_path / "owner", namespace)
    yield helm
    helm.forget_all()


def flags(values: Mapping[str, Any], namespace: str) -> dict[str, str]:
    """Return the flags that the chart's environment stands for."""
    given = environment(render(values, namespace=namespace))
    return {
        _FLAGS.get(name, name.removeprefix("FOREBAY_").lower().replace("_", "-")): str(value)
        for name, value in given.items()
        if name not in _OWN | _FAST and value not in {"", "true"}  # a switch that is on is on by default
    }


def test_who_administers_a_namespace_installs_there_and_forebay_scales_there(
    cluster: Cluster, namespace: str, administrator: Helm, owner: Helm
) -> None:
    """Protects the promise that a team needs its cluster's administrator once, and that others stay untouched."""
    chosen = example("one-namespace") | {"watchNamespaces": [namespace], "replicas": 0}
    refused = owner.attempt("install", "forebay", str(CHART), values=chosen)
    assert refused.returncode != 0
    assert "attempting to grant RBAC permissions not currently held" in refused.stderr
    owner.forget_all()
    shared = example("shared-parts")
    # The cluster of the tests has the CRDs, and one release in it has the users' roles.
    shared |= {"crds": {"enabled": False}}
    shared["rbac"]["nodeReaders"] = [{"namespace": namespace, "name": "forebay"}]
    said = administrator("install", "shared", str(CHART), values=shared)
    assert "No operator runs by this release" in said
    # The API server's own controllers add the rights to `admin`; that takes a moment.
    eventually(
        lambda: owner.attempt("upgrade", "--install", "forebay", str(CHART), values=chosen).returncode == 0,
        timeout_seconds=120,
        describe=lambda: owner.attempt("upgrade", "--install", "forebay", str(CHART), values=chosen).stderr,
    )
    with Stage(cluster, namespace, nodes=3) as stage:
        stage.deploy()
        stage.serve(steps(Step(300, 8.0)))
        operator = stage.operate(
            {**flags(chosen, namespace), "lease-namespace": namespace},
            kubeconfig=cluster.kubeconfig_for(namespace, "forebay"),
        )
        eventually(lambda: stage.replicas()["chat-prefill"] >= 2, timeout_seconds=120, describe=stage.story)
        stage.await_condition("ReferencesFound", "True", seconds=120)
        assert "orbidden" not in operator.log(400)
        assert operator.metric("forebay_rounds_total", outcome="failed") == 0
        uninstalled = owner("uninstall", "forebay")
        assert "uninstalled" in uninstalled
        assert "chat" in cluster.kubectl("get", "inferencepools.forebay.io", "-n", namespace, "-o", "name")
