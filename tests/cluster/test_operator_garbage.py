"""The operator beside objects that were stored before today's schema: told of, and in nobody's way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from devcluster import Cluster
from devcluster.rest import JSON_PATCH, mapping, sequence, text
from devcluster.waiting import eventually
from runoperator.scenario import Stage, Step, steps

OURS = ("inferencepools", "gpunodepools", "servingprofiles", "scalingpolicies")
SCHEMA = "/spec/versions/0/schema/openAPIV3Schema"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
VARIANT = {"name": "nobody", "target": {"kind": "Deployment", "name": "nobody"}, "maxReplicas": 2}
GOOD_POOL = {
    "slo": {"ttft": "1s", "itl": "50ms"},
    "telemetry": {"engine": "vllm"},
    "roles": {"serve": {"variants": [VARIANT]}},
}
BAD_POOLS: Mapping[str, Any] = {
    "no-spec": None,
    "text": "a text",
    "list": [1, {"a": None}],
    "number": 7,
    "empty": {},
    "nulls": {"slo": None, "telemetry": None, "roles": None, "mode": None},
    "roles-text": {**GOOD_POOL, "roles": "serve"},
    "role-null": {**GOOD_POOL, "roles": {"serve": None}},
    "variants-object": {**GOOD_POOL, "roles": {"serve": {"variants": {"name": "a"}}}},
    "variants-odd": {**GOOD_POOL, "roles": {"serve": {"variants": [None, 7, "x", []]}}},
    "target-list": {**GOOD_POOL, "roles": {"serve": {"variants": [{**VARIANT, "target": ["a"]}]}}},
    "max-text": {**GOOD_POOL, "roles": {"serve": {"variants": [{**VARIANT, "maxReplicas": "many"}]}}},
    "slo-list": {**GOOD_POOL, "slo": [1, 2]},
    "mode-number": {**GOOD_POOL, "mode": 5},
    "telemetry-false": {**GOOD_POOL, "telemetry": False},
    "policy-text": {**GOOD_POOL, "policyRef": "fast"},
}
STATUS_IS_TAKEN = ("no-spec", "slo-list", "mode-number", "policy-text")
STATUSES: Mapping[str, Any] = {
    "text": "a text",
    "list": [1],
    "number": 7,
    "conditions-text": {"conditions": "Ready"},
    "conditions-odd": {"conditions": [None, 7, {"type": 5}, {"type": "Ready", "lastTransitionTime": "once"}]},
    "parts-odd": {"summary": [], "lastDecision": "x", "roles": {"a": 1}, "forecast": 5, "leadTime": [7]},
}


@pytest.fixture
def stage(cluster: Cluster, namespace: str) -> Iterator[Stage]:
    """A prefill/decode pool with nodes of its own; ends what the test started."""
    if cluster.kind == "kubeconfig":
        pytest.skip("the CRDs of a cluster that exists are not this test's to change")
    with Stage(cluster, namespace, nodes=3) as stage:
        yield stage


@contextmanager
def without_validation(cluster: Cluster) -> Iterator[None]:
    """Have the API server store anything as our kinds for as long as the context lasts."""
    rest = cluster.rest()
    paths = {kind: f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.forebay.io" for kind in OURS}
    schemas = {
        kind: sequence(rest.get(path), "spec", "versions")[0]["schema"]["openAPIV3Schema"]  # type: ignore[index]
        for kind, path in paths.items()
    }

    def give(kind: str, schema: object) -> None:
        patch = [{"op": "replace", "path": SCHEMA, "value": schema}]
        rest.patch(paths[kind], patch, content_type=JSON_PATCH)

    try:
        for kind in OURS:
            give(kind, ANYTHING)
        yield
    finally:
        for kind, schema in schemas.items():
            give(kind, schema)


def own(kind: str, name: str, namespace: str | None, spec: Any) -> dict[str, Any]:
    body = {"apiVersion": "forebay.io/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    return body if spec is None else {**body, "spec": spec}


def store_garbage(stage: Stage) -> None:
    """Create objects with wrong types everywhere; pools beside them are right but for their status."""
    rest, api = stage.cluster.rest(), "/apis/forebay.io/v1alpha1"
    pools = f"{api}/namespaces/{stage.namespace}/inferencepools"

    def create(path: str, body: dict[str, Any]) -> None:
        def created() -> bool:
            try:
                rest.create(path, body)
            except ApiException as error:
                # The relaxed schema takes a moment to be served.
                if error.status not in {400, 422}:
                    raise
                return False
            return True

        eventually(created, timeout_seconds=120, describe=lambda: str(body))

    for name, spec in BAD_POOLS.items():
        create(pools, own("InferencePool", name, stage.namespace, spec))
    for name, status in STATUSES.items():
        for kind, spec in (("status", GOOD_POOL), ("both", "garbage")):
            create(pools, own("InferencePool", f"{kind}-{name}", stage.namespace, spec))
            rest.patch(f"{pools}/{kind}-{name}/status", {"status": status})
    create(f"{api}/gpunodepools", own("GPUNodePool", "odd", None, {"gpusPerNode": "eight"}))
    odd = [{"phase": "node", "p50": 7, "p90": "soon", "samples": "x"}]
    rest.patch(f"{api}/gpunodepools/{stage.nodes.name}/status", {"status": {"leadTime": odd, "conditions": {}}})
    create(f"{api}/servingprofiles", own("ServingProfile", "odd", None, ["garbage"]))
    policies = f"{api}/namespaces/{stage.namespace}/scalingpolicies"
    create(policies, own("ScalingPolicy", "odd", stage.namespace, {"spareReplicas": "nine"}))


def test_garbage_is_told_of_and_hinders_nobody(stage: Stage) -> None:
    """Protects the fleet from any single object, however it came to be what it is."""
    stage.deploy()
    stage.serve(steps(Step(400, 8.0)))
    operator = stage.operate()
    with without_validation(stage.cluster):
        store_garbage(stage)
    eventually(lambda: stage.replicas()["chat-prefill"] >= 3, timeout_seconds=180, describe=stage.story)

    bad = [*BAD_POOLS, *(f"both-{name}" for name in STATUSES)]

    rest = stage.cluster.rest()

    def events_say_so() -> None:
        told = rest.items(f"/api/v1/namespaces/{stage.namespace}/events")
        about = {
            text(event, "involvedObject", "name"): text(event, "message")
            for event in told
            if text(event, "reason").endswith("InvalidSpec")
        }
        for name in bad:
            assert about.get(name, "").startswith(f"InferencePool {stage.namespace}/{name}: "), (name, about)
        assert about.get("odd", "").startswith("ScalingPolicy "), about

    eventually(events_say_so, timeout_seconds=120, describe=operator.log)
    # The API server takes no status of an object whose spec its rules cannot even be evaluated on.
    for name in STATUS_IS_TAKEN:
        ready = stage.condition("Ready", pool=name)
        assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec"), (name, ready)
    for name in STATUSES:
        stage.await_condition("TargetsFound", "False", seconds=120, pool=f"status-{name}")
    phases = {item["phase"] for item in stage.node_pool_status()["leadTime"]}
    assert "node" in phases
    assert operator.exit_status() is None, operator.log()
    assert operator.metric("forebay_rounds_total", outcome="failed") == 0
    assert operator.metric("forebay_invalid_resources", kind="inferencepools") == len(bad)
    for kind in ("gpunodepools", "servingprofiles", "scalingpolicies"):
        assert operator.metric("forebay_invalid_resources", kind=kind) == 1
    assert "Traceback" not in operator.log(2000)


def test_the_schema_is_back(cluster: Cluster) -> None:
    """Protects the tests after these."""
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferencepools.forebay.io"
    (version,) = sequence(cluster.rest().get(crd), "spec", "versions")
    assert "spec" in mapping(version, "schema", "openAPIV3Schema", "properties")
