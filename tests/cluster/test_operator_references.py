"""The operator and the gateway's pools: a reference leads somewhere or the pool says that it does not."""

from collections.abc import Iterator

import pytest

from devcluster import GATEWAY_INFERENCE_EXTENSION, Cluster, upstream_crds
from devcluster.waiting import eventually
from forebay.api.v1alpha1.inferencepool import GATEWAY_POOL_API
from runoperator.scenario import Stage

VERSION = "v1.0.0"
THEIRS = "inferencepools.inference.networking.k8s.io"


@pytest.fixture
def stage(cluster: Cluster, namespace: str) -> Iterator[Stage]:
    """A pool on a cluster that does not know theirs, at first."""
    without_theirs(cluster)
    try:
        with Stage(cluster, namespace, nodes=1) as stage:
            yield stage
    finally:
        without_theirs(cluster)


def without_theirs(cluster: Cluster) -> None:
    if cluster.kind == "kubeconfig" and THEIRS in cluster.kubectl("get", "crd", "-o", "name"):
        pytest.skip("the cluster has the Gateway API Inference Extension, which is not this test's to remove")
    cluster.kubectl("delete", "crd", THEIRS, "--ignore-not-found", "--timeout=30s")


def install_theirs(cluster: Cluster) -> None:
    for path in upstream_crds(GATEWAY_INFERENCE_EXTENSION, VERSION):
        if path.stem.startswith("inference.networking.k8s.io"):
            cluster.apply(path)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{THEIRS}")


def gateway_pool(namespace: str) -> dict[str, object]:
    return {
        "apiVersion": GATEWAY_POOL_API,
        "kind": "InferencePool",
        "metadata": {"name": "gateway", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "chat"}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        },
    }


def test_a_reference_to_the_gateway_s_pool_is_missing_until_it_is_there(stage: Stage) -> None:
    """Protects from a typing error that nobody sees, on clusters with and without the upstream CRD."""
    stage.deploy()
    operator = stage.operate({"resync": "3s"}, prometheus=False)
    stage.add_pool("routed", target="chat-decode", inferencePoolRef={"name": "gateway"})

    def told(status: str, words: str) -> None:
        found = stage.condition("ReferencesFound", pool="routed")
        assert found["status"] == status, found
        assert words in str(found["message"]), found

    eventually(
        lambda: told("False", "install the CRDs of the Gateway API Inference Extension"),
        timeout_seconds=120,
        describe=stage.story,
    )
    install_theirs(stage.cluster)
    eventually(
        lambda: told("False", f"gateway in namespace {stage.namespace}"), timeout_seconds=120, describe=stage.story
    )
    stage.cluster.apply(gateway_pool(stage.namespace))
    eventually(lambda: told("True", "All referenced objects exist"), timeout_seconds=120, describe=stage.story)
    assert stage.condition("ReferencesFound")["status"] == "True"
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0
    assert "Forbidden" not in operator.log(200)
