"""Least privilege, from the other end: what the operator asks the API server for is exactly what the chart grants.

The operator runs under the plain install's account, whose rights are those of the chart's defaults, through a
proxy that notes its requests. The cluster has every kind that it can meet: other projects' by CRDs with a `/scale`
and nothing else.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from devcluster.credentials import kubeconfig_text, write_private
from devcluster.waiting import eventually
from forebay.actuation.kube import field_manager
from forebay.actuation.victims import CHOSEN_BY, COST_BEFORE
from forebay.api.v1alpha1.inferencepool import GATEWAY_POOL_API
from forebay.flow.kinds import KINDS, WorkloadKind
from runoperator import NAMESPACE, SERVICE_ACCOUNT
from runoperator.scenario import Stage, Step, steps
from tests.cluster.chart_helm import render, rights
from tests.cluster.request_recorder import RequestRecorder
from tests.cluster.stand_in_crds import crd, crd_of, stand_in_crds
from tests.cluster.test_chart_rights import NOT_THE_OPERATORS

Grant = tuple[str, str, str, str]
FOREIGN = {row.kind: row for row in KINDS if not row.built_in}
SCALED_OBJECT = ("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
POD_AUTOSCALER = ("autoscaling.aibrix.ai/v1alpha1", "PodAutoscaler", "podautoscalers")
GATEWAY_POOL = (GATEWAY_POOL_API, "InferencePool", "inferencepools")
KARPENTER = [("karpenter.sh/v1", "NodePool", "nodepools"), ("karpenter.sh/v1", "NodeClaim", "nodeclaims")]


@pytest.fixture
def every_kind(cluster: Cluster) -> Iterator[None]:
    """All kinds that the operator knows of; the test is for a cluster that has none of them."""
    kinds = [SCALED_OBJECT, POD_AUTOSCALER, GATEWAY_POOL, *KARPENTER]
    with stand_in_crds(cluster, [crd(*kind) for kind in kinds] + [crd_of(row) for row in FOREIGN.values()]):
        yield


@pytest.fixture
def labelled_tenants(cluster: Cluster) -> Iterator[None]:
    """A FleetPolicy that selects namespaces by a label, and takes nothing from anybody."""
    policy = {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "FleetPolicy",
        "metadata": {"name": "fleet"},
        "spec": {"tenants": [{"name": "all", "namespaceSelector": {"matchLabels": {"team": "any"}}}]},
    }
    try:
        cluster.apply([policy])
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "fleetpolicies.forebay.io/fleet")


@pytest.fixture
def recorder(cluster: Cluster) -> Iterator[RequestRecorder]:
    configuration = cluster.api().configuration
    with RequestRecorder(configuration.host, configuration.ssl_ca_cert) as recorder:
        yield recorder


def workload(kind: str, api_version: str, namespace: str) -> dict[str, Any]:
    name = kind.lower()
    labels = {"app": name}
    document: dict[str, Any] = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1},
    }
    if kind == "StatefulSet":
        document["spec"] |= {
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "engine", "image": "vllm"}]},
            },
        }
    return document


def tell_selector(cluster: Cluster, row: WorkloadKind, namespace: str) -> None:
    """Do what the kind's controller would: say in the status which pods are the workload's."""
    name = row.kind.lower()
    status = json.dumps({"status": {row.selector_path[-1]: f"app={name}"}})
    resource = f"{row.plural}.{row.api_group}"
    cluster.kubectl("patch", resource, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", status)


def pool(kind: str, namespace: str) -> dict[str, Any]:
    """Return a pool whose target has fewer replicas than it may have, so that it is scaled at once."""
    variant = {
        "name": kind.lower(),
        "target": {"kind": kind, "name": kind.lower()},
        "minReplicas": 2,
        "maxReplicas": 4,
    }
    return {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": kind.lower(), "namespace": namespace},
        "spec": {
            "mode": "Auto",
            "slo": {"ttft": "1s", "itl": "60ms"},
            "telemetry": {"engine": "vllm"},
            "inferencePoolRef": {"name": "gateway"},
            "roles": {"serve": {"variants": [variant]}},
        },
    }


def granted() -> set[Grant]:
    """Return what the chart's defaults grant the operator: group, resource, name of the object, verb."""
    return {
        (group, resource, name, verb)
        for role, _, group, resource, name, verb in rights(render())
        if not role.endswith(NOT_THE_OPERATORS)
    }


def used(recorder: RequestRecorder, granted: set[Grant]) -> set[Grant]:
    """Return what was asked for, in the grants' words: an object's name only where they have one."""
    named = {(group, resource, verb) for group, resource, name, verb in granted if name}
    return {
        (
            item.group,
            item.resource,
            item.name if (item.group, item.resource, item.verb) in named else "",
            item.verb,
        )
        for item in recorder.asked()
    }


@pytest.mark.usefixtures("every_kind", "labelled_tenants")
def test_what_the_operator_uses_is_what_the_chart_grants(
    cluster: Cluster, namespace: str, recorder: RequestRecorder
) -> None:
    """Protects from rights that nothing needs, and from needs without a right."""
    token = cluster.token_for(NAMESPACE, SERVICE_ACCOUNT)
    text = kubeconfig_text(server=recorder.url, ca_certificate=b"", token=token, name="recorded")
    document = yaml.safe_load(text)
    del document["clusters"][0]["cluster"]["certificate-authority-data"]  # plain HTTP, up to the proxy
    kubeconfig: Path = write_private(
        cluster.run_directory / f"recorded-{namespace}.kubeconfig", yaml.safe_dump(document)
    )
    others = {**{kind: row.api_version for kind, row in FOREIGN.items()}, "StatefulSet": "apps/v1"}
    with Stage(cluster, namespace, nodes=2) as stage:
        stage.deploy()
        cluster.apply([workload(kind, api, namespace) for kind, api in others.items()])
        for row in FOREIGN.values():
            tell_selector(cluster, row, namespace)
        cluster.apply([pool(kind, namespace) for kind in others])
        stage.serve(steps(Step(200, 6.0)))
        # A mark that an earlier scale-in left on a pod, which the operator takes back.
        release = field_manager(NAMESPACE, "forebay")
        mark = (
            "annotate",
            "pods",
            "-n",
            namespace,
            "--all",
            "--overwrite",
            f"{COST_BEFORE}=",
            f"{CHOSEN_BY}={release}",
        )
        eventually(lambda: "annotated" in cluster.kubectl(*mark), timeout_seconds=60)
        stage.operate(kubeconfig=kubeconfig)
        wanted = granted()
        eventually(
            lambda: wanted <= used(recorder, wanted),
            timeout_seconds=120,
            describe=lambda: f"granted, not used: {sorted(wanted - used(recorder, wanted))}\n{stage.story()}",
        )
        assert used(recorder, wanted) == wanted
        refused = [item for item in recorder.asked() if item.status in {401, 403}]
        assert not refused
