"""The PromQL expressions of one group of pools.

A query answers for every pool of its group at once: the server reduces series to engines, engines to workloads
(or a gateway's series to the labels by which pools select them), and Python joins the few series that come back.

What one engine is, the dialect says: a pod (or a group of pods that serve as one replica) and its ranks of data
parallelism. Series of one engine that differ in any other label repeat each other (a second scrape, ranks of
tensor or pipeline parallelism, a label that a later release adds) and count once, unless the dialect calls the
label a part of the whole.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from forebay.telemetry.query import promql
from forebay.telemetry.query.dialect import ANY_LABEL, GAUGES, Candidate, Signal, count_suffix, spellings
from forebay.telemetry.query.grouping import WORKLOAD, SharedQueries
from forebay.telemetry.query.pod_names import POD_NAME_PATTERN, REPLICA_PATTERN, pods_matcher, replica_pattern
from forebay.telemetry.query.promql import Matcher
from forebay.telemetry.settings import PrometheusSettings

_PROCESS = "forebay_process"
"""Label of a gateway's process: its pod, or where it was scraped if it has none."""
_REPLICA = "forebay_replica"
"""Label of a group of pods that serve as one replica."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What to read of a signal's series."""

    offset_seconds: int = 0
    suffix: str = ""
    edges: Sequence[str] | None = None
    window_seconds: int | None = None
    """How far back the newest sample may lie; ``None``: as far as the group's scrapes need."""


