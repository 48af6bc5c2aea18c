"""Engines and gateways as data: one YAML file each.

Adding one is adding a file. This module tells which there are, so that the resources can name them;
`forebay.telemetry.query.dialect` reads what they say. ``docs/telemetry.md`` describes their fields.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

DialectKind = Literal["engine", "gateway"]


@cache
def texts() -> Mapping[str, str]:
    """Return the content of every dialect file by file name, in the order of the names."""
    files = (file for file in resources.files(__name__).iterdir() if file.name.endswith(".yaml"))
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(files, key=lambda file: file.name)}


@cache
def names(kind: DialectKind) -> tuple[str, ...]:
    """Return the names of all engines or gateways, in alphabetical order."""
    heads: list[dict[str, Any]] = [yaml.safe_load(text) for text in texts().values()]
    return tuple(sorted(head["name"] for head in heads if head["kind"] == kind))
