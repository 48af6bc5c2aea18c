"""What is read once a minute: prompt length histograms and latency percentiles."""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from forebay.flow.observation import LengthHistogram
from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.facts import LATENCIES
from forebay.telemetry.query.histograms import histogram_counts
from forebay.telemetry.transport.answer import Labels, parse_vector
from forebay.telemetry.transport.client import PromQlClient
from forebay.telemetry.transport.errors import QueryError

_PERCENTILE_WINDOW_SECONDS = 300
_MOST_PERCENTILES = 8
_LENGTHS = (Signal.PREFILL_TOKENS, Signal.PROMPT_LENGTH)


@dataclass(slots=True)
class SlowFigures:
    """Answers that one group gets once a minute.

    Lengths and percentiles each have a time of their own, in Unix seconds.
    """

    lengths_at_seconds: float = -math.inf
    percentiles_at_seconds: float = -math.inf
    percentiles: dict[tuple[Signal, float], dict[Labels, float]] = field(default_factory=dict)
    lengths: dict[Signal, dict[Labels, dict[str, float]]] = field(default_factory=dict)
    untold: bool = False
    """No round has told of these lengths yet."""

    def take_news(self) -> bool:
        """Return whether lengths were read that no round has told of; from now on one has."""
        news, self.untold = self.untold, False
        return news

    def percentile(self, signals: Iterable[Signal], share: float, keys: Iterable[Labels]) -> float | None:
        """Return the highest percentile of ``keys``, by the first signal that has one.

        A mixture's percentile is never above the highest of its parts, so this errs to the safe side.
        """
        every = list(keys)
        for signal in signals:
            values = self.percentiles.get((signal, rounded(share)), {})
            found = [values[key] for key in every if key in values]
            if found:
                return max(found)
        return None

    def histogram(self, keys: Iterable[Labels]) -> LengthHistogram | None:
        """Return the prompt lengths of ``keys``, uncached ones where they are known."""
        every = list(keys)
        for signal in _LENGTHS:
            cumulative: dict[str, float] = {}
            for key in every:
                for edge, count in self.lengths.get(signal, {}).get(key, {}).items():
                    cumulative[edge] = cumulative.get(edge, 0.0) + count
            counts = histogram_counts(cumulative)
            if counts is not None:
                return LengthHistogram(upper_tokens=counts[0], counts=counts[1])
        return None


def rounded(share: float) -> float:
    """Return a percentile's share as it is asked for: to a tenth of a percent."""
    return round(share, 3)


async def read_percentiles(
    client: PromQlClient, expressions: Expressions, shares: Iterable[float], at_seconds: int, slow: SlowFigures
) -> None:
    """Read the percentiles of the last five minutes into ``slow``."""
    signals = expressions.group.dialect.signals
    wanted = sorted({rounded(share) for share in shares})[-_MOST_PERCENTILES:]
    found: dict[tuple[Signal, float], dict[Labels, float]] = {}

    async def read(signal: Signal, share: float) -> None:
        query = expressions.quantile(signal, share, _PERCENTILE_WINDOW_SECONDS)
        answer = await _ask(client, query, expressions.labels, at_seconds, f"percentile {signal}")
        found[signal, share] = {key: value for key, value in answer.items() if math.isfinite(value)}

    await asyncio.gather(*(read(signal, share) for signal in LATENCIES if signal in signals for share in wanted))
    slow.percentiles, slow.percentiles_at_seconds = found, at_seconds


async def read_lengths(
    client: PromQlClient, expressions: Expressions, at_seconds: int, seconds: int, slow: SlowFigures
) -> None:
    """Read the prompt lengths of the last ``seconds`` into ``slow``."""
    signals = expressions.group.dialect.signals
    found: dict[Signal, dict[Labels, dict[str, float]]] = {}

    async def read(signal: Signal) -> None:
        query = expressions.growth(signal, seconds, suffix="_bucket")
        answer = await _ask(client, query, (*expressions.labels, "le"), at_seconds, f"lengths {signal}")
        by_key = found.setdefault(signal, {})
        for key, count in answer.items():
            by_key.setdefault(key[:-1], {})[key[-1]] = count

    await asyncio.gather(*(read(signal) for signal in _LENGTHS if signal in signals))
    slow.lengths, slow.lengths_at_seconds, slow.untold = found, at_seconds, True


async def _ask(
    client: PromQlClient, query: str | None, labels: tuple[str, ...], at_seconds: int, kind: str
) -> dict[Labels, float]:
    if query is None:
        return {}
    try:
        answer = await client.instant(
            query, at_seconds, kind=kind, read=lambda result: parse_vector(result, labels)
        )
    except QueryError:
        return {}
    return answer.values
