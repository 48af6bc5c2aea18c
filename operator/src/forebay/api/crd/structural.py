"""Turn the JSON Schema that pydantic emits into the structural schema that Kubernetes accepts.

Kubernetes wants no references, no ``anyOf`` with null, no titles, and only the keywords listed here; see
"Specifying a structural schema" in the Kubernetes documentation. What this module does not know is an error.
"""

from collections.abc import Container, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from forebay.api.rules import RULES_KEY

Schema: TypeAlias = dict[str, Any]

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    RULES_KEY,
)
_DROPPED = frozenset({"title"})
_HANDLED = frozenset(
    {"properties", "required", "items", "additionalProperties", "$ref", "anyOf", "const", "$defs"}
)


class NotStructural(Exception):  # noqa: N818
    """A model says something that a structural schema cannot."""


def structural_schema(model: type[BaseModel], *, without: Container[str] = ()) -> Schema:
    """Return the structural schema of ``model``, by alias, in the order of its fields, some left out.

    Raises:
        NotStructural: the model is recursive, has a union, or uses a keyword that Kubernetes does not know.
    """
    whole = model.model_json_schema(by_alias=True, mode="validation")
    definitions = whole.get("$defs", {})
    schema, seen = _inlined(whole, definitions, model.__name__, ())
    properties = {name: entry for name, entry in schema["properties"].items() if name not in without}
    required = [name for name in schema.get("required", ()) if name not in without]
    schema = {**schema, "properties": properties, "required": required}
    return _converted(schema, definitions, model.__name__, seen)


def _converted(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str, seen: tuple[str, ...]
) -> Schema:
    schema, seen = _inlined(schema, definitions, path, seen)
    unknown = set(schema) - set(_KEPT) - _DROPPED - _HANDLED
    if unknown:
        raise NotStructural(f"{path}: keyword {', '.join(sorted(unknown))} has no place in a structural schema")
    result: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if result.get("default", 0) in (None, [], {}):
        del result["default"]
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if "const" in schema:
        result["enum"] = [schema["const"]]
    if "items" in schema:
        result["items"] = _converted(schema["items"], definitions, f"{path}[]", seen)
    if "properties" in schema:
        result["properties"] = {
            name: _converted(entry, definitions, f"{path}.{name}", seen)
            for name, entry in schema["properties"].items()
        }
        if schema.get("required"):
            result["required"] = list(schema["required"])
    elif isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _converted(schema["additionalProperties"], definitions, f"{path}.*", seen)
    _demand_bounds(result, path)
    return result


def _inlined(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str, seen: tuple[str, ...]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return ``schema`` with its reference or its ``anyOf`` with null replaced by what it stands for."""
    while "$ref" in schema or "anyOf" in schema:
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            if name in seen:
                raise NotStructural(f"{path}: {name} contains itself")
            seen = (*seen, name)
            meant = definitions[name]
        else:
            choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
            if len(choices) != 1:
                raise NotStructural(f"{path}: a structural schema has no unions of types")
            meant = choices[0]
        rules = [*meant.get(RULES_KEY, []), *beside.get(RULES_KEY, [])]
        schema = {**meant, **beside, **({RULES_KEY: rules} if rules else {})}
    return schema, seen


def _demand_bounds(schema: Schema, path: str) -> None:
    """Refuse unbounded strings, lists and maps: the API server could not bound the cost of a CEL rule."""
    kind = schema.get("type")
    if kind == "string" and "enum" not in schema and "maxLength" not in schema:
        raise NotStructural(f"{path}: a string needs a max_length")
    if kind == "array" and "maxItems" not in schema:
        raise NotStructural(f"{path}: a list needs a max_length")
    if "additionalProperties" in schema and "maxProperties" not in schema:
        raise NotStructural(f"{path}: a map needs a max_length")
    if kind == "array" and "x-kubernetes-list-type" not in schema:
        raise NotStructural(f"{path}: a list needs a ListType")
