"""What changes seldom and is looked up seldom: metric names, bucket edges, scrape intervals, KV cache sizes."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.grouping import SharedQueries
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.transport.answer import Labels, Vector, number, parse_vector
from forebay.telemetry.transport.client import PromQlClient
from forebay.telemetry.transport.errors import QueryError

_SCRAPES_OVER_SECONDS = (90, 300)
_ENOUGH_SCRAPES = (4.0, 2.0)
_UNKNOWN_INTERVAL_SECONDS = 15.0
_SCRAPES_TO_LOOK_BACK = 4
_SHORTEST_WINDOW_SECONDS = 10
_LONGEST_WINDOW_SECONDS = 300
LATENCIES = (Signal.TTFT, Signal.REQUEST_ITL, Signal.TOKEN_ITL)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """SeriesFacts about one group, as of ``at_seconds``."""

    at_seconds: float = -math.inf
    known: frozenset[str] | None = None
    """Metric names that the server has; ``None``: could not be looked up."""
    edges: Mapping[Signal, Mapping[float, str]] = field(default_factory=dict)
    """Bucket edges of latency histograms in seconds, with their spelling in the label ``le``."""
    scrape_seconds: Mapping[Labels, float] = field(default_factory=dict)
    kv_tokens_per_engine: Mapping[Labels, float] = field(default_factory=dict)
    similar: tuple[str, ...] = ()
    """Where the server has no metric of the anchor: metrics whose names end as the anchor's do."""

    def scrape_interval(self, key: Labels) -> float:
        """Return the scrape interval of a workload or gateway, or the usual one where it is not known yet."""
        return self.scrape_seconds.get(key, _UNKNOWN_INTERVAL_SECONDS)

    @property
    def window_seconds(self) -> int:
        """Return how far back to look for the newest sample: four scrapes of the slowest."""
        slowest = max(self.scrape_seconds.values(), default=_UNKNOWN_INTERVAL_SECONDS)
        return int(min(max(_SCRAPES_TO_LOOK_BACK * slowest, _SHORTEST_WINDOW_SECONDS), _LONGEST_WINDOW_SECONDS))

    @property
    def finest_scrape_seconds(self) -> float:
        """Return the shortest scrape interval of the group."""
        return min(self.scrape_seconds.values(), default=_UNKNOWN_INTERVAL_SECONDS)

    def knows_any_of(self, names: Sequence[str]) -> bool:
        """Return whether the server has, or may have, one of these metrics."""
        return self.known is None or not self.known.isdisjoint(names)

    def stale_after(self, key: Labels) -> float:
        """Return the age at which a sample means that a scrape is missing."""
        return 1.5 * self.scrape_interval(key) + 2.0


async def look_up(
    client: PromQlClient, group: SharedQueries, settings: PrometheusSettings, at_seconds: float, last: SeriesFacts
) -> SeriesFacts:
    """Look a group's facts up; what cannot be looked up stays as it was, and is looked up again soon.

    All but the names are asked for at once: one after the other they would take longer than a round waits, where
    the server is slow.
    """
    every = Expressions(group, settings, None, _LONGEST_WINDOW_SECONDS)
    names = await _vector(client, every.names(), ("__name__",), at_seconds)
    known = frozenset(name for (name,) in names.values) if names is not None else last.known
    some = Expressions(group, settings, known, _LONGEST_WINDOW_SECONDS)
    anchors = group.dialect.metric_names(group.dialect.anchor)
    is_missing = known is not None and known.isdisjoint(anchors)
    similar = await _vector(client, every.similar_names(), ("__name__",), at_seconds) if is_missing else None
    latencies = [signal for signal in LATENCIES if signal in group.dialect.signals]
    buckets, scrape_seconds, kv_tokens = await asyncio.gather(
        _buckets(client, some, latencies, at_seconds),
        _scrape_seconds(client, some, at_seconds),
        _kv_tokens(client, some, at_seconds),
    )
    edges = last.edges if buckets is None else _edges(group, latencies, buckets)
    return SeriesFacts(
        at_seconds=at_seconds if names is not None and buckets is not None else -math.inf,
        known=known,
        edges=edges,
        scrape_seconds=scrape_seconds or last.scrape_seconds,
        kv_tokens_per_engine=kv_tokens or last.kv_tokens_per_engine,
        similar=tuple(sorted(name for (name,) in similar.values)) if similar is not None else (),
    )


