"""Providers that take a number, on the objects that they write: Cluster API's, and a cloud's node group."""

from collections.abc import Iterator
from typing import Any

import pytest

import devcluster
from devcluster import POOL_LABEL, Cluster
from devcluster.gpu import add_nodes
from devcluster.upstream import upstream_crds
from tests.provisioners.clusterapi import GROUP, KINDS, MODULE, MachineController
from tests.provisioners.stage import H100, Journey

NODE_GROUPS = "/apis/eks.services.k8s.aws/v1alpha1/namespaces"


@pytest.fixture
def journey(cluster: Cluster, namespace: str) -> Iterator[Journey]:
    with Journey(cluster, namespace) as journey:
        yield journey


@pytest.fixture
def machines(journey: Journey) -> Iterator[MachineController]:
    """A MachineDeployment of two machines, and what keeps it."""
    cluster = journey.cluster
    for path in upstream_crds(*MODULE):
        if any(path.stem.endswith(f"_{plural}") for plural in KINDS):
            cluster.kubectl("apply", "--server-side", "-f", str(path))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    cluster.apply(
        {
            "apiVersion": GROUP,
            "kind": "MachineDeployment",
            "metadata": {"name": "h100", "namespace": journey.namespace},
            "spec": {
                "clusterName": "one",
                "replicas": 0,
                "selector": {"matchLabels": {"pool": "h100"}},
                "template": {
                    "metadata": {"labels": {"pool": "h100"}},
                    "spec": {
                        "clusterName": "one",
                        "bootstrap": {"dataSecretName": "none"},
                        "infrastructureRef": {
                            "apiGroup": "infrastructure.cluster.x-k8s.io",
                            "kind": "FakeMachineTemplate",
                            "name": "h100",
                        },
                    },
                },
            },
        }
    )
    pool = devcluster.NodePool(journey.name_of(H100), gpus_per_node=8)
    with MachineController(cluster, journey.namespace, "h100", pool) as controller:
        yield controller
    cluster.kubectl("delete", "nodes", "-l", f"{POOL_LABEL}={pool.name}", "--wait=false")


def test_machines_come_for_replicas_and_only_idle_ones_go(journey: Journey, machines: MachineController) -> None:
    """Protects running work: the machine that goes is the one whose node no pod holds GPUs of."""
    provider = {"type": "ClusterAPI", "clusterAPI": {"namespace": journey.namespace, "name": "h100"}}
    journey.deploy(H100, gpus=8, provider=provider)
    journey.want(3)
    journey.operate()
    journey.until(lambda: journey.ready(H100) == 3, seconds=90)
    journey.until(lambda: journey.states(H100) == {"usable": 3}, seconds=30)
    journey.want(1)
    journey.until(lambda: len(journey.nodes(H100)) == 1, seconds=90)
    assert journey.ready(H100) == 1, "the replica that stayed was not touched"
    assert machines.troubles == []


def test_a_number_in_a_cloud_s_object_follows_the_replicas(journey: Journey) -> None:
    """Protects node groups that only a number controls, and those that somebody else scales."""
    journey.cluster.apply(_node_group_crd())
    journey.cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    journey.cluster.apply(
        {
            "apiVersion": "eks.services.k8s.aws/v1alpha1",
            "kind": "Nodegroup",
            "metadata": {"name": "h100", "namespace": journey.namespace},
            "spec": {"scalingConfig": {"minSize": 0, "maxSize": 3, "desiredSize": 0}},
        }
    )
    field = {
        "apiVersion": "eks.services.k8s.aws/v1alpha1",
        "kind": "Nodegroup",
        "namespace": journey.namespace,
        "name": "h100",
        "path": "/spec/scalingConfig/desiredSize",
    }
    journey.deploy(H100, gpus=8, provider={"type": "ObjectField", "objectField": field})
    journey.want(2)
    journey.operate()

    def desired() -> int:
        body: Any = journey.rest.get(f"{NODE_GROUPS}/{journey.namespace}/nodegroups/h100")
        return int(body["spec"]["scalingConfig"]["desiredSize"])

    journey.until(lambda: desired() == 2, seconds=60)
    add_nodes(journey.rest, devcluster.NodePool(journey.name_of(H100), gpus_per_node=8), 2)
    journey.until(lambda: journey.ready(H100) == 2, seconds=60)
    journey.want(5)
    journey.until(lambda: desired() == 3, seconds=60)  # as much as the group may have
    journey.cluster.kubectl("annotate", "nodegroup", "h100", "-n", journey.namespace, _THEIRS)
    journey.until(lambda: journey.condition(H100, "Provided").get("status") == "False", seconds=60)
    assert "an external autoscaler" in journey.condition(H100, "Provided")["message"]
    journey.cluster.kubectl("delete", "nodes", "-l", f"{POOL_LABEL}={journey.name_of(H100)}", "--wait=false")


_THEIRS = "eks.services.k8s.aws/desired-size-managed-by=external-autoscaler"


def _node_group_crd() -> dict[str, Any]:
    """Return the CRD of ACK's Nodegroup as far as the number goes; its module is not in Go's proxy."""
    size = {"type": "integer"}
    config = {"type": "object", "properties": dict.fromkeys(("minSize", "maxSize", "desiredSize"), size)}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"scalingConfig": config}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "nodegroups.eks.services.k8s.aws",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for a test"},
        },
        "spec": {
            "group": "eks.services.k8s.aws",
            "scope": "Namespaced",
            "names": {"kind": "Nodegroup", "plural": "nodegroups", "singular": "nodegroup"},
            "versions": [
                {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }
