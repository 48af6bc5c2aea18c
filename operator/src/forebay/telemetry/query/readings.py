"""One round's questions about one group, asked at once, and their answers."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from forebay.flow.observation import Problem
from forebay.telemetry.query.dialect import ArrivalsRule, Dialect, Signal, count_suffix
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.facts import SeriesFacts
from forebay.telemetry.query.grouping import SharedQueries
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.transport.answer import Labels, Matrix, Vector, parse_matrix, parse_vector
from forebay.telemetry.transport.client import PromQlClient
from forebay.telemetry.transport.errors import QueryError
from forebay.telemetry.transport.meter import TelemetryMeter


@dataclass(frozen=True, slots=True)
class Slots:
    """The times of one round: arrivals by slots, everything else over the whole interval."""

    start_seconds: int
    """Beginning of the first slot; earlier than ``end - interval`` when earlier rounds got no answer."""
    end_seconds: int
    slot_seconds: int
    interval_seconds: int

    @property
    def count(self) -> int:
        """Return the number of slots."""
        return self.seconds // self.slot_seconds

    @property
    def seconds(self) -> int:
        """Return the length of all slots."""
        return self.end_seconds - self.start_seconds


@dataclass(slots=True)
class Readings:
    """Answers of one group. A question that the server has no metric for has no entry in ``vectors``."""

    slots: Slots
    facts: SeriesFacts
    vectors: dict[str, Vector] = field(default_factory=dict)
    matrices: dict[str, Matrix] = field(default_factory=dict)
    errors: dict[str, QueryError] = field(default_factory=dict)

    def value(self, name: str, key: Labels) -> float | None:
        """Return one number, or ``None`` if it is not known."""
        vector = self.vectors.get(name)
        return None if vector is None else vector.values.get(key)

    def row(self, name: str, key: Labels) -> Sequence[float] | None:
        """Return one number per slot, NaN where it is not known."""
        matrix = self.matrices.get(name)
        return None if matrix is None else matrix.values.get(key)

    def problem(self, name: str, key: Labels) -> Problem | None:
        """Return why ``value`` or ``row`` is ``None``."""
        if name in self.errors:
            return Problem.UNREACHABLE
        for answer in (self.vectors.get(name), self.matrices.get(name)):
            if answer is None:
                continue
            if key in answer.duplicate:
                return Problem.DUPLICATE
            if isinstance(answer, Vector) and key in answer.not_a_number:
                return Problem.NOT_A_NUMBER
            if key in answer.values:
                return None
        return Problem.MISSING

    @property
    def may_have_duplicates(self) -> bool:
        """Return whether some engine is, or may be, scraped twice."""
        return self.value(DUPLICATES, ()) != 0.0

    @property
    def may_be_stuck(self) -> bool:
        """Return whether some engine does not move, or may not."""
        found = self.vectors.get(STUCK_ENGINES)
        return bool(found is not None and found.values) or STUCK_ENGINES in self.errors

    def failed(self, names: Sequence[str]) -> QueryError | None:
        """Return the error of the first of ``names`` that has one."""
        return next((self.errors[name] for name in names if name in self.errors), None)


@cache
def growth(signal: Signal) -> str:
    """Return the name of the question for a counter's growth."""
    return f"growth {signal}"


@cache
def born(signal: Signal) -> str:
    """Return the name of the question for the counts of new series."""
    return f"born {signal}"


@cache
def first(signal: Signal) -> str:
    """Return the name of the question for the first counts of engines that were there before."""
    return f"first {signal}"


@cache
def change(signal: Signal) -> str:
    """Return the name of the question for a gauge's change."""
    return f"change {signal}"


@cache
def level(signal: Signal) -> str:
    """Return the name of the question for a gauge."""
    return f"level {signal}"


@cache
def stuck(signal: Signal) -> str:
    """Return the name of the question for a gauge of engines that do not move."""
    return f"stuck {signal}"


@cache
def buckets(signal: Signal) -> str:
    """Return the name of the question for a histogram's buckets."""
    return f"buckets {signal}"


NEWEST = "newest"
REPLICAS = "replicas"
ENGINES = "engines"
DUPLICATES = "duplicates"
STUCK_ENGINES = "stuck engines"


