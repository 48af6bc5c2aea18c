"""Objects become resources, or one sentence."""

from typing import Any

import pytest

from forebay.api.base import Resource
from forebay.api.parsing import InvalidResourceError, parse, parse_any
from forebay.api.v1alpha1 import GPUNodePool, InferencePool
from tests.unit.api.manifests import good_bases, patched, samples
from tests.unit.api.mutations import bases

POOL = bases(InferencePool)[-2]


@pytest.mark.parametrize(
    "body", [*samples(), *good_bases()], ids=lambda body: f"{body['kind']}-{body['metadata']['name']}"
)
def test_every_sample_and_every_base_parses(body: dict[str, Any]) -> None:
    assert isinstance(parse_any(body), Resource)


def test_the_smallest_sample_has_at_most_fifteen_lines() -> None:
    from tests.unit.api.manifests import SAMPLES

    assert len((SAMPLES / "inferencepool-smallest.yaml").read_text().splitlines()) <= 15


def test_a_null_is_as_good_as_nothing() -> None:
    with_nulls = patched(POOL, {"spec.mode": None, "spec.limits": None, "spec.pause": {"scaleIn": None}})
    parsed = parse(InferencePool, with_nulls)
    assert parsed.spec.mode == "Recommend"
    assert parsed.spec.limits is None
    assert parsed.spec.pause is not None
    assert parsed.spec.pause.scale_in is False


def test_metadata_may_hold_what_the_api_server_adds() -> None:
    body = patched(POOL, {"metadata.managedFields": [{"manager": "kubectl"}], "metadata.generation": 3})
    assert parse(InferencePool, body).metadata.generation == 3


def test_an_error_is_one_sentence_with_the_name_and_the_paths() -> None:
    body = patched(POOL, {"metadata.namespace": "serving", "spec.slo.ttft": "1d", "spec.slo.percentile": 200})
    with pytest.raises(InvalidResourceError) as refused:
        parse(InferencePool, body)
    assert str(refused.value) == (
        "InferencePool serving/chat: spec.slo.ttft: must be a duration from 1ms to 10m: write it like 800ms or 1s"
        "; spec.slo.percentile: must be per cent from 50 to 99.9 with at most one decimal: write it like 95 or"
        ' "99.9".'
    )


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("spec.slo.ttft", 500, "spec.slo.ttft: must be a duration with its unit: write 500ms or 500s"),
        ("spec.slo.percentile", 99.9, "spec.slo.percentile: must be a whole number, or a string of at most 8"),
        ("spec.roles.serve.variants[0].maxReplicas", "10", "maxReplicas: must be a whole number, without quotes"),
    ],
)
def test_one_mistake_is_one_true_error(path: str, value: object, said: str) -> None:
    """Protects: one wrong field of a variant added "variants: needs at least 1", which was not true."""
    (body,) = (base for base in good_bases() if "serve" in base["spec"].get("roles", {}))
    with pytest.raises(InvalidResourceError) as refused:
        parse_any(patched(body, {path: value}))
    assert said in str(refused.value)
    assert ";" not in str(refused.value)


def test_many_errors_are_counted_not_listed() -> None:
    with pytest.raises(InvalidResourceError, match="and 2 more"):
        parse(InferencePool, {"kind": "InferencePool"} | patched(POOL, {"spec": {"a": 1, "b": 2}}))


@pytest.mark.parametrize("body", [{}, {"kind": None}, {"kind": "Pod"}, {"kind": ["InferencePool"]}])
def test_another_kind_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidResourceError, match="use one of InferencePool, GPUNodePool"):
        parse_any(body)


def test_a_kind_is_not_parsed_as_another() -> None:
    with pytest.raises(InvalidResourceError, match="kind: must be GPUNodePool"):
        parse(GPUNodePool, bases(GPUNodePool)[0] | {"kind": "InferencePool"})


def test_resources_do_not_change() -> None:
    parsed = parse(InferencePool, POOL)
    with pytest.raises(ValueError, match="frozen"):
        parsed.spec.priority = 3  # type: ignore[misc]
