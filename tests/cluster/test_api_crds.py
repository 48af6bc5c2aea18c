"""Protects: the API server takes our CRDs whole, shows their columns, and fills in the defaults."""

from typing import Any

import pytest

from devcluster import Cluster
from forebay.api.base import Resource
from forebay.api.parsing import parse, parse_any
from forebay.api.v1alpha1 import KINDS
from forebay.api.v1alpha1.inferencepool_status import InferencePoolStatus, RoleStatus, Summary
from tests.cluster.api_verdict import collection
from tests.unit.api.manifests import sample
from tests.unit.api.mutations import bases


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_schema_is_structural_and_established(kind: type[Resource], cluster: Cluster) -> None:
    name = f"{kind.info.plural}.forebay.io"
    crd: Any = cluster.rest().get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    conditions = {entry["type"]: entry["status"] for entry in crd["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_defaults_are_those_of_the_models(kind: type[Resource], cluster: Cluster) -> None:
    rest = cluster.rest()
    for body in bases(kind):
        stored = rest.request("POST", collection(kind.__name__, "default"), body, query={"dryRun": "All"})
        assert parse(kind, stored).model_dump(exclude={"metadata"}) == parse_any(body).model_dump(
            exclude={"metadata"}
        )


def test_explain_describes_a_field(cluster: Cluster) -> None:
    said = cluster.kubectl("explain", "inferencepools.spec.slo.ttft", "--api-version=forebay.io/v1alpha1")
    assert "Time to first token, from arrival to the first token" in said


def test_kubectl_get_tells_what_is_on_call_needs(cluster: Cluster, namespace: str) -> None:
    rest = cluster.rest()
    path = f"/apis/forebay.io/v1alpha1/namespaces/{namespace}/inferencepools"
    body = sample("chat-70b")
    rest.request("POST", path, body)
    status = InferencePoolStatus(
        observedGeneration=1,
        summary=Summary(
            replicas="P 3/4 D 6/6", recommended="P 4 D 6", cost="41.20", why="demand rises to 15.8/s in 4m10s"
        ),
        roles=(RoleStatus(role="prefill", ready=3, desired=4, recommended=4),),
        sloAttainment="99.2%",
        costPerHour="41.20",
    )
    name = body["metadata"]["name"]
    rest.request(
        "PATCH",
        f"{path}/{name}/status",
        {"status": status.model_dump(mode="json", by_alias=True, exclude_none=True)},
        content_type="application/merge-patch+json",
    )
    header, row = cluster.kubectl("get", "fpool", "-n", namespace).splitlines()
    assert header.split() == ["NAME", "MODE", "READY", "SLO", "COST/H", "WHY", "AGE"]
    shown = [row[header.index(title) :] for title in ("MODE", "READY", "SLO", "COST/H", "WHY")]
    expected = ("Auto", "P 3/4 D 6/6", "99.2%", "41.20", "demand rises to 15.8/s in 4m10s")
    assert all(cell.startswith(text) for cell, text in zip(shown, expected, strict=True))
