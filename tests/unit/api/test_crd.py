"""The generator: structural schemas, everything bounded and described, files without drift."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field

from forebay.api.base import Resource
from forebay.api.crd.__main__ import main
from forebay.api.crd.definition import definition, documents, root_schema
from forebay.api.crd.structural import NotStructural, structural_schema
from forebay.api.rules import ListType
from forebay.api.v1alpha1 import KINDS
from tests.unit.api.manifests import ROOT

Schema = dict[str, Any]


def nodes(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, entry in schema.get("properties", {}).items():
        yield from nodes(entry, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def fields(kind: type[Resource]) -> list[tuple[str, Schema]]:
    properties = root_schema(kind)["properties"]
    return [
        node
        for part in ("spec", "status")
        if part in properties
        for node in nodes(properties[part], f"{kind.__name__}.{part}")
    ]


def test_files_are_what_the_models_say() -> None:
    assert main(["--out", str(ROOT / "crds"), "--docs", str(ROOT / "docs" / "api.md"), "--check"]) == 0


def test_check_finds_an_edited_a_missing_and_a_left_over_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "crds"), "--docs", str(tmp_path / "api.md")]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    edited, missing, *_ = sorted((tmp_path / "crds").glob("*.yaml"))
    edited.write_text(edited.read_text() + "# by hand\n")
    missing.unlink()
    left_over = tmp_path / "crds" / "old.yaml"
    left_over.write_text("{}")
    assert main([*arguments, "--check"]) == 1
    said = capsys.readouterr().err
    assert all(f"{path} differs from the models" in said for path in (edited, missing, left_over))
    assert main(arguments) == 0
    assert not left_over.exists()
    assert main([*arguments, "--check"]) == 0


def test_the_output_does_not_depend_on_the_run() -> None:
    assert documents() == documents()
    assert list(documents()) == [f"forebay.io_{kind.info.plural}.yaml" for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_document_is_the_definition(kind: type[Resource]) -> None:
    text = documents()[f"forebay.io_{kind.info.plural}.yaml"]
    assert yaml.safe_load(text) == definition(kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_is_typed_and_bounded(kind: type[Resource]) -> None:
    for path, schema in fields(kind):
        type_ = schema.get("type")
        assert type_ or schema.get("x-kubernetes-int-or-string"), path
        assert type_ != "string" or "enum" in schema or "maxLength" in schema, path
        assert type_ != "array" or {"maxItems", "x-kubernetes-list-type"} <= schema.keys(), path
        assert "additionalProperties" not in schema or "maxProperties" in schema, path
        forbidden = {"$ref", "anyOf", "oneOf", "title", "const", "exclusiveMinimum"}
        assert schema.keys().isdisjoint(forbidden), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_is_described(kind: type[Resource]) -> None:
    for path, schema in fields(kind):
        if not path.endswith("[]"):
            assert re.fullmatch(r"(?s)[A-Za-z0-9].{3,}[.)]", schema["description"]), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_rule_says_what_to_change(kind: type[Resource]) -> None:
    for path, schema in fields(kind):
        for rule in schema.get("x-kubernetes-validations", ()):
            assert len(rule["message"]) < 400, path
            assert re.search(r": |; |give either|applies to", rule["message"]), rule["message"]


class Recursive(BaseModel):
    """A model that no structural schema can hold."""

    child: "Recursive | None" = None


class Union(BaseModel):
    """A model with a union of types."""

    either: int | str = Field(max_length=3)


class Unbounded(BaseModel):
    """A model with a list of any length."""

    names: tuple[int, ...] = ()


class Exclusive(BaseModel):
    """A model with a keyword that Kubernetes writes in another way."""

    share: float = Field(gt=0)


class UnboundedText(BaseModel):
    """A model with a text of any length."""

    name: str


class UnboundedMap(BaseModel):
    """A model with a map of any size."""

    labels: Mapping[str, Annotated[str, Field(max_length=3)]]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Recursive, "Recursive contains itself"),
        (Union, "no unions"),
        (Unbounded, "a list needs a max_length"),
        (Exclusive, "keyword exclusiveMinimum has no place"),
        (UnboundedText, "a string needs a max_length"),
        (UnboundedMap, "a map needs a max_length"),
    ],
)
def test_what_kubernetes_would_refuse_is_an_error(model: type[BaseModel], sentence: str) -> None:
    with pytest.raises(NotStructural, match=sentence):
        structural_schema(model)


def test_a_map_list_names_its_keys_as_users_write_them() -> None:
    class Entry(BaseModel):
        input_tokens: int = Field(alias="inputTokens")

    class Holder(BaseModel):
        points: Annotated[tuple[Entry, ...], Field(max_length=2), ListType("map", ("input_tokens",))]

    assert structural_schema(Holder)["properties"]["points"]["x-kubernetes-list-map-keys"] == ["inputTokens"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_columns_lead_to_fields(kind: type[Resource]) -> None:
    schema = root_schema(kind)
    for column in kind.info.columns:
        if column.path.startswith(".metadata"):
            continue
        inner = schema
        for part in re.sub(r"\[[^]]*]", "[]", column.path).lstrip(".").split("."):
            inner = inner["properties"][part.removesuffix("[]")]
            inner = inner["items"] if part.endswith("[]") else inner
        assert inner["type"] in ("string", "integer", "boolean")
