"""The operator of single namespaces: Roles are enough, and what they cannot grant is gone without and said."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from devcluster.waiting import eventually
from runoperator import SERVICE_ACCOUNT, RunningOperator
from runoperator.install import NAMESPACED, rendered
from runoperator.scenario import Stage, Step, steps


@pytest.fixture
def stage(cluster: Cluster, namespace: str) -> Iterator[Stage]:
    """A pool in a namespace that has an install of its own, by Roles alone."""
    with Stage(cluster, namespace, nodes=3) as stage:
        grant(stage, rendered(cluster, NAMESPACED))
        yield stage


def grant(stage: Stage, documents: list[dict[str, Any]]) -> None:
    """Apply an install's parts but its Deployment, in the stage's namespace instead of its own."""
    text = yaml.safe_dump_all(part for part in documents if part["kind"] != "Deployment")
    stage.cluster.apply(text.replace("namespace: serving", f"namespace: {stage.namespace}"))


def grant_nodes(stage: Stage) -> None:
    """Apply what a cluster administrator adds."""
    grant(stage, list(yaml.safe_load_all((NAMESPACED / "nodes.yaml").read_text())))


@pytest.fixture
def other(cluster: Cluster) -> Iterator[str]:
    """A namespace with a pool that is nobody's business here."""
    name = "not-watched"
    pool = {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": "chat", "namespace": name},
        "spec": {
            "slo": {"ttft": "1s", "itl": "50ms"},
            "telemetry": {"engine": "vllm"},
            "roles": {
                "serve": {
                    "variants": [{"name": "a", "target": {"kind": "Deployment", "name": "a"}, "maxReplicas": 2}]
                }
            },
        },
    }
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, pool])
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def operate(stage: Stage, *namespaces: str, **options: Any) -> RunningOperator:
    kubeconfig = stage.cluster.kubeconfig_for(stage.namespace, SERVICE_ACCOUNT)
    watched = ",".join((stage.namespace, *namespaces))
    flags = {"namespace": watched, "lease-namespace": stage.namespace, "resync": "5s"}
    return stage.operate(flags, kubeconfig=kubeconfig, **options)


def test_roles_are_enough_to_follow_the_load(stage: Stage, other: str) -> None:
    """Protects the install of a namespace's own administrator, and everybody else from it."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    operator = operate(stage)
    eventually(lambda: stage.replicas()["chat-prefill"] >= 2, timeout_seconds=120, describe=stage.story)
    stage.await_condition("ReferencesFound", "False", seconds=120)
    assert "gpunodepools.forebay.io may not be read" in str(stage.condition("ReferencesFound")["message"])
    log = operator.log(400)
    assert log.count("list and watch it by a ClusterRole") == 4
    assert "orbidden" not in log
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0
    rest = stage.cluster.rest()
    assert "status" not in rest.get(f"/apis/forebay.io/v1alpha1/namespaces/{other}/inferencepools/chat")

    grant_nodes(stage)
    stage.await_condition("ReferencesFound", "True", seconds=120)
    assert float(stage.pool_status()["costPerHour"]) > 0
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0


def test_with_nodes_to_read_prices_and_profiles_count(stage: Stage) -> None:
    """Protects the cheap half of the product for those who watch one namespace."""
    grant_nodes(stage)
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    operator = operate(stage)
    eventually(lambda: stage.replicas()["chat-prefill"] >= 3, timeout_seconds=180, describe=stage.story)
    stage.await_condition("ReferencesFound", "True", seconds=120)
    assert float(stage.pool_status()["costPerHour"]) > 0
    # It sees a part of the pods that hold GPUs: what it makes of a node pool is no report to others.
    assert stage.node_pool_status() == {}
    assert "orbidden" not in operator.log(400)


def test_a_namespace_without_its_role_is_waited_for_and_named(stage: Stage, other: str) -> None:
    """Protects from an operator that crashes, or is ready, because half of its rights are missing."""
    stage.deploy()
    operator = operate(stage, other, prometheus=False, wait=False)
    eventually(lambda: f"pods in {other}" in operator.log(), timeout_seconds=120, describe=operator.log)
    assert not operator.is_ready()
    assert operator.exit_status() is None
    roles = [part for part in rendered(stage.cluster, NAMESPACED) if part["kind"] in {"Role", "RoleBinding"}]
    for part in roles:
        part["metadata"]["namespace"] = other
    grant(stage, roles)
    eventually(operator.is_ready, timeout_seconds=120, describe=operator.log)
    path = f"/apis/forebay.io/v1alpha1/namespaces/{other}/inferencepools/chat"
    rest = stage.cluster.rest()
    eventually(lambda: "status" in rest.get(path), timeout_seconds=120, describe=operator.log)
