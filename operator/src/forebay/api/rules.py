"""Validation rules written once: the CEL that the API server runs beside the Python that says the same.

A `Rule` is attached to a type by `Annotated[str, Rule(...)]`, or to a model by its class variable ``rules``. From
either place the CRD generator copies the CEL and pydantic runs the Python, so that both give one verdict.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

RULES_KEY = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand on a value, in both languages."""

    cel: str
    """Kubernetes CEL over ``self`` (and ``oldSelf`` in a transition rule)."""
    message: str
    """A sentence that names the field and says what to change."""
    holds: Callable[..., bool] | None
    """The same over the parsed value; ``None`` for a transition rule, which only the API server can check."""
    field_path: str = ""
    """Where below the ruled value the fault lies, such as ``.maxReplicas``."""

    def to_schema(self) -> dict[str, str]:
        """Return the rule as an entry of ``x-kubernetes-validations``."""
        entry = {"rule": self.cel, "message": self.message}
        if self.field_path:
            entry["fieldPath"] = self.field_path
        return entry

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described = handler(schema)
        described[RULES_KEY] = [*described.get(RULES_KEY, []), self.to_schema()]
        return described

    def _checked(self, value: object) -> object:
        check((self,), value)
        return value


def check(rules: tuple[Rule, ...], value: object) -> None:
    """Raise a `PydanticCustomError` with the messages of all ``rules`` that ``value`` breaks."""
    broken = [rule for rule in rules if rule.holds is not None and not rule.holds(value)]
    if broken:
        raise PydanticCustomError("rule", "{sentence}", {"sentence": "; ".join(rule.message for rule in broken)})


def matching(pattern: str, message: str) -> Rule:
    """Return the rule that a string matches ``pattern`` (RE2, both ends included) as a whole."""
    compiled = re.compile(pattern)
    quoted = pattern.replace("\\", "\\\\").replace("'", "\\'")
    return Rule(f"self.matches('^({quoted})$')", message, lambda value: compiled.fullmatch(value) is not None)


@dataclass(frozen=True, slots=True)
class ListType:
    """How Kubernetes merges a list: ``set`` of scalars, ``map`` of objects by ``keys``, or ``atomic``.

    Sets and maps refuse duplicates, here as there. The keys are written in snake_case.
    """

    kind: Literal["atomic", "set", "map"]
    keys: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        if self.kind == "atomic":
            return handler(source)
        return core_schema.no_info_after_validator_function(self._distinct, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described = handler(schema)
        described["x-kubernetes-list-type"] = self.kind
        if self.keys:
            described["x-kubernetes-list-map-keys"] = [to_camel(key) for key in self.keys]
        return described

    def _distinct(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: set[object] = set()
        for item in items:
            identity = tuple(getattr(item, key) for key in self.keys) if self.keys else item
            if identity in seen:
                shown = ", ".join(map(str, identity)) if isinstance(identity, tuple) else identity
                raise PydanticCustomError("duplicate", "Duplicate value: {shown}; keep one", {"shown": str(shown)})
            seen.add(identity)
        return items
