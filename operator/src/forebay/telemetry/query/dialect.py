"""Dialects: which metric means what, read from the YAML files of `forebay.dialects`."""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from forebay import dialects
from forebay.dialects import DialectKind
from forebay.telemetry.query.promql import label_name, metric_name

_CONFIG = ConfigDict(extra="forbid", frozen=True)


class DialectError(ValueError):
    """A dialect is unknown or its file is wrong; the text says what to change."""


class Signal(StrEnum):
    """What a metric can mean. Unless said otherwise a signal is a counter."""

    STARTED = "started"
    """Requests counted as they come in."""
    FINISHED = "finished"
    RUNNING = "running"
    """Gauge."""
    WAITING = "waiting"
    """Gauge: requests whose work here has not begun."""
    OUTPUT_TOKENS = "output_tokens"
    PROMPT_TOKENS = "prompt_tokens"
    CACHED_TOKENS = "cached_tokens"
    """Prompt tokens that the prefix cache answered."""
    CACHE_QUERIED_TOKENS = "cache_queried_tokens"
    """Prompt tokens that were looked up in the prefix cache; without it, all prompt tokens were."""
    KV_USAGE = "kv_usage"
    """Gauge, 0 to 1."""
    KV_TOKENS = "kv_tokens"
    """Gauge: tokens resident in the KV cache."""
    KV_CAPACITY = "kv_capacity"
    """Gauge: tokens that fit into the KV cache."""
    PREFILL_TIME = "prefill_time"
    """Histogram, seconds, no time in a queue."""
    PREFILL_TOKENS = "prefill_tokens"
    """Histogram of uncached prompt tokens, observed together with ``prefill_time``."""
    PROMPT_LENGTH = "prompt_length"
    """Histogram of prompt tokens."""
    TTFT = "ttft"
    """Histogram, seconds, queues included."""
    REQUEST_ITL = "request_itl"
    """Histogram of each request's mean inter-token latency, seconds."""
    TOKEN_ITL = "token_itl"  # noqa: S105 - a latency
    """Histogram of single inter-token latencies, seconds."""


HISTOGRAMS = frozenset(
    {
        Signal.PREFILL_TIME,
        Signal.PREFILL_TOKENS,
        Signal.PROMPT_LENGTH,
        Signal.TTFT,
        Signal.REQUEST_ITL,
        Signal.TOKEN_ITL,
    }
)
GAUGES = frozenset({Signal.RUNNING, Signal.WAITING, Signal.KV_USAGE, Signal.KV_TOKENS, Signal.KV_CAPACITY})


def _candidate(value: object) -> object:
    if isinstance(value, str):
        return {"metrics": [value]}
    if isinstance(value, list):
        return {"metrics": value}
    return value


class _Candidate(BaseModel):
    """One way to read a signal: the sum of ``metrics`` with these ``labels``."""

    model_config = _CONFIG

    metrics: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.metrics:
            metric_name(name)
        for label in self.labels:
            label_name(label)
        return self


Candidate = Annotated[_Candidate, BeforeValidator(_candidate)]


class ArrivalsRule(BaseModel):
    """How arrivals are counted: what ``count`` grew, plus how much more is ``held`` than before.

    An engine counts requests when they end; together with the change of what it holds that gives arrivals as they
    come, also while it is overloaded.
    """

    model_config = _CONFIG

    count: Signal
    held: tuple[Signal, ...] = ()


class KvConfig(BaseModel):
    """An info metric whose labels tell the size of the KV cache."""

    model_config = _CONFIG

    metric: str
    blocks_label: str
    block_size_label: str


class Dialect(BaseModel):
    """One engine's or gateway's metrics."""

    model_config = _CONFIG

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    kind: DialectKind
    title: str
    signals: dict[Signal, tuple[Candidate, ...]]
    arrivals: tuple[ArrivalsRule, ...] = Field(min_length=1)
    anchor: Signal
    """The signal that is there from the first scrape on; its age is the age of all."""
    kv_config: KvConfig | None = None
    same_value_labels: tuple[str, ...] = ()
    """Labels in which series repeat one value (ranks of tensor parallelism): counted once."""
    lazy: tuple[Signal, ...] = ()
    """Counters that appear with their first event: absent beside a fresh anchor they are zero."""
    prefill_batches: bool = False
    """``prefill_time`` counts batches, not requests."""
    notes: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.anchor not in self.signals:
            raise ValueError(f"the anchor {self.anchor} is not among the signals")
        for rule in self.arrivals:
            for signal in (rule.count, *rule.held):
                if signal not in self.signals:
                    raise ValueError(f"arrivals use {signal}, which is not among the signals")
        for signal, candidates in self.signals.items():
            if len(candidates) > 1 and any(len(candidate.metrics) > 1 for candidate in candidates):
                raise ValueError(f"{signal}: a sum of metrics must be the only candidate")
        for label in self.same_value_labels:
            label_name(label)
        return self

    def metric_names(self, signal: Signal) -> tuple[str, ...]:
        """Return every name, in both spellings, under which the metrics of ``signal`` may be stored."""
        return tuple(
            spelling
            for candidate in self.signals.get(signal, ())
            for metric in candidate.metrics
            for spelling in spellings(metric)
        )


def spellings(metric: str) -> tuple[str, ...]:
    """Return a metric's name and, if it has a colon, the form with an underscore.

    Exporters that pass a metric on, and scrapes with escaped names, turn ``vllm:x`` into ``vllm_x``.
    """
    return (metric, metric.replace(":", "_")) if ":" in metric else (metric,)


def parse_dialect(text: str, origin: str) -> Dialect:
    """Parse one dialect file.

    Raises:
        DialectError: The file is wrong; the text says where.
    """
    try:
        return Dialect.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise DialectError(f"{origin} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DialectError(f"{origin}: {place}: {re.sub(r'^Value error, ', '', first['msg'])}.") from error


@cache
def built_in() -> Mapping[str, Dialect]:
    """Return the packaged dialects by name."""
    found = (parse_dialect(text, name) for name, text in dialects.texts().items())
    return {dialect.name: dialect for dialect in found}


def find(name: str, kind: DialectKind) -> Dialect:
    """Return the dialect called ``name``.

    Raises:
        DialectError: There is none of this kind.
    """
    dialect = built_in().get(name)
    if dialect is None or dialect.kind != kind:
        known = ", ".join(dialects.names(kind))
        raise DialectError(f"{name!r} is no known {kind} dialect; use one of {known}.")
    return dialect
