"""Label selectors, as objects write them (LabelSelector) and as ``/scale`` writes them (a string)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TERM = re.compile(
    r"\s*(?:(?P<absent>!\s*[^\s,=!()]+)|(?P<key>[^\s,=!()]+)\s*"
    r"(?:(?P<sign>==|!=|=)\s*(?P<value>[^\s,()]*)|(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?)\s*(?:,|$)"
)


class SelectorError(ValueError):
    """A selector that cannot be read."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement beyond equality."""

    key: str
    operator: str
    """``In``, ``NotIn``, ``Exists`` or ``DoesNotExist``."""
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet it."""
        match self.operator:
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
            case "In":
                return labels.get(self.key) in self.values
            case _:
                return labels.get(self.key) not in self.values


@dataclass(frozen=True, slots=True)
class Selector:
    """Which pods belong to a workload. An empty one selects none, where Kubernetes would take all."""

    labels: Mapping[str, str] = field(default_factory=dict)
    more: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.more)

    @property
    def keys(self) -> frozenset[str]:
        """Return the labels that it looks at."""
        return frozenset(self.labels) | {requirement.key for requirement in self.more}

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether a pod with these labels belongs to it."""
        equal = all(labels.get(key) == value for key, value in self.labels.items())
        return bool(self) and equal and all(requirement.holds(labels) for requirement in self.more)


def parse_selector(value: object) -> Selector:
    """Return the selector of a LabelSelector object or of its string; an empty one for ``None`` and ``""``.

    Raises:
        SelectorError: it is neither.
    """
    if value is None or value == "":
        return Selector()
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, Mapping):
        more = tuple(_requirement(item) for item in value.get("matchExpressions") or ())
        return Selector(dict(value.get("matchLabels") or {}), more)
    raise SelectorError(f"{value!r} is no label selector")


def _requirement(item: Mapping[str, Any]) -> Requirement:
    return Requirement(str(item["key"]), str(item["operator"]), frozenset(map(str, item.get("values") or ())))


def _from_text(text: str) -> Selector:
    labels: dict[str, str] = {}
    more: list[Requirement] = []
    position = 0
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None or term.end() == position:
            raise SelectorError(f"{text!r} is no label selector")
        position = term.end()
        key = term["key"]
        if term["absent"]:
            more.append(Requirement(term["absent"][1:].strip(), "DoesNotExist"))
        elif term["sign"] == "!=":
            more.append(Requirement(key, "NotIn", frozenset({term["value"]})))
        elif term["sign"]:
            labels[key] = term["value"]
        elif term["set"]:
            values = frozenset(value.strip() for value in term["values"].split(","))
            more.append(Requirement(key, "In" if term["set"] == "in" else "NotIn", values))
        else:
            more.append(Requirement(key, "Exists"))
    return Selector(labels, tuple(more))
