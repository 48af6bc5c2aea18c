"""The PromQL expressions of one group of pools.

A query answers for every pool of its group at once: the server reduces replicas to workloads (or a gateway's
series to the labels by which pools select them), and Python joins the few series that come back.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from forebay.telemetry.query import promql
from forebay.telemetry.query.dialect import HISTOGRAMS, Signal, spellings
from forebay.telemetry.query.grouping import WORKLOAD, Group
from forebay.telemetry.query.pod_names import POD_NAME_PATTERN, pods_matcher
from forebay.telemetry.query.promql import Matcher
from forebay.telemetry.settings import PrometheusSettings

_Wrap = Callable[[str, Sequence[Matcher]], str]
"""Turns a metric's name and its matchers into an expression."""


def _probe(signal: Signal) -> str:
    """Return what the name of a metric of ``signal`` ends in, among the names that a server lists."""
    return "_count" if signal in HISTOGRAMS else ""


@dataclass(frozen=True, slots=True)
class Expressions:
    """PromQL for one group. A method returns ``None`` where the server is known to have no such metric."""

    group: Group
    settings: PrometheusSettings
    known: Collection[str] | None
    """Metric names that the server has; ``None``: not known, so all are asked for."""
    window_seconds: int
    """How far back the newest sample of a series may lie."""
    deduplicate: bool = True
    """Whether some engine may be scraped twice. Where it is not, its series are summed as they are."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of every answer, without ``le``."""
        return self.group.answer_labels(self.settings.workload_label)

    def arrivals(self, signal: Signal, seconds: int) -> str | None:
        """Return what a counter of requests grew in the last ``seconds``, counters that were reset included."""
        now, before = self._looks(signal, seconds)
        if now is None or before is None:
            return None
        return self._reduced("sum", promql.counter_growth(now, before))

    def growth(
        self, signal: Signal, seconds: int, *, suffix: str = "", edges: Sequence[str] | None = None
    ) -> str | None:
        """Return what a counter grew in the last ``seconds``; for a histogram name its ``suffix`` and edges."""
        now, before = self._looks(signal, seconds, suffix, edges)
        if now is None or before is None:
            return None
        return self._reduced("sum", promql.plain_growth(now, before), by_edge=suffix == "_bucket")

    def born(self, signal: Signal, seconds: int) -> str | None:
        """Return the counts of series that were not there ``seconds`` ago, nor for a while before."""
        now, before = self._looks(signal, seconds)
        long_before = self._look(signal, seconds, window=int(self.settings.resume_guard_seconds))
        if now is None or before is None or long_before is None:
            return None
        return self._reduced("sum", promql.newborn(now, before, long_before))

    def change(self, signal: Signal, seconds: int) -> str | None:
        """Return how much more a gauge shows than ``seconds`` ago."""
        now, before = self._looks(signal, seconds)
        return None if now is None or before is None else self._reduced("sum", promql.gauge_change(now, before))

    def level(self, signal: Signal, aggregation: str = "sum") -> str | None:
        """Return a gauge as it is."""
        now = self._look(signal, 0)
        return None if now is None else self._reduced(aggregation, now)

    def newest(self) -> str | None:
        """Return the time of the newest sample."""
        stamps = [f"timestamp({each})" for each in self._selectors(self.group.dialect.anchor)]
        return self._reduced("max", promql.first_of(stamps)) if stamps else None

    def replicas(self) -> str | None:
        """Return how many pods report."""
        now = self._instant(self.group.dialect.anchor)
        return None if now is None else self._reduced("group", now, outer="count")

    def engines(self) -> str | None:
        """Return how many engines report: a pod has several with data parallelism."""
        now = self._instant(self.group.dialect.anchor)
        return None if now is None else self._reduced("count", now, outer="sum")

    def duplicates(self) -> str | None:
        """Return how many series repeat another one's engine."""
        every = promql.first_of(list(self._selectors(self.group.dialect.anchor)))
        if not every:
            return None
        return f"count({every})-count({promql.without(self._duplicate_labels, every)})"

    def scrapes(self, seconds: int, *, of_late: bool = False) -> str | None:
        """Return how often the most-scraped replica was scraped in the last ``seconds``.

        ``of_late`` takes the best such window of the last while: a gap does not make scrapes rarer.
        """
        counts = [f"count_over_time({each}[{seconds}s])" for each in self._selectors(self.group.dialect.anchor)]
        if of_late:
            counts = [f"max_over_time({each}[{2 * seconds}s:{seconds // 3}s])" for each in counts]
        return self._reduced("max", promql.first_of(counts)) if counts else None

    def quantile(self, signal: Signal, share: float, seconds: int) -> str | None:
        """Return a percentile of a histogram over the last ``seconds``."""
        rates = [f"rate({each}[{seconds}s])" for each in self._selectors(signal, "_bucket")]
        if not rates:
            return None
        buckets = self._deduplicated(promql.first_of(rates))
        return f"histogram_quantile({share:g},{self._reduced('sum', buckets, by_edge=True)})"

    def kv_config(self) -> str | None:
        """Return the number of engines per size of the KV cache; its size is in two further labels."""
        config = self.group.dialect.kv_config
        if config is None:
            return None
        names = [name for name in spellings(config.metric) if self.known is None or name in self.known]
        if not names:
            return None
        selectors = promql.first_of([promql.selector(name, self.group.matchers) for name in names])
        return self._reduced(
            "count",
            self._deduplicated(selectors),
            outer="sum",
            more=(config.blocks_label, config.block_size_label),
        )

    def names(self) -> str:
        """Return which of the dialect's metrics the server has."""
        return f"group by(__name__)({self._any_of(self._discoverable())})"

    def edges(self, signals: Sequence[Signal]) -> str:
        """Return the bucket edges of histograms."""
        names = [f"{name}_bucket" for signal in signals for name in self.group.dialect.metric_names(signal)]
        return f"group by(__name__,le)({self._any_of(names)})"

    def _any_of(self, names: Sequence[str]) -> str:
        inside = ",".join(str(matcher) for matcher in (promql.one_of("__name__", names), *self.group.matchers))
        return f"{{{inside}}}"

    def _discoverable(self) -> list[str]:
        dialect = self.group.dialect
        names = [name + _probe(signal) for signal in dialect.signals for name in dialect.metric_names(signal)]
        return names + list(spellings(dialect.kv_config.metric) if dialect.kv_config else ())

    def _looks(
        self, signal: Signal, seconds: int, suffix: str = "", edges: Sequence[str] | None = None
    ) -> tuple[str | None, str | None]:
        return self._look(signal, 0, suffix, edges), self._look(signal, seconds, suffix, edges)

    def _look(
        self,
        signal: Signal,
        offset: int,
        suffix: str = "",
        edges: Sequence[str] | None = None,
        window: int | None = None,
    ) -> str | None:
        """Return the newest samples of a signal, one per engine, as seen ``offset`` seconds ago."""

        def wrap(metric: str, matchers: Sequence[Matcher]) -> str:
            seconds = self.window_seconds if window is None else window
            look = promql.last(metric, matchers, window_seconds=seconds, offset_seconds=offset)
            return self._deduplicated(look)

        return self._joined(signal, wrap, suffix, edges)

    def _instant(self, signal: Signal) -> str | None:
        return self._joined(signal, lambda metric, all_of: self._deduplicated(promql.selector(metric, all_of)))

    def _joined(
        self,
        signal: Signal,
        wrap: _Wrap,
        suffix: str = "",
        edges: Sequence[str] | None = None,
    ) -> str | None:
        """Join a signal's candidates: the first that a series has, or the sum where a candidate is a sum."""
        more = () if edges is None else (promql.one_of("le", edges),)
        expressions: list[str] = []
        for candidate in self.group.dialect.signals.get(signal, ()):
            matchers = (*self.group.matchers, *promql.equal(candidate.labels), *more)
            for index, metric in enumerate(candidate.metrics):
                forms = [wrap(name + suffix, matchers) for name in self._present(signal, metric)]
                if not forms:
                    continue
                joined = promql.first_of(forms)
                expressions.append(joined if len(candidate.metrics) == 1 else promql.part_of_a_sum(joined, index))
        return promql.first_of(expressions) if expressions else None

    def _selectors(self, signal: Signal, suffix: str = "") -> Iterator[str]:
        for candidate in self.group.dialect.signals.get(signal, ()):
            matchers = (*self.group.matchers, *promql.equal(candidate.labels))
            for metric in candidate.metrics:
                for name in self._present(signal, metric):
                    yield promql.selector(name + suffix, matchers)

    def _present(self, signal: Signal, metric: str) -> list[str]:
        if self.known is None or self._still_to_come(signal, self.known):
            return list(spellings(metric))
        return [name for name in spellings(metric) if name + _probe(signal) in self.known]

    def _still_to_come(self, signal: Signal, known: Collection[str]) -> bool:
        """Return whether the series of ``signal`` appear with their first event, which may be now."""
        dialect = self.group.dialect
        if signal not in dialect.lazy:
            return False
        return not any(name + _probe(signal) in known for name in dialect.metric_names(signal))

    def _deduplicated(self, expression: str) -> str:
        return promql.without(self._duplicate_labels, expression) if self.deduplicate else expression

    @property
    def _duplicate_labels(self) -> tuple[str, ...]:
        """Labels to count series once over; never those by which this group's pools are told apart."""
        every = (*self.settings.duplicate_labels, *self.group.dialect.same_value_labels)
        return tuple(label for label in every if label not in self.group.labels)

    def _reduced(
        self,
        inner: str,
        expression: str,
        *,
        outer: str | None = None,
        by_edge: bool = False,
        more: tuple[str, ...] = (),
    ) -> str:
        """Reduce engines to workloads, first by pod, so that names are rewritten once per pod."""
        more = (*more, "le") if by_edge else more
        every = ",".join((*self.labels, *more))
        if not self.group.workloads:
            return f"{'count' if inner == 'group' else inner} by({every})({expression})"
        pod = promql.label_name(self.settings.pod_label)
        if self.settings.workload_label is not None:
            return f"{outer or inner} by({every})({inner} by({every},{pod})({expression}))"
        by_pod = f"{inner} by({','.join((*self.group.labels, pod, *more))})({expression})"
        return f"{outer or inner} by({every})({self._with_workload(by_pod, pod)})"

    def _with_workload(self, expression: str, pod: str) -> str:
        if not self.group.separate:
            return f'label_replace({expression},"{WORKLOAD}","$1","{pod}",{promql.quote(POD_NAME_PATTERN)})'
        for workload in self.group.separate:
            name = promql.quote(workload.name.replace("$", "$$"))
            pattern = promql.quote(pods_matcher(workload, pod).value)
            expression = f'label_replace({expression},"{WORKLOAD}",{name},"{pod}",{pattern})'
        return expression
