"""Manifests that tests share: the samples, and the table of bad manifests."""

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "manifests" / "samples"
TABLE = ROOT / "tests" / "data" / "bad_manifests.yaml"

Manifest = dict[str, Any]


def samples() -> list[Manifest]:
    """Return every object of the samples."""
    return [
        body for path in sorted(SAMPLES.glob("*.yaml")) for body in yaml.safe_load_all(path.read_text()) if body
    ]


def sample(name: str) -> Manifest:
    """Return the sample of an InferencePool called ``name``, without its namespace."""
    body = next(body for body in samples() if body["kind"] == "InferencePool" and body["metadata"]["name"] == name)
    return {**body, "metadata": {"name": name}}


@dataclass(frozen=True, slots=True)
class BadManifest:
    """One manifest that must be refused."""

    name: str
    body: Manifest
    sentence: str
    """Part of what the API server says."""
    pydantic: str | None
    """Part of what the models say; ``None`` where only the API server can know."""
    before: Manifest | None
    """For a change that is refused: the object before it."""


def good_bases() -> list[Manifest]:
    """Return the manifests that the bad ones start from; each is good itself."""
    return list(yaml.safe_load(TABLE.read_text())["bases"].values())


@cache
def bad_manifests() -> list[BadManifest]:
    """Return the table, each case patched onto its base."""
    table = yaml.safe_load(TABLE.read_text())
    return [_case(entry, table["bases"]) for entry in table["cases"]]


def patched(base: Manifest, entries: Manifest) -> Manifest:
    """Return ``base`` with values set by path, as the head of the table explains."""
    result = copy.deepcopy(base)
    for path, value in entries.items():
        *parents, last = _parts(path)
        holder: Any = result
        for part in parents:
            holder = holder[part] if isinstance(part, int) else holder.setdefault(part, {})
        if value == "REMOVE":
            del holder[last]
        elif isinstance(holder, list) and last == len(holder):
            holder.append(value)
        elif isinstance(value, dict) and set(value) == {"REPEAT"}:
            holder[last] = repeated(**value["REPEAT"])
        else:
            holder[last] = value
    return result


def repeated(*, count: int, of: Any) -> Any:
    """Return ``count`` copies of ``of`` with ``#`` replaced by the index; a string is repeated as text."""
    if isinstance(of, str):
        return of * count
    copies = [yaml.safe_load(yaml.safe_dump(of).replace("#", str(index))) for index in range(count)]
    if isinstance(of, dict) and set(of) == {"key", "value"}:
        return {entry["key"]: entry["value"] for entry in copies}
    return copies


def _parts(path: str) -> list[str | int]:
    parts: list[str | int] = []
    for piece in path.split("."):
        name, *indices = piece.replace("]", "").split("[")
        parts += [name.replace("%", "."), *map(int, indices)]
    return parts


def _case(entry: Manifest, bases: Manifest) -> BadManifest:
    base = bases[entry["base"]]
    sentence = entry["expect"]
    before = patched(base, entry["before"]) if "before" in entry else None
    return BadManifest(
        name=entry["name"],
        body=patched(before or base, entry["set"]),
        sentence=sentence,
        pydantic=None if before is not None else entry.get("pydantic", sentence),
        before=before,
    )
