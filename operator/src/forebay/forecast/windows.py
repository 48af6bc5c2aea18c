"""Quantiles of the last n values at every step, without sorting at every step."""

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import QUANTILE_LEVELS

REFRESH = 5
"""Pushes that may pass before the kept quantiles of a well filled window are looked up again."""
WELL_FILLED = 120


class QuantileWindow:
    """The last ``size`` values, in order of arrival and in order of size.

    A push is two binary searches and two short memory moves, a quantile is two look-ups. Values are kept in single
    precision.
    """

    __slots__ = ("_head", "_kept", "_pushes", "_ring", "_sorted", "size")

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a window of residuals must hold at least one value; got size {size}")
        self.size = size
        self._ring = array("f")
        self._sorted = array("f")
        self._head = 0
        self._pushes = 0
        self._kept: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self._ring)

    def push(self, value: float) -> None:
        """Add ``value``; the oldest leaves when the window is full."""
        self._pushes += 1
        if len(self._ring) < self.size:
            self._ring.append(value)
            insort(self._sorted, self._ring[-1])
            return
        oldest = self._ring[self._head]
        self._sorted.pop(bisect_left(self._sorted, oldest))
        self._ring[self._head] = value
        insort(self._sorted, self._ring[self._head])
        self._head = (self._head + 1) % self.size

    def quantiles(self, levels: Iterable[float]) -> tuple[float, ...]:
        """Return the conformal empirical quantiles: the value at rank (n + 1) level - 1, interpolated.

        Raises:
            IndexError: the window is empty.
        """
        ordered = self._sorted
        last = len(ordered) - 1
        found = []
        for level in levels:
            position = (last + 2) * level - 1.0
            if position <= 0.0:
                found.append(ordered[0])
                continue
            lower = int(position)
            if lower >= last:
                found.append(ordered[last])
                continue
            value = ordered[lower]
            found.append(value + (position - lower) * (ordered[lower + 1] - value))
        return tuple(found)

    def triple(self) -> tuple[float, ...]:
        """Return the quantiles at the package's three levels, at most a few pushes old.

        Raises:
            IndexError: the window is empty.
        """
        if not self._kept or self._pushes >= REFRESH or len(self._sorted) < WELL_FILLED:
            self._kept = self.quantiles(QUANTILE_LEVELS)
            self._pushes = 0
        return self._kept

    def values(self) -> FloatArray:
        """Return the values, oldest first."""
        ring = np.asarray(self._ring, dtype=np.float64)
        return np.concatenate([ring[self._head :], ring[: self._head]])

    def load(self, values: FloatArray) -> None:
        """Replace the content by the newest ``size`` of ``values`` (oldest first)."""
        kept = values[-self.size :].astype(np.float32)
        self._kept = ()
        self._ring = array("f", kept.tobytes())
        self._sorted = array("f", np.sort(kept).tobytes())
        self._head = 0
