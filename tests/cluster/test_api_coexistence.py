"""Protects: our InferencePool and that of the Gateway API Inference Extension live in one cluster."""

from collections.abc import Iterator
from typing import Any

import pytest

from devcluster import GATEWAY_INFERENCE_EXTENSION, Cluster, upstream_crds
from forebay.api.parsing import parse
from forebay.api.v1alpha1 import InferencePool
from forebay.api.v1alpha1.inferencepool import GATEWAY_POOL_API

VERSION = "v1.0.0"
OURS = "inferencepools.forebay.io"
THEIRS = "inferencepools.inference.networking.k8s.io"


@pytest.fixture(scope="module")
def both(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the CRDs of both projects; theirs go away again."""
    for path in upstream_crds(GATEWAY_INFERENCE_EXTENSION, VERSION):
        if path.stem.startswith("inference.networking.k8s.io"):
            cluster.apply(path)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{THEIRS}")
    yield cluster
    cluster.kubectl("delete", "crd", THEIRS, "--wait=false")


@pytest.fixture
def pools(both: Cluster, namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pool of theirs, and one of ours that refers to it."""
    theirs = {
        "apiVersion": GATEWAY_POOL_API,
        "kind": "InferencePool",
        "metadata": {"name": "chat-gateway", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "chat"}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        },
    }
    ours = {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "slo": {"ttft": "1s", "itl": "50ms"},
            "telemetry": {"engine": "vllm"},
            "inferencePoolRef": {"name": "chat-gateway"},
            "roles": {
                "serve": {
                    "variants": [
                        {"name": "chat", "target": {"kind": "Deployment", "name": "chat"}, "maxReplicas": 8}
                    ]
                }
            },
        },
    }
    both.apply(theirs)
    both.apply(ours)
    return theirs, ours


def test_qualified_names_tell_the_two_apart(both: Cluster, namespace: str, pools: object) -> None:
    assert both.kubectl("get", OURS, "-n", namespace, "-o", "name").split() == [
        f"{OURS.replace('s.', '.', 1)}/chat"
    ]
    assert both.kubectl("get", THEIRS, "-n", namespace, "-o", "name").split() == [
        f"{THEIRS.replace('s.', '.', 1)}/chat-gateway"
    ]


def test_the_short_name_is_ours(both: Cluster, namespace: str, pools: object) -> None:
    assert both.kubectl("get", "fpool", "-n", namespace, "-o", "name").strip().endswith("forebay.io/chat")


def test_the_category_lists_ours_alone(both: Cluster, namespace: str, pools: object) -> None:
    listed = both.kubectl("get", "forebay", "-n", namespace, "-o", "name").split()
    assert [name for name in listed if name.startswith("inferencepool")] == ["inferencepool.forebay.io/chat"]


def test_inference_pool_ref_leads_to_theirs(both: Cluster, namespace: str, pools: object) -> None:
    rest = both.rest()
    body = rest.get(f"/apis/forebay.io/v1alpha1/namespaces/{namespace}/inferencepools/chat")
    ours = parse(InferencePool, body)
    assert ours.spec.inference_pool_ref is not None
    found = rest.get(
        f"/apis/{GATEWAY_POOL_API}/namespaces/{ours.namespace}/inferencepools/{ours.spec.inference_pool_ref.name}"
    )
    assert found["apiVersion"] == GATEWAY_POOL_API
