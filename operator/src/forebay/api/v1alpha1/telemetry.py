"""Telemetry: which engine's metrics to read, and which series are this pool's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, StrictStr
from pydantic_core import core_schema

from forebay import dialects
from forebay.api.base import ApiModel, without_nulls
from forebay.api.rules import Rule, matching

_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
_VALUE = r"[A-Za-z0-9]([A-Za-z0-9 ._:/@+=,-]*[A-Za-z0-9])?"

LabelValue = Annotated[
    StrictStr,
    Field(max_length=253),
    matching(
        _VALUE,
        "must be a label's exact value: begin and end with a letter or digit, and use letters, digits, blanks and"
        " . _ : / @ + = , - only",
    ),
]


@dataclass(frozen=True, slots=True)
class _DialectName:
    """A string that names a dialect of one kind; the names are those of the files in `forebay.dialects`."""

    kind: dialects.DialectKind

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(dialects.names(self.kind)))


Engine = Annotated[str, _DialectName("engine")]
GatewayDialect = Annotated[str, _DialectName("gateway")]

INFERENCE_EXTENSION = "inference-extension"
"""The gateway dialect whose series name the InferencePool (of the Gateway API) that they belong to."""


MetricPrefix = Annotated[
    StrictStr,
    Field(max_length=64),
    matching(
        "[a-zA-Z_:][a-zA-Z0-9_:]*",
        "must be the beginning of a metric's name, such as kserve_: letters, digits, _ and :",
    ),
]


class SeriesSelector(ApiModel):
    """Series by their labels, all of which must fit. Values are compared exactly, never as patterns."""

    match_labels: Annotated[
        Mapping[StrictStr, LabelValue],
        Field(min_length=1, max_length=16),
        BeforeValidator(without_nulls),
        Rule(
            f"self.all(k, k.size() <= 128 && k.matches('^{_LABEL}$'))",
            "matchLabels has a key that is no Prometheus label: use letters, digits and '_', and no digit first",
            lambda labels: all(len(key) <= 128 and re.fullmatch(_LABEL, key) for key in labels),
        ),
        Rule(
            "!('le' in self) && !('__name__' in self)",
            "matchLabels names le or __name__, which tell buckets and metrics apart, not pools: remove it",
            lambda labels: labels.keys().isdisjoint({"le", "__name__"}),
        ),
    ]
    """Labels with the exact value of each, such as model_name: chat."""


class GatewayTelemetry(ApiModel):
    """The gateway in front of the engines, which sees arrivals and queues before they do."""

    dialect: GatewayDialect
    """Whose metrics they are. requests-counter is any counter that a recording rule names
    forebay:gateway_requests_total."""
    metric_prefix: MetricPrefix | None = None
    """What the scrape configuration puts before the names of the gateway's metrics."""
    selector: SeriesSelector | None = None
    """Which series are this pool's, by labels. May be left out beside spec.inferencePoolRef for the dialect
    inference-extension: then they are those with that pool's name in inference_pool, in this namespace."""


class Telemetry(ApiModel):
    """Where the traffic and the engines are measured."""

    engine: Engine
    """Engine whose metrics the replicas expose."""
    metric_prefix: MetricPrefix | None = None
    """What the scrape configuration puts before the names of the engine's metrics; KServe's is kserve_."""
    selector: SeriesSelector | None = None
    """Which series are this pool's, by labels. Defaults to the pods of the targets."""
    gateway: GatewayTelemetry | None = None
    """Gateway that counts arrivals, if there is one."""
