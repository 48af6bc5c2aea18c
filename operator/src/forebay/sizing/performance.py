"""From a profile's measured points to the linear performance model around the present lengths."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forebay.flow.performance import DecodePoint, Performance, ProfilePoints

_CARE_BEYOND = 1.25
"""Beyond the measured range the last slope is multiplied by this."""


@dataclass(frozen=True, slots=True)
class LocalPerformance:
    """A linear model that is close to the profile near the present lengths."""

    performance: Performance
    beyond: tuple[str, ...]
    """Sentences on values outside the measured range; these are clamped or extrapolated on the slow side."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A non-decreasing piecewise-linear function through measured points."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> "_Line":
        """Average points at the same x, and merge neighbours that decrease (isotonic regression)."""
        grouped: dict[float, list[float]] = {}
        for x, y in points:
            grouped.setdefault(x, []).append(y)
        blocks: list[tuple[float, list[float]]] = []
        for x in sorted(grouped):
            mean, members = sum(grouped[x]) / len(grouped[x]), [x]
            while blocks and blocks[-1][0] > mean:
                earlier, xs = blocks.pop()
                mean = (earlier * len(xs) + mean * len(members)) / (len(xs) + len(members))
                members = xs + members
            blocks.append((mean, members))
        abscissae = tuple(x for _, members in blocks for x in members)
        return cls(abscissae, tuple(mean for mean, members in blocks for _ in members))

    def at(self, x: float) -> float:
        """Return the value: flat below the range, with a steeper slope beyond it."""
        if x <= self.x[0]:
            return self.y[0]
        if x >= self.x[-1]:
            return self.y[-1] + _CARE_BEYOND * self._last_slope() * (x - self.x[-1])
        i = bisect.bisect_right(self.x, x)
        share = (x - self.x[i - 1]) / (self.x[i] - self.x[i - 1])
        return self.y[i - 1] + share * (self.y[i] - self.y[i - 1])

    def _last_slope(self) -> float:
        if len(self.x) < 2:
            return self.y[-1] / max(self.x[-1], 1e-9)
        slope = (self.y[-1] - self.y[-2]) / (self.x[-1] - self.x[-2])
        return max(slope, 0.25 * self.y[-1] / max(self.x[-1], 1e-9))


def local_performance(
    points: ProfilePoints, *, input_tokens: float, context_tokens: float, itl_seconds: float
) -> LocalPerformance:
    """Return the linear model of ``points`` around a mean prompt, a context and the batch at the ITL objective.

    Raises:
        ValueError: the profile has no point of either phase.
    """
    if not points.prefill and not points.decode:
        raise ValueError("the serving profile has no points; give prefill or decode measurements")
    beyond: list[str] = []
    base, per_token = _prefill(points, input_tokens, beyond)
    decode = _Decode(points.decode)
    decode_base, per_sequence, per_kv, batch = decode.linear(context_tokens, itl_seconds, beyond)
    return LocalPerformance(
        Performance(
            prefill_base_seconds=base,
            prefill_seconds_per_token=per_token,
            decode_base_seconds=decode_base,
            decode_seconds_per_sequence=per_sequence,
            decode_seconds_per_kv_token=per_kv,
            max_batch=max(1, min(points.max_batch, int(batch))),
            kv_capacity_tokens=points.kv_capacity_tokens,
            kv_transfer_seconds_per_token=points.kv_transfer_seconds_per_token,
            source=points.source,
        ),
        tuple(beyond),
    )


def _prefill(points: ProfilePoints, input_tokens: float, beyond: list[str]) -> tuple[float, float]:
    if not points.prefill:
        return 0.0, 0.0
    line = _Line.through([(point.input_tokens, point.seconds) for point in points.prefill])
    if input_tokens > line.x[-1]:
        beyond.append(
            f"mean prompt of {input_tokens:.0f} tokens is longer than the longest measured ({line.x[-1]:.0f})"
        )
    low, high = 0.5 * input_tokens, 1.5 * input_tokens
    slope = (line.at(high) - line.at(low)) / max(high - low, 1e-9)
    middle = line.at(input_tokens)
    if slope * input_tokens > middle:
        return 0.0, middle / max(input_tokens, 1e-9)
    return middle - slope * input_tokens, slope


