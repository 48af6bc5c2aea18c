"""Hypothesis strategies for manifests that are right, nearly right, or wrong in one to three places."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from forebay.api.base import Resource
from forebay.api.crd.definition import root_schema
from tests.unit.api.manifests import Manifest, good_bases, samples

Path = tuple[str | int, ...]

_STRINGS = (
    *("", " ", "a", "A", "a.b", "a-b", "-a", "a_b", "a/b", "x" * 64, "ä", "a\n", "\n", "١", "null", "true"),
    *(
        "0s",
        "1ns",
        "999us",
        "1ms",
        "0.9999ms",
        "1s",
        "1.5s",
        ".5s",
        "1.s",
        "1s1s",
        "1m0.5s",
        "10m",
        "10m1ns",
        "600001ms",
    ),
    *(
        "1h",
        "2h",
        "7200s",
        "7201s",
        "24h",
        "168h",
        "+1s",
        "-1s",
        "1S",
        "1 s",
        "1d",
        "0.0000001s",
        "0.9999999s",
        "1s\n",
    ),
    *("999999h999999h", "1µs", "1us", "0.5ns", "1.999ns", "0h", "1e3s", "0x1s"),
    *("0", "00", "0.0", "0.1", "0.09", "1", "01", "1.", ".1", "2.95", "2.9500001", "1000000", "1000000.01", "1e3"),
    *("500m", "0.5k", "1M", "1Mi", "1k", "999999.999", "1000001", "0.0001", "0.4m", "1n", "10000", "10000.1"),
    *("1:4", "4:1", "1:1", "0:1", "1:0", "999:1", "1000:1", "1:999", "01:1", "1:4:2", "1/4", ":", "1:"),
    *("apps/v1", "apps/v2beta1", "apps", "v1", "batch/v1", "a.b.c/v1alpha1", "a/b/v1", "apps/v0", "Apps/v1"),
    *("Deployment", "StatefulSet", "LeaderWorkerSet", "Job", "Pod", "Rollout", "deployment", "InferencePool"),
    *("* * * * *", "0 9 * * 1-5", "*/15 0-6,22 1,15 * 0", "60 * * * *", "5-1 * * * *", "* * * *", "0 9 * * MON"),
    *("09:00", "9:00", "23:59", "24:00", "Europe/Berlin", "UTC", "Etc/GMT+1", "America/Argentina/Salta", "../x"),
    *(
        "Mon",
        "Sun",
        "In",
        "NotIn",
        "Recommend",
        "Auto",
        "spot",
        "on-demand",
        "vllm",
        "dynamo",
        "PodDriven",
    ),
    *("model_name", "0abc", "a:b", "meta-llama/Llama-3", 'x"} or up', "a,b=c", "a b", "a b ", "h100", "H100-80GB"),
)
_NUMBERS = (
    0,
    1,
    -1,
    2,
    8,
    49,
    50,
    99,
    100,
    1000,
    1001,
    10_000,
    10_001,
    10**8,
    10**8 + 1,
    10**10,
    10**10 + 1,
    2**63,
)
_OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    0.5,
    1.0,
    3.0,
    -0.0,
    1e30,
    [],
    {},
    [None],
    [1],
    ["a"],
    {"a": "b"},
    {"a": None},
)


def bases(kind: type[Resource]) -> list[Manifest]:
    """Return valid manifests of ``kind`` without a namespace: the samples and the bases of the bad ones."""
    found = [*samples(), *good_bases()]
    return [
        {**body, "metadata": {"name": body["metadata"]["name"]}} for body in found if body["kind"] == kind.__name__
    ]


def manifests(kind: type[Resource]) -> st.SearchStrategy[Manifest]:
    """Return the strategy of manifests of ``kind``: a base with up to three places changed."""
    sources = bases(kind)
    places = [place for place in _places(root_schema(kind)["properties"]["spec"], ("spec",)) if len(place[0]) > 1]
    junk = st.sampled_from((*_STRINGS, *_NUMBERS, *_OTHERS))
    change = st.sampled_from(places).flatmap(
        lambda place: st.tuples(
            st.just(place[0]),
            st.sampled_from(("set", "set", "set", "remove", "repeat")),
            st.one_of(st.sampled_from(_fitting(place[1], place[0], sources)), junk),
        )
    )
    return st.builds(_changed, st.sampled_from(sources), st.lists(change, max_size=3))


def _fitting(schema: Manifest, path: Path, sources: list[Manifest]) -> list[Any]:
    """Return values of the right type for one place, at and beyond its bounds."""
    if "enum" in schema:
        return list(schema["enum"])
    if schema.get("type") == "boolean":
        return [True, False]
    if schema.get("type") == "integer":
        low, high = schema.get("minimum", 0), schema["maximum"]
        return [low, low + 1, (low + high) // 2, high, low - 1, high + 1, 3.0]
    alike = [value for base in sources for name, value in _named(base["spec"]) if name == path[-1]]
    return [*alike, *_STRINGS] if schema.get("type", "string") == "string" else alike or [{}, []]


def _named(body: Any) -> Iterator[tuple[str, Any]]:
    """Yield every field of an object and of the objects in it."""
    if isinstance(body, dict):
        yield from body.items()
    for entry in body.values() if isinstance(body, dict) else body if isinstance(body, list) else ():
        yield from _named(entry)


def _changed(base: Manifest, changes: list[tuple[Path, str, Any]]) -> Manifest:
    body = copy.deepcopy(base)
    for path, action, value in changes:
        _change(body, path, action, copy.deepcopy(value))
    return body


def _change(body: Any, path: Path, action: str, value: Any) -> None:
    """Change one place; where the way there does not exist, it is made, or the change is none."""
    *parents, last = path
    for part, following in zip(parents, path[1:], strict=True):
        if isinstance(part, int):
            if not isinstance(body, list) or not body:
                return
            body = body[part % len(body)]
        elif isinstance(body, dict):
            if body.get(part) is None:
                body[part] = [{}] if isinstance(following, int) else {}
            body = body[part]
        else:
            return
    if isinstance(body, list) and body and isinstance(last, int):
        index = last % len(body)
        if action == "remove":
            del body[index]
        elif action == "repeat":
            body.append(copy.deepcopy(body[index]))
        else:
            body[index] = value
    elif isinstance(body, dict) and isinstance(last, str):
        if action == "remove":
            body.pop(last, None)
        else:
            body[last] = value


def _places(schema: Manifest, path: Path) -> Iterator[tuple[Path, Manifest]]:
    """Yield every place in an object with its schema, and some where nothing may be."""
    yield path, schema
    for name, entry in schema.get("properties", {}).items():
        yield from _places(entry, (*path, name))
    if "properties" in schema:
        yield (*path, "unknown"), {}
    if "additionalProperties" in schema:
        yield from (((*path, key), schema["additionalProperties"]) for key in ("a", "a.b/c", "model_name"))
    if "items" in schema:
        yield from _places(schema["items"], (*path, 0))
        yield from _places(schema["items"], (*path, 1))
