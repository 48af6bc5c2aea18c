"""CustomResourceDefinitions and their reference, generated from the pydantic models."""

from forebay.api.crd.definition import documents

__all__ = ["documents"]