async def _buckets(
    client: PromQlClient, expressions: Expressions, latencies: Sequence[Signal], at_seconds: float
) -> Vector | None:
    if not latencies:
        return Vector()
    return await _vector(client, expressions.edges(latencies), ("__name__", "le"), at_seconds)


async def _vector(
    client: PromQlClient, query: str | None, labels: tuple[str, ...], at_seconds: float
) -> Vector | None:
    if query is None:
        return None
    try:
        return await client.instant(
            query, at_seconds, kind="facts", read=lambda result: parse_vector(result, labels)
        )
    except QueryError:
        return None


def _edges(group: SharedQueries, signals: Sequence[Signal], answer: Vector) -> dict[Signal, dict[float, str]]:
    owner = {f"{name}_bucket": signal for signal in signals for name in group.dialect.metric_names(signal)}
    result: dict[Signal, dict[float, str]] = {}
    for name, text in answer.values:
        edge = number(text)
        if name in owner and edge is not None and not math.isnan(edge):
            result.setdefault(owner[name], {})[edge] = text
    return result


async def _scrape_seconds(
    client: PromQlClient, expressions: Expressions, at_seconds: float
) -> dict[Labels, float]:
    """Return the time between two scrapes per workload, by the scrapes of a short or else a long window."""
    asked = [(seconds, of_late) for seconds in _SCRAPES_OVER_SECONDS for of_late in (False, True)]
    answers = await asyncio.gather(
        *(
            _vector(client, expressions.scrapes(seconds, of_late=of_late), expressions.labels, at_seconds)
            for seconds, of_late in asked
        )
    )
    counted: dict[int, dict[Labels, float]] = {seconds: {} for seconds in _SCRAPES_OVER_SECONDS}
    for (seconds, _), answer in zip(asked, answers, strict=True):
        most = counted[seconds]
        for key, count in (answer.values if answer is not None else {}).items():
            most[key] = max(count, most.get(key, 0.0))
    result: dict[Labels, float] = {}
    for seconds, enough in zip(_SCRAPES_OVER_SECONDS, _ENOUGH_SCRAPES, strict=True):
        for key, count in counted[seconds].items():
            if count >= enough:
                result.setdefault(key, round(seconds / count, 1))
    return result


async def _kv_tokens(client: PromQlClient, expressions: Expressions, at_seconds: float) -> dict[Labels, float]:
    """Return the mean KV capacity of a workload's engines, in tokens."""
    if Signal.KV_CAPACITY in expressions.group.dialect.signals:
        total, engines = await asyncio.gather(
            _vector(client, expressions.level(Signal.KV_CAPACITY), expressions.labels, at_seconds),
            _vector(client, expressions.engines(), expressions.labels, at_seconds),
        )
        if total is None or engines is None:
            return {}
        return {key: value / engines.values[key] for key, value in total.values.items() if engines.values.get(key)}
    config = expressions.group.dialect.kv_config
    if config is None:
        return {}
    labels = (*expressions.labels, config.blocks_label, config.block_size_label)
    answer = await _vector(client, expressions.kv_config(), labels, at_seconds)
    tokens: dict[Labels, float] = {}
    engines_seen: dict[Labels, float] = {}
    for key, count in (answer.values if answer is not None else {}).items():
        blocks, size = number(key[-2]), number(key[-1])
        if blocks is None or size is None or not (0 < blocks * size < math.inf):
            continue
        workload = key[:-2]
        tokens[workload] = tokens.get(workload, 0.0) + blocks * size * count
        engines_seen[workload] = engines_seen.get(workload, 0.0) + count
    return {key: total / engines_seen[key] for key, total in tokens.items()}