def arrival_names(dialect: Dialect) -> tuple[str, ...]:
    """Return the names of the questions without which arrivals are not known."""
    names = [NEWEST]
    for rule in dialect.arrivals:
        for signal in rule.counters:
            names += [growth(signal), born(signal), *([first(signal)] if signal in dialect.lazy else [])]
        names += [change(held) for held in rule.held]
    return tuple(dict.fromkeys(names))


def arrival_queries(ask: Expressions, slot_seconds: int) -> dict[str, str | None]:
    """Return the queries of `arrival_names` but the newest sample; live rounds and history ask the same.

    What is new or held is always asked without repeated series: a second scrape of an old engine is no new engine.
    """
    surely = replace(ask, deduplicate=True)
    dialect = ask.group.dialect
    rules = _rules_in_use(dialect, ask.known)
    counted = dict.fromkeys(signal for rule in rules for signal in rule.counters)
    held = dict.fromkeys(signal for rule in rules for signal in rule.held)
    ended = [Signal.FINISHED] if Signal.FINISHED in dialect.signals else []
    return {
        **{growth(signal): ask.arrivals(signal, slot_seconds) for signal in (*counted, *ended)},
        **{born(signal): surely.born(signal, slot_seconds) for signal in counted},
        **{first(signal): surely.first(signal, slot_seconds) for signal in counted if signal in dialect.lazy},
        **{change(signal): surely.change(signal, slot_seconds) for signal in held},
    }


def _rules_in_use(dialect: Dialect, known: Collection[str] | None) -> tuple[ArrivalsRule, ...]:
    """Return the rules by which some engine may have to be counted.

    Where the server has all metrics of one, no later one is needed; unless they appear with their first event, so
    that an engine without them may be one that never has them.
    """
    for number, rule in enumerate(dialect.arrivals, start=1):
        needed = (rule.count, *rule.held)
        lazy = rule.count in dialect.lazy
        if known is not None and not lazy and all(_is_known(dialect, signal, known) for signal in needed):
            return dialect.arrivals[:number]
    return dialect.arrivals


def _is_known(dialect: Dialect, signal: Signal, known: Collection[str]) -> bool:
    return any(name + count_suffix(signal) in known for name in dialect.metric_names(signal))