def _extended(context: float, measured: Mapping[float, _Line]) -> _Line:
    """Return the line of ``context``; a single batch gets the slope of the nearest line that has several.

    Its extra time over that line is spent on reading a longer KV cache, and grows with the batch.
    """
    own = measured[context]
    donors = [other for other, line in measured.items() if len(line.x) > 1]
    if len(own.x) > 1 or not donors:
        return own
    donor = measured[min(donors, key=lambda other: abs(other - context))]
    more = max(0.0, own.y[0] - donor.at(own.x[0])) / own.x[0]
    points = [(x, y + more * x) for x, y in zip(donor.x, donor.y, strict=True) if x > own.x[0]]
    return _Line.through([(own.x[0], own.y[0]), *points])


class _Decode:
    """Iteration time over batch and context."""

    def __init__(self, points: Sequence[DecodePoint]) -> None:
        contexts = sorted({point.context_tokens for point in points})
        measured = {
            context: _Line.through([(p.batch, p.step_seconds) for p in points if p.context_tokens == context])
            for context in contexts
        }
        self._lines = {context: _extended(context, measured) for context in contexts}
        self._contexts = contexts

    def step(self, batch: float, context: float) -> float:
        """Return the seconds of one iteration: linear between contexts, scaled up beyond the longest."""
        contexts = self._contexts
        if context <= contexts[0]:
            return self._lines[contexts[0]].at(batch)
        if context >= contexts[-1]:
            return self._beyond(batch, context)
        i = bisect.bisect_right(contexts, context)
        low, high = contexts[i - 1], contexts[i]
        below, above = self._lines[low].at(batch), self._lines[high].at(batch)
        return below + max(0.0, above - below) * (context - low) / (high - low)

    def _beyond(self, batch: float, context: float) -> float:
        longest = self._contexts[-1]
        at_longest = self._lines[longest].at(batch)
        if len(self._contexts) < 2 or context == longest:
            return at_longest * (context / longest) if context > longest else at_longest
        before = self._contexts[-2]
        slope = max(0.0, at_longest - self._lines[before].at(batch)) / (longest - before)
        return at_longest + _CARE_BEYOND * slope * (context - longest)

    def linear(self, context: float, itl_seconds: float, beyond: list[str]) -> tuple[float, float, float, float]:
        """Return base, seconds per sequence and per KV token, and the largest possible batch."""
        if not self._contexts:
            return 0.0, 0.0, 0.0, float("inf")
        if context > self._contexts[-1]:
            beyond.append(
                f"context of {context:.0f} tokens is longer than the longest measured ({self._contexts[-1]:.0f})"
            )
        largest = max(line.x[-1] for line in self._lines.values())
        edge = self._edge(context, itl_seconds, largest)
        if edge >= largest and self.step(largest, context) < 0.95 * itl_seconds:
            beyond.append(f"the ITL objective allows more than the largest measured batch ({largest:.0f})")
        half = max(0.5 * edge, 0.5)
        at_edge = self.step(edge, context)
        slope = max(0.0, (at_edge - self.step(half, context)) / (edge - half)) if edge > half else 0.0
        slope = min(slope, at_edge / edge)
        per_kv = (self.step(edge, 1.2 * context) - self.step(edge, 0.8 * context)) / (
            0.4 * max(context, 1.0) * edge
        )
        per_kv = min(max(per_kv, 0.0), slope / max(context, 1.0))
        return at_edge - slope * edge, slope - per_kv * context, per_kv, largest

    def _edge(self, context: float, itl_seconds: float, largest: float) -> float:
        low, high = 1.0, max(1.0, largest)
        if self.step(high, context) <= itl_seconds:
            return high
        for _ in range(40):
            middle = 0.5 * (low + high)
            if self.step(middle, context) <= itl_seconds:
                low = middle
            else:
                high = middle
        return low
