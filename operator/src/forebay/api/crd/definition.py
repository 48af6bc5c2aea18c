"""The CustomResourceDefinition of a resource."""

import yaml

from forebay.api.base import CATEGORY, GROUP, VERSION, Column, Resource
from forebay.api.crd.structural import Schema, structural_schema
from forebay.api.v1alpha1 import KINDS

_HEADER = "# Generated from the pydantic models by `make crds`; do not edit.\n"


def definition(kind: type[Resource]) -> Schema:
    """Return the CRD of ``kind`` as plain data."""
    info = kind.info
    names: Schema = {
        "kind": kind.__name__,
        "listKind": f"{kind.__name__}List",
        "plural": info.plural,
        "singular": info.singular,
        "categories": [CATEGORY],
    }
    if info.short_names:
        names["shortNames"] = list(info.short_names)
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in info.columns],
        "schema": {"openAPIV3Schema": root_schema(kind)},
    }
    if "status" in kind.model_fields:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "forebay"}},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced" if info.namespaced else "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    }


def root_schema(kind: type[Resource]) -> Schema:
    """Return the structural schema of a whole object, with the parts that the API server itself validates."""
    schema = structural_schema(kind, without=("apiVersion", "kind", "metadata"))
    schema["description"] = " ".join((kind.__doc__ or "").split())
    properties = {
        "apiVersion": {"type": "string", "description": "Version of the API: forebay.io/v1alpha1."},
        "kind": {"type": "string", "description": f"Kind of the object: {kind.__name__}."},
        "metadata": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": kind.info.max_name_length}},
        },
    }
    return {**schema, "properties": {**properties, **schema["properties"]}}


def _column(column: Column) -> Schema:
    described: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        described["description"] = column.description
    if column.wide:
        described["priority"] = 1
    return described


def to_yaml(document: Schema) -> str:
    """Return ``document`` as YAML with its keys in the given order."""
    text: str = yaml.safe_dump(document, sort_keys=False, width=115, allow_unicode=True)
    return text


def file_name(kind: type[Resource]) -> str:
    """Return the name of the file in ``crds/`` that holds the CRD of ``kind``."""
    return f"{GROUP}_{kind.info.plural}.yaml"


def kustomization() -> str:
    """Return the kustomization of ``crds/``. Its file has no extension: kubectl apply -f crds passes over it."""
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [file_name(kind) for kind in KINDS],
    }
    return _HEADER + to_yaml(document)


def documents() -> dict[str, str]:
    """Return all CRDs as YAML documents by file name, as `forebay crds` prints them."""
    return {file_name(kind): _HEADER + to_yaml(definition(kind)) for kind in KINDS}
