"""Telemetry: which engine's metrics to read, and which series are this pool's."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, StrictStr

from forebay.api.base import ApiModel, without_nulls
from forebay.api.rules import ListType, Rule, matching

_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
_VALUE = r"[A-Za-z0-9]([A-Za-z0-9 ._:/@+=,-]*[A-Za-z0-9])?"

LabelName = Annotated[
    StrictStr,
    Field(max_length=128),
    matching(
        _LABEL, "must be the name of a Prometheus label: use letters, digits and '_', and begin with no digit"
    ),
]
LabelValue = Annotated[
    StrictStr,
    Field(max_length=253),
    matching(
        _VALUE,
        "must be a label's exact value: begin and end with a letter or digit, and use letters, digits, blanks and"
        " . _ : / @ + = , - only",
    ),
]


class Engine(StrEnum):
    """An engine whose metrics Forebay reads."""

    VLLM = "vllm"
    SGLANG = "sglang"
    TENSORRT_LLM = "tensorrt-llm"
    TGI = "tgi"
    DYNAMO = "dynamo"


class GatewayDialect(StrEnum):
    """A gateway or router whose metrics Forebay reads."""

    INFERENCE_EXTENSION = "inference-extension"
    DYNAMO_FRONTEND = "dynamo-frontend"
    REQUESTS_COUNTER = "requests-counter"


class Operator(StrEnum):
    """How a label relates to values."""

    IN = "In"
    NOT_IN = "NotIn"


class LabelExpression(ApiModel):
    """A label and the values that it has, or has not."""

    key: LabelName
    """Name of the label."""
    operator: Operator
    """In or NotIn."""
    values: Annotated[tuple[LabelValue, ...], Field(min_length=1, max_length=16), ListType("set")]
    """One to sixteen exact values."""


class SeriesSelector(ApiModel):
    """Series by their labels, all of which must fit. Values are compared exactly, never as patterns."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.matchLabels) && size(self.matchLabels) > 0)"
            " || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
            "selector is empty: name a label in matchLabels or matchExpressions, or remove selector",
            lambda selector: bool(selector.match_labels or selector.match_expressions),
        ),
        Rule(
            f"!has(self.matchLabels) || self.matchLabels.all(k, k.size() <= 128 && k.matches('^{_LABEL}$'))",
            "matchLabels has a key that is no Prometheus label: use letters, digits and '_', and no digit first",
            lambda selector: all(_is_label(key) for key in selector.match_labels),
            ".matchLabels",
        ),
        Rule(
            "!has(self.matchLabels) || !has(self.matchExpressions)"
            " || self.matchExpressions.all(e, !(e.key in self.matchLabels))",
            "matchExpressions names a label that matchLabels fixes already: remove it from one of the two",
            lambda selector: all(entry.key not in selector.match_labels for entry in selector.match_expressions),
            ".matchExpressions",
        ),
    )

    match_labels: Annotated[
        Mapping[StrictStr, LabelValue], Field(default_factory=dict, max_length=16), BeforeValidator(without_nulls)
    ]
    """Labels with the exact value of each, such as model_name: chat."""
    match_expressions: Annotated[tuple[LabelExpression, ...], Field(max_length=16), ListType("map", ("key",))] = ()
    """Labels with sets of exact values."""


class GatewayTelemetry(ApiModel):
    """The gateway in front of the engines, which sees arrivals and queues before they do."""

    dialect: GatewayDialect
    """Whose metrics they are: the endpoint picker of the Gateway API Inference Extension, Dynamo's frontend, or a
    counter that a recording rule names forebay:gateway_requests_total."""
    selector: SeriesSelector
    """Which series are this pool's, by labels."""


class Telemetry(ApiModel):
    """Where the traffic and the engines are measured."""

    engine: Engine
    """Engine whose metrics the replicas expose."""
    selector: SeriesSelector | None = None
    """Which series are this pool's, by labels. Defaults to the pods of the targets."""
    gateway: GatewayTelemetry | None = None
    """Gateway that counts arrivals, if there is one."""


def _is_label(key: str) -> bool:
    return len(key) <= 128 and re.fullmatch(_LABEL, key) is not None