class Reader:
    """Asks the questions of one group."""

    def __init__(
        self,
        client: PromQlClient,
        group: SharedQueries,
        settings: PrometheusSettings,
        meter: TelemetryMeter,
        facts: SeriesFacts,
        slots: Slots,
        *,
        deduplicate: bool,
        ask_for_stuck: bool = False,
    ) -> None:
        self._client = client
        self._meter = meter
        self._group = group
        self._expressions = Expressions(group, settings, facts.known, facts.window_seconds, deduplicate)
        self._readings = Readings(slots, facts)
        self._stuck_seconds = settings.stuck_seconds
        self._ask_for_stuck = ask_for_stuck

    async def read(self, edges: Mapping[Signal, Sequence[str]]) -> Readings:
        """Ask everything; ``edges`` are the bucket edges wanted of each latency histogram."""
        async with asyncio.TaskGroup() as asking:
            for question in self._arrivals():
                asking.create_task(question)
            # The arrivals of all groups queue before the figures of any: where the server is too slow for a
            # round's queries, no group is blind because another one's figures were read.
            await asyncio.sleep(0)
            for question in (*self._levels(), *self._sums(), *self._latencies(edges)):
                asking.create_task(question)
        return self._readings

    def _arrivals(self) -> list[Coroutine[None, None, None]]:
        ask, slot = self._expressions, self._readings.slots.slot_seconds
        return [
            self._at_end(DUPLICATES, ask.duplicates(), labels=()),
            self._by_edge(NEWEST, ask.newest()),
            *(self._by_slot(name, query) for name, query in arrival_queries(ask, slot).items()),
        ]

    def _levels(self) -> list[Coroutine[None, None, None]]:
        ask = self._expressions
        questions = [self._at_end(REPLICAS, ask.replicas()), self._at_end(ENGINES, ask.engines())]
        if Signal.RUNNING in self._group.dialect.signals and self._group.workloads:
            questions.append(self._by_slot(level(Signal.RUNNING), ask.level(Signal.RUNNING)))
        gauges = [
            signal
            for signal in (Signal.WAITING, Signal.QUEUED, Signal.AWAKE, Signal.KV_USAGE, Signal.KV_TOKENS)
            if signal in self._group.dialect.signals
        ]
        questions += [self._at_end(level(signal), ask.level(signal)) for signal in gauges]
        return questions + self._stuck()

    def _stuck(self) -> list[Coroutine[None, None, None]]:
        """Ask whether engines do not move, and what those hold only where the last round saw some."""
        if not self._group.workloads:
            return []
        ask, seconds = self._expressions, self._stuck_seconds
        held = (Signal.RUNNING, Signal.WAITING, Signal.QUEUED) if self._ask_for_stuck else ()
        return [
            self._at_end(STUCK_ENGINES, ask.stuck(None, seconds)),
            *(self._at_end(stuck(signal), ask.stuck(signal, seconds)) for signal in held),
        ]

    def _sums(self) -> list[Coroutine[None, None, None]]:
        has = self._group.dialect.signals
        tokens = (Signal.OUTPUT_TOKENS, Signal.PROMPT_TOKENS, Signal.CACHED_TOKENS, Signal.CACHE_QUERIED_TOKENS)
        counters = (*tokens, Signal.ABORTED)
        questions = [self._over_interval(growth(signal), signal, "") for signal in counters if signal in has]
        wanted = [(Signal.PROMPT_LENGTH, "_count"), (Signal.PROMPT_LENGTH, "_sum")]
        if self._group.workloads:
            itl = Signal.TOKEN_ITL if Signal.TOKEN_ITL in has else Signal.REQUEST_ITL
            each = (Signal.PREFILL_TIME, Signal.PREFILL_TOKENS, Signal.TTFT, itl)
            wanted += [(signal, suffix) for signal in each for suffix in ("_count", "_sum")]
        for signal, suffix in wanted:
            if signal in has:
                questions.append(self._over_interval(growth(signal) + suffix, signal, suffix))
        return questions

    def _latencies(self, edges: Mapping[Signal, Sequence[str]]) -> list[Coroutine[None, None, None]]:
        return [
            self._over_interval(buckets(signal), signal, "_bucket", wanted)
            for signal, wanted in edges.items()
            if wanted
        ]

    def _over_interval(
        self, name: str, signal: Signal, suffix: str, edges: Sequence[str] | None = None
    ) -> Coroutine[None, None, None]:
        seconds = self._readings.slots.interval_seconds
        query = self._expressions.growth(signal, seconds, suffix=suffix, edges=edges)
        more = ("le",) if suffix == "_bucket" else ()
        return self._at_end(name, query, labels=(*self._expressions.labels, *more))

    async def _at_end(self, name: str, query: str | None, *, labels: tuple[str, ...] | None = None) -> None:
        if query is None:
            return
        labels = self._expressions.labels if labels is None else labels
        try:
            answer = await self._client.instant(
                query,
                self._readings.slots.end_seconds,
                kind=name,
                read=lambda result: parse_vector(result, labels),
            )
        except QueryError as error:
            self._readings.errors[name] = error
            return
        self._readings.vectors[name] = answer
        rejected = len(answer.not_a_number) + len(answer.duplicate) + answer.malformed
        self._meter.samples_read(name, len(answer.values), rejected)

    async def _by_slot(self, name: str, query: str | None) -> None:
        slots = self._readings.slots
        await self._over_range(name, query, slots.start_seconds + slots.slot_seconds, slots.count)

    async def _by_edge(self, name: str, query: str | None) -> None:
        slots = self._readings.slots
        await self._over_range(name, query, slots.start_seconds, slots.count + 1)

    async def _over_range(self, name: str, query: str | None, start: int, steps: int) -> None:
        if query is None:
            return
        slots, labels = self._readings.slots, self._expressions.labels
        step = slots.slot_seconds

        def read(result: object) -> Matrix:
            return parse_matrix(result, labels, start_seconds=start, step_seconds=step, steps=steps)

        try:
            answer = await self._client.range(query, start, slots.end_seconds, step, kind=name, read=read)
        except QueryError as error:
            self._readings.errors[name] = error
            return
        self._readings.matrices[name] = answer
        self._meter.samples_read(name, len(answer.values), len(answer.duplicate) + answer.malformed)
