"""Protects: the API server itself refuses a bad manifest, with a sentence that says what to change."""

import re

import pytest

from devcluster import Cluster, Rest
from tests.cluster.api_verdict import refusal, refusal_of_change
from tests.unit.api.manifests import BadManifest, bad_manifests, good_bases, samples

CASES = bad_manifests()


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return cluster.rest()


@pytest.mark.parametrize("case", [case for case in CASES if case.before is None], ids=lambda case: case.name)
def test_a_bad_manifest_is_refused_with_its_sentence(case: BadManifest, rest: Rest) -> None:
    said = refusal(rest, case.body, "default")
    assert said is not None
    assert case.sentence in said
    assert re.search(r"\b(specs?|metadata)\b", said), "no field is named"


@pytest.mark.parametrize("case", [case for case in CASES if case.before is not None], ids=lambda case: case.name)
def test_a_change_of_what_is_immutable_is_refused_with_its_sentence(
    case: BadManifest, rest: Rest, namespace: str
) -> None:
    assert case.before is not None
    said = refusal_of_change(rest, case.before, case.body, namespace)
    assert said is not None
    assert case.sentence in said


@pytest.mark.parametrize(
    "body", [*samples(), *good_bases()], ids=lambda body: f"{body['kind']}-{body['metadata']['name']}"
)
def test_every_sample_and_every_base_is_accepted(body: dict[str, object], rest: Rest) -> None:
    in_default = {**body, "metadata": {"name": body["metadata"]["name"]}}  # type: ignore[index]
    assert refusal(rest, in_default, "default") is None
