"""What every resource shares: strict models, metadata, conditions, and the description of its CRD."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from forebay.api.rules import RULES_KEY, Rule, check, matching

GROUP = "forebay.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "forebay"

SUBDOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"


def _without_fraction(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_without_fraction)
"""Behind an integer's bounds: takes ``3.0`` for 3, as the API server does wherever no CEL rule reads the field."""

ObjectName = Annotated[
    StrictStr,
    Field(min_length=1, max_length=253),
    matching(SUBDOMAIN, "must be the name of an object: use lower-case letters, digits, '-' and '.' only"),
]
"""The name of another object."""


class ApiModel(BaseModel):
    """Part of a resource: frozen, no unknown fields, camelCase outside and snake_case inside.

    As the API server does, a field that is ``null`` is taken as absent.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        check(type(self).rules, self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            described[RULES_KEY] = [rule.to_schema() for rule in cls.rules]
        return described


def without_nulls(value: object) -> object:
    """Return a map without its null entries, as the API server does (null in a list stays, and is refused)."""
    if isinstance(value, Mapping):
        return {key: entry for key, entry in value.items() if entry is not None}
    return value


class NameRef(ApiModel):
    """A reference by name."""

    name: ObjectName
    """Name of the object."""


class Metadata(BaseModel):
    """What Forebay reads of an object's metadata."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel, validate_by_alias=True)

    name: ObjectName
    namespace: StrictStr | None = None
    uid: StrictStr | None = None
    generation: StrictInt | None = None
    resource_version: StrictStr | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)


class Condition(ApiModel):
    """One aspect of a resource's state, as in Kubernetes' own ``metav1.Condition``."""

    type: Annotated[StrictStr, Field(min_length=1, max_length=316)]
    """Aspect, in CamelCase."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    observed_generation: Annotated[StrictInt, Field(ge=0), WHOLE] | None = None
    """Generation of the spec that this condition speaks of."""
    last_transition_time: Annotated[StrictStr, Field(max_length=64, json_schema_extra={"format": "date-time"})]
    """When the status last changed."""
    reason: Annotated[StrictStr, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Why, in one CamelCase word."""
    message: Annotated[StrictStr, Field(max_length=2048)] = ""
    """Why, in a sentence that a person can act on."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of ``kubectl get``."""

    name: str
    path: str
    type: Literal["string", "integer", "date", "boolean"] = "string"
    wide: bool = False
    """Shown by ``-o wide`` only."""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceInfo:
    """What a CRD says about a resource beside its schema."""

    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    max_name_length: int = 63
    """Names stay usable as label values."""


class Resource(ApiModel):
    """A whole object: subclasses add ``spec`` and ``status``, and describe their CRD in ``info``."""

    info: ClassVar[ResourceInfo]

    api_version: Literal["forebay.io/v1alpha1"]
    kind: StrictStr
    metadata: Metadata

    @model_validator(mode="after")
    def _is_what_it_says(self) -> Self:
        check((_kind_rule(type(self).__name__),), self.kind)
        check((_name_rule(type(self).info.max_name_length),), self.metadata.name)
        return self

    @property
    def name(self) -> str:
        """Return the object's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Return the object's namespace, empty for a cluster-scoped one."""
        return self.metadata.namespace or ""


def _kind_rule(expected: str) -> Rule:
    return Rule("", f"kind: must be {expected}", lambda kind: kind == expected)


def _name_rule(longest: int) -> Rule:
    return Rule("", f"metadata.name: use at most {longest} characters", lambda name: len(name) <= longest)
