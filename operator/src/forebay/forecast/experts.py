"""Simple forecasters beside the learned one: the last value, the recent maximum, the user's own."""

import math
from collections import deque
from typing import Self

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import Resolution
from forebay.forecast.tracks import IndexArray, PerTrack
from forebay.forecast.windows import QuantileWindow

PERSISTENCE_COLD = (0.0, 0.26, 0.6)
PERSISTENCE_NEEDS = 10
RECURRENCE_COLD = {True: (-0.05, 0.2, 0.5), False: (-0.3, 0.1, 0.4)}
RECURRENCE_NEEDS = 15
EXTERNAL_COLD = (0.0, 0.26, 0.6)
HIGH_SHARE = 0.5
"""Traffic is high while its recent mean is at least this share of the recent maximum."""
PERSISTENCE = 0
"""Position of the last-value expert among the opinions."""
EXPERTS = 4


class RecentValues:
    """The last values of one stream, and what the simple experts say of them."""

    def __init__(self, resolution: Resolution) -> None:
        self._spans = resolution.recurrence_windows
        self._recent = resolution.recent_steps
        self._values: deque[float] = deque(maxlen=max(self._spans))

    def values(self) -> list[float]:
        """Return the values that the recent maxima are taken from, oldest first."""
        return list(self._values)

    def observe(self, z: float) -> None:
        """Take the value of the step that is complete; NaN for a gap."""
        self._values.append(z)

    def state(self) -> tuple[float, float, float, int, int]:
        """Return last value, both recent maxima, and for each whether traffic is high (1) or low (0)."""
        values = list(self._values)
        gaps = math.isnan(sum(values))
        known = [value for value in values if not math.isnan(value)] if gaps else values
        recent = [math.expm1(value) for value in known[-self._recent :]]
        mean = sum(recent) / len(recent)
        found = []
        for span in self._spans:
            latest = [value for value in values[-span:] if not math.isnan(value)] if gaps else values[-span:]
            top = max(latest, default=known[-1])
            found.append((top, int(mean >= HIGH_SHARE * math.expm1(top))))
        return known[-1], found[0][0], found[1][0], found[0][1], found[1][1]


class SimpleExperts(PerTrack):
    """Opinions (persistence, two recurrences, external) for every track, each with quantiles of its own errors.

    Recurrence predicts that the maximum of the last K steps comes back, with one window of errors for "traffic is
    high now" and one for "low": on/off traffic is bimodal, and no smooth model says when a burst returns.
    """

    def __init__(self, tracks: int, resolution: Resolution) -> None:
        size = resolution.short_window
        self.last = [QuantileWindow(size) for _ in range(tracks)]
        self.recurrence = [[QuantileWindow(size) for _ in range(4)] for _ in range(tracks)]
        self.external = [QuantileWindow(size) for _ in range(tracks)]

    def extend(self, other: Self) -> None:
        """Append the tracks of ``other``."""
        self.last += other.last
        self.recurrence += other.recurrence
        self.external += other.external

    def select(self, rows: IndexArray) -> None:
        """Keep only the tracks ``rows``."""
        self.last = [self.last[row] for row in rows]
        self.recurrence = [self.recurrence[row] for row in rows]
        self.external = [self.external[row] for row in rows]

    def windows(self) -> list[QuantileWindow]:
        """Return the windows of errors."""
        return [*self.last, *(window for windows in self.recurrence for window in windows), *self.external]

    def opinions(
        self, rows: IndexArray, state: tuple[float, float, float, int, int], external: FloatArray | None
    ) -> FloatArray:
        """Return (rows, 4 experts, levels) in z space; an absent external forecast is NaN.

        ``external`` is the external forecast's point in z space for each track, NaN where it says nothing.
        """
        last, top_short, top_long, high_short, high_long = state
        opinions = []
        for place, row in enumerate(rows.tolist()):
            window = self.last[row]
            outside = math.nan if external is None else float(external[place])
            windows = self.recurrence[row]
            opinions.append((
                _spread(last, window, PERSISTENCE_NEEDS, PERSISTENCE_COLD),
                _spread(top_short, windows[high_short], RECURRENCE_NEEDS, RECURRENCE_COLD[bool(high_short)]),
                _spread(top_long, windows[2 + high_long], RECURRENCE_NEEDS, RECURRENCE_COLD[bool(high_long)]),
                _spread(outside, self.external[row], PERSISTENCE_NEEDS, EXTERNAL_COLD),
            ))  # fmt: skip
        return np.array(opinions)

    def learn(self, row: int, state: tuple[float, ...], external: float, value: float) -> None:
        """Learn that track ``row`` came to ``value`` after ``state`` (as returned then) and ``external``."""
        last, top_short, top_long, high_short, high_long = state
        self.last[row].push(value - last)
        self.recurrence[row][int(high_short)].push(value - top_short)
        self.recurrence[row][2 + int(high_long)].push(value - top_long)
        if not math.isnan(external):
            self.external[row].push(value - external)


def _spread(
    point: float, window: QuantileWindow, needs: int, cold: tuple[float, float, float]
) -> tuple[float, float, float]:
    low, middle, high = window.triple() if len(window) >= needs else cold
    return point + low, point + middle, point + high
