"""Dialects: which metric means what, read from the YAML files of `forebay.dialects`."""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache, lru_cache
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from forebay import dialects
from forebay.dialects import DialectKind
from forebay.telemetry.query.promql import Matcher, equal, label_name, metric_name

_CONFIG = ConfigDict(extra="forbid", frozen=True)


class DialectError(ValueError):
    """A dialect is unknown or its file is wrong; the text says what to change."""


class Signal(StrEnum):
    """What a metric can mean. Unless said otherwise a signal is a counter."""

    PRESENT = "present"
    """Gauge whose value says nothing: it is there from the first scrape on, also while nothing is asked."""
    STARTED = "started"
    """Requests counted as they come in."""
    BEGUN = "begun"
    """Requests counted with their first token."""
    FINISHED = "finished"
    REJECTED = "rejected"
    """Requests that were refused before they were held."""
    ABORTED = "aborted"
    """Requests whose clients left, where no counter tells those that were waiting from the others: it is told, and
    not counted."""
    RUNNING = "running"
    """Gauge."""
    WAITING = "waiting"
    """Gauge: requests whose work here has not begun."""
    QUEUED = "queued"
    """Gauge: of those, the ones that wait for capacity and not for a transfer; without it, all of them do."""
    AWAKE = "awake"
    """Gauge: 1 for an engine that takes requests, 0 for one that sleeps."""
    PROGRESS = "progress"
    """Counters that move while an engine works, not only when a request ends."""
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
GAUGES = frozenset(
    {
        Signal.PRESENT,
        Signal.RUNNING,
        Signal.WAITING,
        Signal.QUEUED,
        Signal.AWAKE,
        Signal.KV_USAGE,
        Signal.KV_TOKENS,
        Signal.KV_CAPACITY,
    }
)
ANY_LABEL = "*"
"""As the only part: every label but those of a second scrape splits a signal into parts."""


def count_suffix(signal: Signal) -> str:
    """Return what the name of a metric of ``signal`` ends in where requests are counted by it."""
    return "_count" if signal in HISTOGRAMS else ""


def _candidate(value: object) -> object:
    if isinstance(value, str):
        return {"metrics": [value]}
    if isinstance(value, list):
        return {"metrics": value}
    return value


class _Candidate(BaseModel):
    """One way to read a signal: the sum of ``metrics``, of the series that all label conditions fit."""

    model_config = _CONFIG

    metrics: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, str] = {}
    """Labels with the value that each must have; an empty value fits series without the label as well."""
    not_labels: dict[str, str] = {}
    """Labels with the value that each must not have."""
    label_patterns: dict[str, str] = {}
    """Labels with a regular expression (RE2) that the whole value must match."""
    parts: tuple[str, ...] = ()
    """Labels by which this metric is split into parts of one engine's whole. Series that differ in any other label
    repeat each other and count once."""
    times: str | None = None
    """A gauge of the same engine to multiply with, such as tokens per block."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in (*self.metrics, *([self.times] if self.times is not None else [])):
            metric_name(name)
        for label in (*self.labels, *self.not_labels, *self.label_patterns, *self.parts):
            if label != ANY_LABEL:
                label_name(label)
        return self

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """Return the label conditions."""
        unequal = (Matcher(label, "!=", value) for label, value in sorted(self.not_labels.items()))
        alike = (Matcher(label, "=~", value) for label, value in sorted(self.label_patterns.items()))
        return (*equal(self.labels), *unequal, *alike)

    def prefixed(self, prefix: str) -> Self:
        """Return the same with ``prefix`` before each metric's name."""
        times = None if self.times is None else prefix + self.times
        return self.model_copy(update={"metrics": tuple(prefix + name for name in self.metrics), "times": times})


Candidate = Annotated[_Candidate, BeforeValidator(_candidate)]


class ArrivalsRule(BaseModel):
    """How arrivals are counted: what the counters grew, plus how much more is ``held`` than before.

    An engine counts requests when they begin to be answered or when they end; together with the change of what it
    holds and has not counted yet, that gives arrivals as they come, also while it is overloaded.
    """

    model_config = _CONFIG

    count: Signal
    """A counter, or a histogram with one observation per request."""
    plus: tuple[Signal, ...] = ()
    """Counters of requests that ``count`` never counts, such as rejected ones; added where a server has them."""
    held: tuple[Signal, ...] = ()

    @property
    def counters(self) -> tuple[Signal, ...]:
        """Return all counters of this rule."""
        return (self.count, *self.plus)


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
    engine_labels: tuple[str, ...] = ()
    """Labels that tell the engines of one pod apart (ranks of data parallelism). A pod and these labels are an
    engine, whatever other labels its series have."""
    parts: tuple[str, ...] = ()
    """Labels that split every signal into parts that are summed; see the same field of a candidate."""
    lazy: tuple[Signal, ...] = ()
    """Signals that appear with their first event; absent beside a fresh anchor they are zero."""
    prefill_batches: bool = False
    """``prefill_time`` counts batches, not requests."""
    prompts_with: Signal | None = None
    """The signal that counts a request at the moment at which ``prompt_tokens`` counts its tokens."""
    split_ttft: Literal["sum", "decode"] = "sum"
    """TTFT of a pool with prefill and decode: the sum of what both observe, or what decode observes alone."""
    select_by: tuple[str, ...] = ()
    """Labels by which a pool usually selects its series at this gateway."""
    notes: str = ""
    """What a user should know of this dialect, for the documentation."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.anchor not in self.signals:
            raise ValueError(f"the anchor {self.anchor} is not among the signals")
        for rule in self.arrivals:
            for signal in (*rule.counters, *rule.held):
                if signal not in self.signals:
                    raise ValueError(f"arrivals use {signal}, which is not among the signals")
        for signal, candidates in self.signals.items():
            if len(candidates) > 1 and any(len(candidate.metrics) > 1 for candidate in candidates):
                raise ValueError(f"{signal}: a sum of metrics must be the only candidate")
        for label in self.engine_labels:
            label_name(label)
        return self

    def prefixed(self, prefix: str) -> "Dialect":
        """Return this dialect as a scrape configuration stores it that puts ``prefix`` before every name."""
        return self if not prefix else _prefixed(self.name, prefix)

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


@lru_cache(maxsize=256)
def _prefixed(name: str, prefix: str) -> Dialect:
    dialect = built_in()[name]
    signals = {
        signal: tuple(candidate.prefixed(prefix) for candidate in candidates)
        for signal, candidates in dialect.signals.items()
    }
    config = dialect.kv_config
    if config is not None:
        config = config.model_copy(update={"metric": prefix + config.metric})
    return dialect.model_copy(update={"signals": signals, "kv_config": config})