@dataclass(frozen=True, slots=True)
class Expressions:
    """PromQL for one group. A method returns ``None`` where the server is known to have no such metric."""

    group: SharedQueries
    settings: PrometheusSettings
    known: Collection[str] | None
    """Metric names that the server has; ``None``: not known, so all are asked for."""
    window_seconds: int
    """How far back the newest sample of a series may lie."""
    deduplicate: bool = True
    """Whether some engine may have repeated series. Where none has, counters are summed as they are, which is half
    the server's work."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of every answer, without ``le``."""
        return self.group.answer_labels(self.settings.workload_label)

    # Counters --------------------------------------------------------------------------------------------------

    def arrivals(self, signal: Signal, seconds: int) -> str | None:
        """Return what a counter of requests grew in the last ``seconds``, counters that were reset included."""
        now, before = self._ends(signal, seconds, count_suffix(signal))
        if now is None or before is None:
            return None
        return self._reduced("sum", promql.counter_growth(now, before))

    def growth(
        self, signal: Signal, seconds: int, *, suffix: str = "", edges: Sequence[str] | None = None
    ) -> str | None:
        """Return what a counter grew in the last ``seconds``; for a histogram name its ``suffix`` and edges."""
        now, before = self._ends(signal, seconds, suffix, edges)
        if now is None or before is None:
            return None
        return self._reduced("sum", promql.plain_growth(now, before), by_edge=suffix == "_bucket")

    def born(self, signal: Signal, seconds: int) -> str | None:
        """Return the counts of series that were not there ``seconds`` ago, nor for a while before."""
        born = self._newborn(signal, seconds)
        return None if born is None else self._reduced("sum", born)

    def first(self, signal: Signal, seconds: int) -> str | None:
        """Return of those counts the ones of engines that were there before: first events of a lazy counter."""
        anchor = self._look(self.group.dialect.anchor, _Look(seconds))
        born = self._newborn(signal, seconds)
        if born is None or anchor is None:
            return None
        return self._reduced("sum", promql.beside(born, anchor, (*self.group.labels, self._replica_label)))

    def _newborn(self, signal: Signal, seconds: int) -> str | None:
        suffix = count_suffix(signal)
        now, before = self._ends(signal, seconds, suffix)
        guard = int(self.settings.resume_guard_seconds)
        long_before = self._look(signal, _Look(seconds, suffix, window_seconds=guard))
        if now is None or before is None or long_before is None:
            return None
        return promql.newborn(now, before, long_before)

    # Gauges ----------------------------------------------------------------------------------------------------

    def change(self, signal: Signal, seconds: int) -> str | None:
        """Return how much more a gauge shows than ``seconds`` ago."""
        now, before = self._ends(signal, seconds)
        return None if now is None or before is None else self._reduced("sum", promql.gauge_change(now, before))

    def level(self, signal: Signal, aggregation: str = "sum") -> str | None:
        """Return a gauge as it is."""
        now = self._look(signal)
        return None if now is None else self._reduced(aggregation, now)

    def by_pod(self, signal: Signal) -> str | None:
        """Return a gauge as it is, per pod."""
        now = self._look(signal)
        if now is None:
            return None
        pod = self.settings.pod_label
        told = promql.copied_label(now, self._replica_label, pod) if self._replica_label != pod else now
        return f"sum by({self.settings.namespace_label},{pod})({told})"

    def stuck(self, signal: Signal | None, seconds: int) -> str | None:
        """Return the gauge ``signal`` of engines that hold requests though no counter moved for ``seconds``.

        Without ``signal``, return how many such engines there are.
        """
        looks = (self._look(Signal.RUNNING), self._look(Signal.WAITING))
        now, before = self._ends(Signal.PROGRESS, seconds)
        if looks == (None, None) or now is None or before is None:
            return None
        identity = self._identity
        by = ",".join(identity)
        holds = " or ".join(f"max by({by})({look})>0" for look in looks if look is not None)
        moved = f"({now})!=({before}) or ({now}) unless ({before})"
        stuck = f"({holds}) unless on({by}) ({moved})"
        if signal is None:
            return self._reduced("count", stuck, outer="sum")
        look = self._look(signal)
        return None if look is None else self._reduced("sum", promql.beside(look, stuck, identity))

    # Presence --------------------------------------------------------------------------------------------------

    def newest(self) -> str | None:
        """Return the time of the newest sample."""
        stamps = [f"timestamp({self._in_groups(each)})" for each in self._selectors(self.group.dialect.anchor)]
        return self._reduced("max", promql.first_of(stamps)) if stamps else None

    def replicas(self) -> str | None:
        """Return how many replicas report."""
        now = self._joined(self.group.dialect.anchor, None)
        return None if now is None else self._reduced("group", now, outer="count")

    def engines(self) -> str | None:
        """Return how many engines report: a replica has several with data parallelism."""
        now = self._joined(self.group.dialect.anchor, None)
        if now is None:
            return None
        return self._reduced("count", f"max by({','.join(self._identity)})({now})", outer="sum")

    def duplicates(self) -> str | None:
        """Return how many series repeat another one of their engine; 1 where the metric has several names."""
        found = [
            (name, candidate) for candidate, names in self._present(self.group.dialect.anchor) for name in names
        ]
        if not found:
            return None
        if len(found) > 1 or self.group.replicas_are_groups:
            return "vector(1)"
        name, candidate = found[0]
        every = promql.selector(name, self._matchers(candidate))
        return f"count({every})-count({self._once(every, candidate)})"

    def scrapes(self, seconds: int, *, of_late: bool = False) -> str | None:
        """Return how often the most-scraped replica was scraped in the last ``seconds``.

        ``of_late`` takes the best such window of the last while: a gap does not make scrapes rarer.
        """
        counts = [f"count_over_time({each}[{seconds}s])" for each in self._selectors(self.group.dialect.anchor)]
        if of_late:
            counts = [f"max_over_time({each}[{2 * seconds}s:{seconds // 3}s])" for each in counts]
        if not counts:
            return None
        return self._reduced("max", promql.first_of([self._in_groups(each) for each in counts]))

    def quantile(self, signal: Signal, share: float, seconds: int) -> str | None:
        """Return a percentile of a histogram over the last ``seconds``."""
        rates = [
            self._in_groups(f"rate({each}[{seconds}s])") for each in self._selectors(signal, suffix="_bucket")
        ]
        if not rates:
            return None
        return f"histogram_quantile({share:g},{self._reduced('sum', promql.first_of(rates), by_edge=True)})"

    def kv_config(self) -> str | None:
        """Return the number of engines per size of the KV cache; its size is in two further labels."""
        config = self.group.dialect.kv_config
        if config is None:
            return None
        names = [name for name in spellings(config.metric) if self.known is None or name in self.known]
        if not names:
            return None
        selectors = promql.first_of([promql.selector(name, self.group.matchers) for name in names])
        size = (config.blocks_label, config.block_size_label)
        once = f"max by({','.join((*self._identity, *size))})({self._in_groups(selectors)})"
        return self._reduced("count", once, outer="sum", more=size)

    # Names -----------------------------------------------------------------------------------------------------

    def names(self) -> str:
        """Return which of the dialect's metrics the server has."""
        return f"group by(__name__)({self._any_of(promql.one_of('__name__', self._discoverable()))})"

    def similar_names(self) -> str:
        """Return metrics whose names end as those of the anchor do, behind a prefix of somebody's own."""
        names = self.group.dialect.metric_names(self.group.dialect.anchor)
        ends = "|".join(promql.escape_regex(name) for name in names)
        return f"group by(__name__)({self._any_of(Matcher('__name__', '=~', f'.+(?:{ends})'))})"

    def edges(self, signals: Sequence[Signal]) -> str:
        """Return the bucket edges of histograms."""
        names = [f"{name}_bucket" for signal in signals for name in self.group.dialect.metric_names(signal)]
        return f"group by(__name__,le)({self._any_of(promql.one_of('__name__', names))})"

    def _any_of(self, name: Matcher) -> str:
        return f"{{{','.join(str(matcher) for matcher in (name, *self.group.matchers))}}}"

    def _discoverable(self) -> list[str]:
        dialect = self.group.dialect
        names = [name + count_suffix(each) for each in dialect.signals for name in dialect.metric_names(each)]
        return names + list(spellings(dialect.kv_config.metric) if dialect.kv_config else ())

    # Series to engines -----------------------------------------------------------------------------------------

    @property
    def _replica_label(self) -> str:
        if not self.group.workloads or self.settings.workload_label is not None:
            return _PROCESS
        return _REPLICA if self.group.replicas_are_groups else promql.label_name(self.settings.pod_label)

    @property
    def _identity(self) -> tuple[str, ...]:
        """Return the labels that make an engine."""
        workload = (self.settings.workload_label,) if self._names_workloads else ()
        return (*self.group.labels, *workload, self._replica_label, *self.group.dialect.engine_labels)

    @property
    def _names_workloads(self) -> bool:
        return self.group.workloads and self.settings.workload_label is not None

    def _in_groups(self, expression: str) -> str:
        """Give series the label of their replica, where it is not a label of their own."""
        pod = self.settings.pod_label
        if self._replica_label == _PROCESS:
            return promql.copied_label(promql.copied_label(expression, "instance", _PROCESS), pod, _PROCESS)
        if self._replica_label != _REPLICA:
            return expression
        if not self.group.separate:
            return promql.copied_label(expression, pod, _REPLICA, REPLICA_PATTERN)
        for workload in self.group.separate:
            expression = promql.copied_label(expression, pod, _REPLICA, replica_pattern(workload))
        return expression

    def _parts(self, candidate: Candidate) -> tuple[str, ...]:
        every = dict.fromkeys((*candidate.parts, *self.group.dialect.parts))
        return tuple(label for label in every if label not in self._identity)

    def _once(self, expression: str, candidate: Candidate, more: tuple[str, ...] = ()) -> str:
        """Count the series of one engine that repeat each other once; of these the highest wins."""
        parts = self._parts(candidate)
        if ANY_LABEL in parts:
            return promql.without(self._repeating_labels, expression)
        labels = ",".join((*self._identity, *parts, *more))
        return f"max by({labels})({self._in_groups(expression)})"

    def _as_engines(self, expression: str, candidate: Candidate, more: tuple[str, ...]) -> str:
        """Reduce series to one per engine, so that those of several names can stand for each other."""
        once = self._once(expression, candidate, more)
        if ANY_LABEL in self._parts(candidate):
            return f"sum by({','.join((*self.group.labels, *more))})({once})"
        return f"sum by({','.join((*self._identity, *more))})({once})" if self._parts(candidate) else once

    @property
    def _repeating_labels(self) -> tuple[str, ...]:
        """Labels in which scrapes of one source differ; never those by which this group's pools are told apart."""
        return tuple(label for label in self.settings.duplicate_labels if label not in self.group.labels)

    def _ends(
        self, signal: Signal, seconds: int, suffix: str = "", edges: Sequence[str] | None = None
    ) -> tuple[str | None, str | None]:
        return self._look(signal, _Look(0, suffix, edges)), self._look(signal, _Look(seconds, suffix, edges))

    def _look(self, signal: Signal, look: _Look | None = None) -> str | None:
        """Return the newest samples of a signal, one per engine (and part), as seen some time ago."""
        return self._joined(signal, look or _Look())

    def _joined(self, signal: Signal, look: _Look | None) -> str | None:
        """Join a signal's candidates: the first that an engine has, or the sum where a candidate is a sum.

        Without ``look`` take the samples that the server takes for those of now.
        """
        found = list(self._present(signal))
        is_sum = any(len(candidate.metrics) > 1 for candidate, _ in found)
        several = not is_sum and sum(len(names) for _, names in found) > 1
        forms: list[str] = []
        for candidate, names in found:
            alone = len(names) == 1 and not several
            form = promql.first_of([self._form(signal, candidate, name, look, alone=alone) for name in names])
            forms.append(promql.part_of_a_sum(f"({form})", len(forms)) if is_sum else form)
        return promql.first_of(forms) if forms else None

    def _form(self, signal: Signal, candidate: Candidate, name: str, look: _Look | None, *, alone: bool) -> str:
        more = ("le",) if look is not None and look.suffix == "_bucket" else ()
        form = self._samples(name, candidate, look)
        if candidate.times is not None:
            factor = self._samples(
                candidate.times, candidate, None if look is None else _Look(look.offset_seconds)
            )
            return f"({self._as_engines(form, candidate, more)})*({self._as_engines(factor, candidate, ())})"
        if not alone:
            return self._as_engines(form, candidate, more)
        repeats = self.deduplicate or signal in GAUGES or self.group.replicas_are_groups
        return self._once(form, candidate, more) if repeats else self._in_groups(form)

    def _samples(self, name: str, candidate: Candidate, look: _Look | None) -> str:
        matchers = self._matchers(candidate)
        if look is None:
            return promql.selector(name, matchers)
        if look.edges is not None:
            matchers = (*matchers, promql.one_of("le", look.edges))
        return promql.last(
            name + look.suffix,
            matchers,
            window_seconds=look.window_seconds or self.window_seconds,
            offset_seconds=look.offset_seconds,
        )

    def _matchers(self, candidate: Candidate) -> tuple[Matcher, ...]:
        return (*self.group.matchers, *candidate.matchers)

    def _selectors(self, signal: Signal, suffix: str = "") -> Iterator[str]:
        for candidate, names in self._present(signal):
            for name in names:
                yield promql.selector(name + suffix, self._matchers(candidate))

    def _present(self, signal: Signal) -> Iterator[tuple[Candidate, list[str]]]:
        """Yield each metric of a signal's candidates, under the names by which the server has or may have it."""
        for candidate in self.group.dialect.signals.get(signal, ()):
            for metric in candidate.metrics:
                names = self._spelt(signal, metric)
                if names:
                    yield candidate, names

    def _spelt(self, signal: Signal, metric: str) -> list[str]:
        if self.known is None or self._still_to_come(signal, self.known):
            return list(spellings(metric))
        return [name for name in spellings(metric) if name + count_suffix(signal) in self.known]

    def _still_to_come(self, signal: Signal, known: Collection[str]) -> bool:
        """Return whether the series of ``signal`` appear with their first event, which may be now."""
        dialect = self.group.dialect
        if signal not in dialect.lazy:
            return False
        return not any(name + count_suffix(signal) in known for name in dialect.metric_names(signal))

    # Engines to workloads --------------------------------------------------------------------------------------

    def _reduced(
        self,
        inner: str,
        expression: str,
        *,
        outer: str | None = None,
        by_edge: bool = False,
        more: tuple[str, ...] = (),
    ) -> str:
        """Reduce engines to workloads, first by replica, so that names are rewritten once per replica."""
        more = (*more, "le") if by_edge else more
        every = ",".join((*self.labels, *more))
        replica = self._replica_label
        if not self.group.workloads and outer is None:
            return f"{inner} by({every})({expression})"
        if replica == _PROCESS:
            return f"{outer or inner} by({every})({inner} by({every},{replica})({expression}))"
        by_replica = f"{inner} by({','.join((*self.group.labels, replica, *more))})({expression})"
        return f"{outer or inner} by({every})({self._with_workload(by_replica, replica)})"

    def _with_workload(self, expression: str, replica: str) -> str:
        if not self.group.separate:
            return promql.copied_label(expression, replica, WORKLOAD, POD_NAME_PATTERN)
        for workload in self.group.separate:
            name = promql.quote(workload.name.replace("$", "$$"))
            pattern = promql.quote(pods_matcher(workload, replica).value)
            expression = f'label_replace({expression},"{WORKLOAD}",{name},"{replica}",{pattern})'
        return expression
