"""Protects: what the API server accepts the models parse, and the other way round."""

import json

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from devcluster import Cluster, Rest
from forebay.api.base import Resource
from forebay.api.parsing import InvalidResourceError, parse_any
from forebay.api.v1alpha1 import KINDS
from tests.cluster.api_verdict import refusal
from tests.unit.api.manifests import Manifest
from tests.unit.api.mutations import manifests

MANIFESTS = {kind: manifests(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def rest(cluster: Cluster) -> Rest:
    return cluster.rest()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(
    max_examples=300,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a case is small as it is, and each try to shrink it asks the API server
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_both_give_the_same_verdict(kind: type[Resource], rest: Rest, data: st.DataObject) -> None:
    body = data.draw(MANIFESTS[kind])
    server, models = refusal(rest, body, "default"), _refused_by_models(body)
    note(json.dumps(body))
    note(f"API server: {server}")
    note(f"models: {models}")
    assert (server is None) == (models is None)


def _refused_by_models(body: Manifest) -> str | None:
    try:
        parse_any(body)
    except InvalidResourceError as error:
        return str(error)
    return None
