"""The API reference (docs/api.md), from the same schemas as the CRDs."""

import json
import re
from collections.abc import Iterator

from forebay.api.base import API_VERSION, GROUP, Resource
from forebay.api.crd.definition import root_schema
from forebay.api.crd.structural import Schema
from forebay.api.rules import RULES_KEY
from forebay.api.v1alpha1 import KINDS

_MEANINGS = ("duration", "decimal", "ratio")
"""Types that are strings with rules, told apart by what their rules demand."""

_INTRODUCTION = f"""# API reference: `{API_VERSION}`

Generated from the models by `make crds`; do not edit. `kubectl explain` shows the same, for example
`kubectl explain inferencepools.{GROUP}.spec`. Fields in **bold** are required. Write names with their group
(`inferencepools.{GROUP}`), since the Gateway API Inference Extension has an InferencePool too; the short name
`fpool` is ours alone, and `kubectl get forebay -A` lists all resources of the category.

Durations are Go durations such as `800ms`, `1s` and `1.5h`. Money and other decimals are strings such as `"2.95"`:
exact, and readable without counting zeros. A field that is `null` counts as left out.

The rules need Kubernetes 1.29 or newer (CEL validation with `quantity`). None of the resources has a `scale`
subresource: a pool has a count per variant, and an autoscaler that wrote one number into it would fight Forebay.
"""


def reference() -> str:
    """Return the reference of all resources as Markdown."""
    parts = [_INTRODUCTION]
    parts += [f"- [{kind.__name__}](#{kind.__name__.lower()}): {_summary(kind)}" for kind in KINDS]
    parts += [section for kind in KINDS for section in _sections(kind)]
    return "\n".join(parts) + "\n"


def _summary(kind: type[Resource]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _sections(kind: type[Resource]) -> Iterator[str]:
    info = kind.info
    schema = root_schema(kind)
    yield f"\n## {kind.__name__}\n"
    yield _summary(kind) + "\n"
    short = f", short name `{info.short_names[0]}`" if info.short_names else ""
    yield f"`{info.plural}.{GROUP}`, {'namespaced' if info.namespaced else 'cluster-scoped'}{short}."
    yield f"Names have at most {info.max_name_length} characters.\n"
    columns = ", ".join(f"{column.name}{' (wide)' if column.wide else ''}" for column in info.columns)
    yield f"Columns of `kubectl get`: {columns}."
    yield from _rules(schema)
    parts = {part: schema["properties"][part] for part in ("spec", "status") if part in schema["properties"]}
    tables: dict[str, str] = {}
    for part, inner in parts.items():
        _find_tables(f"{kind.__name__}.{part}", inner, tables)
    for part, inner in parts.items():
        yield from _table(f"{kind.__name__}.{part}", inner, tables)


def _find_tables(path: str, schema: Schema, tables: dict[str, str]) -> None:
    """Note under which path each object has its table: equal objects share the first."""
    inner, suffix = _inner(schema)
    if "properties" in inner:
        tables.setdefault(_shape(inner), f"{path}{suffix}")
        for name, field in inner["properties"].items():
            _find_tables(f"{path}{suffix}.{name}", field, tables)


def _table(path: str, schema: Schema, tables: dict[str, str]) -> Iterator[str]:
    """Yield the table of one object, then those of the objects in it, unless they have been shown before."""
    inner, suffix = _inner(schema)
    path = f"{path}{suffix}"
    if "properties" not in inner or tables[_shape(inner)] != path:
        return
    required = inner.get("required", ())
    yield f"\n### {path}\n"
    yield "| field | type | default | what it is |\n| --- | --- | --- | --- |"
    for name, field in inner["properties"].items():
        shown = f"**{name}**" if name in required else name
        default = f"`{field['default']}`" if "default" in field else ""
        yield f"| {shown} | {_type(field, tables)} | {default} | {_description(field)} |"
    yield from _rules(inner)
    for name, field in inner["properties"].items():
        yield from _table(f"{path}.{name}", field, tables)


def _inner(schema: Schema) -> tuple[Schema, str]:
    return (schema["items"], "[]") if schema.get("type") == "array" else (schema, "")


def _shape(schema: Schema) -> str:
    """Return what two objects must have in common to share a table."""
    return json.dumps([schema["properties"], schema.get("required", []), schema.get(RULES_KEY, [])])


def _rules(schema: Schema) -> Iterator[str]:
    rules = [f"- {rule['message']}" for rule in schema.get(RULES_KEY, [])]
    if rules:
        yield "\nRules:\n\n" + "\n".join(rules)


def _type(field: Schema, tables: dict[str, str]) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    kind: str = field["type"]
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if kind == "array":
        return f"list of {_type(field['items'], tables)}, at most {field['maxItems']}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'], tables)}, at most {field['maxProperties']}"
    if "properties" in field:
        anchor = re.sub(r"[^a-z0-9]", "", tables[_shape(field)].lower())
        return f"[object](#{anchor})"
    if {"minimum", "maximum"} <= set(field):
        return f"integer, {field['minimum']} to {field['maximum']}"
    meant = (
        word for word in _MEANINGS for rule in field.get(RULES_KEY, []) if f"must be a {word}" in rule["message"]
    )
    return next(meant, kind)


def _description(field: Schema) -> str:
    sentences = [field.get("description", "")]
    if field.get("type") != "object":
        messages = [rule["message"] for rule in field.get(RULES_KEY, [])]
        sentences += [f"It {message}." for message in messages if message.startswith("must")]
    return " ".join(sentence for sentence in sentences if sentence).replace("|", "\\|")
