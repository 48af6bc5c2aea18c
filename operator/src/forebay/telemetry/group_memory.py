"""What is remembered of a group of pools between rounds, and when which part of it is read anew."""

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.facts import SeriesFacts, look_up
from forebay.telemetry.query.figures import SlowFigures, read_lengths, read_percentiles, rounded
from forebay.telemetry.query.grouping import SharedQueries
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.signals.arrivals import NewSeriesFilter
from forebay.telemetry.transport.client import PromQlClient

_LATE = 2.0
"""Times of its usual age at which something is read within a round, since no pause came to do so."""
_LOOK_AGAIN_SECONDS = 30.0
_LONGEST_LENGTHS = 5
"""Times of `slow_seconds` over which lengths are read at most."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the memory."""

    name: str
    age: float
    """Over that at which it is read anew in a pause."""
    most: float
    """Age at which a round reads it itself."""
    read: Callable[[int], Awaitable[None]]


@dataclass(slots=True)
class GroupMemory:
    """What is remembered of one group. Facts, lengths and percentiles are parts that are read now and then."""

    client: PromQlClient
    settings: PrometheusSettings
    group: SharedQueries
    shares: frozenset[float] = frozenset()
    """Shares of requests for which percentiles are read."""
    facts: SeriesFacts = field(default_factory=SeriesFacts)
    new_series: NewSeriesFilter = field(default_factory=NewSeriesFilter)
    slow: SlowFigures = field(default_factory=SlowFigures)
    counted_until: int | None = None
    """End of the last interval whose arrivals were read."""
    asked_until: int | None = None
    may_have_duplicates: bool = True
    """Whether the last round saw an engine that is scraped twice. A second scrape that begins now adds nothing to
    this round's growth, because its series have no past, and is counted once from the next round on."""
    may_be_stuck: bool = False
    """Whether the last round saw an engine that does not move."""
    incomplete: bool = False
    """Some workload had no sample: perhaps its metrics have only just appeared."""
    tried: dict[str, int] = field(default_factory=dict)
    """When each part was last read, in vain or not; once per round and the pause after it is enough."""

    def update(self, group: SharedQueries, shares: Iterable[float]) -> None:
        """Take the group and the percentiles as the pools of this round want them."""
        self.group, self.shares = group, frozenset(rounded(share) for share in shares)

    async def read_late_facts(self, end: int) -> None:
        """Look facts up within a round, if it cannot go on without them or if no pause came to do so."""
        await self._read_late([self._facts_part(end)], end)

    async def read_late_figures(self, end: int) -> None:
        """Read lengths and percentiles within a round, if there are none yet or if no pause came to do so."""
        await self._read_late(self._slow_parts(end), end)

    def due(self, end: int) -> list[Callable[[], Awaitable[None]]]:
        """Return what is to be read in the pause after the round of ``end``, piece by piece."""
        parts = (self._facts_part(end), *self._slow_parts(end))
        return [
            partial(self._read, part, end)
            for part in parts
            if part.age >= 1.0 and self.tried.get(part.name) != end
        ]

    async def _read_late(self, parts: Iterable[_Part], end: int) -> None:
        for part in parts:
            if part.age >= part.most:
                await self._read(part, end)

    async def _read(self, part: _Part, end: int) -> None:
        self.tried[part.name] = end
        await part.read(end)

    def _facts_part(self, end: int) -> _Part:
        """Look facts up sooner if a metric is missing, and within the round if nothing can be seen."""
        usual, most = self.settings.discovery_seconds, _LATE
        if self.incomplete:
            usual = min(usual, _LOOK_AGAIN_SECONDS)
        if not self.facts.knows_any_of(self.group.dialect.metric_names(self.group.dialect.anchor)):
            usual, most = self.settings.interval_seconds, 1.0
        return _Part("facts", (end - self.facts.at_seconds) / usual, most, self._read_facts)

    def _slow_parts(self, end: int) -> tuple[_Part, _Part]:
        pace, slow = self.settings.slow_seconds, self.slow
        return (
            _Part("percentiles", (end - slow.percentiles_at_seconds) / pace, _LATE, self._read_percentiles),
            _Part("lengths", (end - slow.lengths_at_seconds) / pace, _LATE, self._read_lengths),
        )

    async def _read_facts(self, end: int) -> None:
        self.facts = await look_up(self.client, self.group, self.settings, end, self.facts)

    async def _read_percentiles(self, end: int) -> None:
        await read_percentiles(self.client, self._expressions(), self.shares, end, self.slow)

    async def _read_lengths(self, end: int) -> None:
        pace, since = self.settings.slow_seconds, end - self.slow.lengths_at_seconds
        seconds = pace if math.isinf(since) else min(since, _LONGEST_LENGTHS * pace)
        await read_lengths(self.client, self._expressions(), end, round(seconds), self.slow)

    def _expressions(self) -> Expressions:
        return Expressions(self.group, self.settings, self.facts.known, self.facts.window_seconds)
