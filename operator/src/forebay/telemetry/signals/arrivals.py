"""Turn counters into arrivals per interval without counting any twice, losing any, or taking silence for zero.

Engines count a request with its first token, or when it ends. What a replica has counted since the last look, plus
how much more it holds uncounted now than then, is what has arrived in between: a queue conserves its requests. The
growth of each counter is taken between the newest samples at the two ends of a slot, so that consecutive slots
telescope.

A replica that was not scraped shows no growth and later all of it at once. Therefore arrivals are given out only
when a new sample stands behind them; until then they are kept and come out over the longer interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from forebay.telemetry.query.dialect import ArrivalsRule, Dialect, Signal
from forebay.telemetry.query.readings import NEWEST, Readings, Slots, born, change, first, growth
from forebay.telemetry.transport.answer import Labels

_RATE_HALF_LIFE_SECONDS = 60.0
_BORN_ALLOWANCE = 20.0
_SETTLED_SCRAPES = 2.0
_DISCOVERY_SECONDS = 5.0
"""Prometheus takes up what it discovers every five seconds."""


@dataclass(slots=True)
class _RecentRate:
    """One workload's rate of late, and for how long it has been watched."""

    rate: float
    seconds: float = 0.0


@dataclass(slots=True)
class NewSeriesFilter:
    """Decides whether the first value of a new process' series counts as arrivals.

    A replica that has just started shows a handful of requests at its first scrape; they have arrived. A replica
    that comes back after a long silence, or any replica after Prometheus lost its data, shows all that it ever
    counted. Believed is no more than the workload as a whole saw in the last two minutes, and a few; and nothing
    until the workload was watched for as long as it takes to scrape all replicas that were there before: what
    these had counted when they were first seen arrived earlier.
    """

    _seen: dict[Labels, _RecentRate] = field(default_factory=dict)

    def believed(self, key: Labels, count: float, scrape_seconds: float) -> float:
        """Return ``count`` if it is plausible, else 0; ``scrape_seconds`` lie between two scrapes of a replica."""
        seen = self._seen.get(key)
        if seen is None or seen.seconds < _SETTLED_SCRAPES * scrape_seconds + _DISCOVERY_SECONDS:
            return 0.0
        limit = _BORN_ALLOWANCE + 2.0 * _RATE_HALF_LIFE_SECONDS * seen.rate
        return count if 0.0 < count <= limit else 0.0

    def saw(self, key: Labels, count: float, seconds: float) -> None:
        """Note arrivals that need no belief."""
        fresh = max(0.0, count) / seconds
        seen = self._seen.setdefault(key, _RecentRate(fresh))
        seen.rate += (1.0 - 0.5 ** (seconds / _RATE_HALF_LIFE_SECONDS)) * (fresh - seen.rate)
        seen.seconds += seconds

    def forget_all_but(self, keys: set[Labels]) -> None:
        """Drop workloads that are gone."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}


def arrivals_by_slot(
    dialect: Dialect, readings: Readings, key: Labels, control: NewSeriesFilter
) -> list[float] | None:
    """Return the arrivals of one workload or gateway per slot, NaN where unknown.

    ``None`` means that nothing counts them.
    """
    rule = _rule(dialect, readings, key)
    if rule is None:
        return None
    slots = readings.slots
    newest = readings.row(NEWEST, key) or [math.nan] * (slots.count + 1)
    stale, scrape = readings.facts.stale_after(key), readings.facts.scrape_interval(key)
    counters = [_Counter.of(signal, rule, dialect, readings, key) for signal in rule.counters]
    held = [readings.row(change(signal), key) for signal in rule.held]
    result: list[float] = []
    for index in range(slots.count):
        begins = slots.start_seconds + index * slots.slot_seconds
        covered = begins - newest[index] <= stale if not math.isnan(newest[index]) else False
        steady = math.fsum(counter.grown(index, covered=covered) for counter in counters)
        steady += sum(_at(row, index, missing=0.0 if covered else math.nan) for row in held)
        if not math.isnan(steady):
            control.saw(key, steady, slots.slot_seconds)
        result.append(steady)
        if covered:
            certain = math.fsum(_at(counter.first, index, missing=0.0) for counter in counters)
            new = math.fsum(_at(counter.born, index, missing=0.0) for counter in counters)
            result[-1] += certain + control.believed(key, new - certain, scrape)
    return result


@dataclass(frozen=True, slots=True)
class _Counter:
    """The rows of one counter of a rule."""

    growth: Sequence[float] | None
    born: Sequence[float] | None
    """Counts of new series."""
    first: Sequence[float] | None
    """Of those, the counts of engines that were there before: their first events, and no past."""
    is_lazy: bool
    """Absent beside a fresh anchor it is zero."""
    is_extra: bool
    """A server that does not have it counts nothing by it: absent it is always zero."""

    @classmethod
    def of(cls, signal: Signal, rule: ArrivalsRule, dialect: Dialect, readings: Readings, key: Labels) -> Self:
        return cls(
            readings.row(growth(signal), key),
            readings.row(born(signal), key),
            readings.row(first(signal), key),
            is_lazy=signal in dialect.lazy,
            is_extra=signal is not rule.count,
        )

    def grown(self, index: int, *, covered: bool) -> float:
        return _at(self.growth, index, missing=0.0 if self.is_extra or (self.is_lazy and covered) else math.nan)


def missing_counter(dialect: Dialect, readings: Readings, key: Labels) -> str | None:
    """Return the metric that is missing to count the arrivals of ``key``, ``None`` if none is."""
    if _rule(dialect, readings, key) is not None:
        return None
    rule = dialect.arrivals[-1]
    for signal in (rule.count, *rule.held):
        row = readings.row((growth if signal is rule.count else change)(signal), key)
        if row is None and signal not in dialect.lazy:
            return dialect.metric_names(signal)[0]
    return dialect.metric_names(rule.count)[0]


def _rule(dialect: Dialect, readings: Readings, key: Labels) -> ArrivalsRule | None:
    """Return the first rule whose metrics are all there, else the first whose missing ones may yet appear."""

    def missing(rule: ArrivalsRule) -> list[Signal]:
        counted = [] if readings.row(growth(rule.count), key) is not None else [rule.count]
        return counted + [held for held in rule.held if readings.row(change(held), key) is None]

    found = [(rule, missing(rule)) for rule in dialect.arrivals]
    for rule, absent in found:
        if not absent:
            return rule
    return next((rule for rule, absent in found if all(signal in dialect.lazy for signal in absent)), None)


def _at(row: Sequence[float] | None, index: int, *, missing: float) -> float:
    if row is None or math.isnan(row[index]):
        return missing
    return row[index]


@dataclass(frozen=True, slots=True)
class ArrivalCount:
    """Arrivals that are ready to be given out."""

    start_seconds: float
    end_seconds: float
    slot_counts: tuple[float, ...]

    @property
    def total(self) -> float:
        """Return all arrivals of the interval."""
        return math.fsum(self.slot_counts)


@dataclass(slots=True)
class Ledger:
    """The arrivals of one pool since they were last given out."""

    start_seconds: int | None = None
    _end_seconds: int = 0
    _kept: float = 0.0
    _deficit: float = 0.0
    """A slot below zero (gauges and counters of an engine are a moment apart) is made good by the next ones."""
    lost_seconds: float = 0.0
    """Time whose arrivals could not be made up for, since they were last given out."""

    def enter(
        self, slots: Slots, counts: Sequence[float], *, fresh: bool, resolution_seconds: float, keep_seconds: float
    ) -> ArrivalCount | None:
        """Enter one round's counts; return what can be given out, or ``None`` while samples are too old."""
        first = _first_after_gap(counts)
        known = list(counts[first:])
        begins = slots.start_seconds + first * slots.slot_seconds
        if self.start_seconds is not None and (begins != self._end_seconds or not known):
            self._drop(begins)
        if not known:
            return None
        if self.start_seconds is None:
            self.start_seconds, self._kept = begins, 0.0
        self._end_seconds = slots.end_seconds
        if not fresh:
            self._kept += math.fsum(known)
            if self._end_seconds - self.start_seconds > keep_seconds:
                self._drop(self._end_seconds)
            return None
        return self._give_out(begins, known, slots.slot_seconds, resolution_seconds)

    def _drop(self, until: int) -> None:
        if self.start_seconds is not None:
            self.lost_seconds += until - self.start_seconds
        self.start_seconds, self._kept = None, 0.0

    def _give_out(
        self, begins: int, known: list[float], slot_seconds: int, resolution_seconds: float
    ) -> ArrivalCount:
        start = begins if self.start_seconds is None else self.start_seconds
        end = self._end_seconds
        whole = start != begins
        counts = [self._kept + math.fsum(known)] if whole else merged(known, slot_seconds, resolution_seconds)
        counts[0] += self._deficit
        self._deficit = 0.0
        for index, count in enumerate(counts):
            if count >= 0.0:
                continue
            counts[index] = 0.0
            if index + 1 < len(counts):
                counts[index + 1] += count
            else:
                self._deficit = count
        self.start_seconds, self._kept = end, 0.0
        return ArrivalCount(float(start), float(end), tuple(counts))


def _first_after_gap(counts: Sequence[float]) -> int:
    """Return the index of the first slot after the last unknown one."""
    return max((index + 1 for index, count in enumerate(counts) if math.isnan(count)), default=0)


def merged(counts: Sequence[float], slot_seconds: float, resolution_seconds: float) -> list[float]:
    """Merge slots that are shorter than the time between two scrapes: such detail would be an artefact."""
    size = next(
        (
            size
            for size in range(1, len(counts) + 1)
            if len(counts) % size == 0 and size * slot_seconds >= 0.99 * resolution_seconds
        ),
        len(counts),
    )
    return [math.fsum(counts[index : index + size]) for index in range(0, len(counts), size)]


def choose_slot(interval_seconds: int, finest_scrape_seconds: float, grid_seconds: int) -> int:
    """Return the shortest slot that divides the interval, lies on the grid, and holds a scrape."""
    candidates = range(grid_seconds, interval_seconds + 1, grid_seconds)
    return next(
        (slot for slot in candidates if interval_seconds % slot == 0 and slot >= 0.99 * finest_scrape_seconds),
        interval_seconds,
    )
