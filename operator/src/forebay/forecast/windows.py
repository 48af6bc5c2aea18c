"""Quantiles of the last n values at every step, without sorting at every step."""

from collections.abc import Iterable

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import QUANTILE_LEVELS
from forebay.forecast.rings import grown

REFRESH = 5
"""Pushes that may pass before the kept quantiles of a well filled window are looked up again."""
WELL_FILLED = 120


class QuantileWindow:
    """The last ``size`` values, in order of arrival.

    Half precision: a residual is rounded by less than .05 % of itself, far below what a quantile of a few thousand
    of them can tell, and a fleet has tens of thousands of windows. They are sorted when quantiles are looked up: a
    sort of 1,440 takes a few microseconds, less than keeping them in order at every push.
    """

    __slots__ = ("_count", "_head", "_kept", "_pushes", "_ring", "size")

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a window of residuals must hold at least one value; got size {size}")
        self.size = size
        self._ring = np.empty(0, dtype=np.float16)
        self._count = 0
        self._head = 0
        self._pushes = 0
        self._kept: tuple[float, ...] = ()

    def __len__(self) -> int:
        return self._count

    def push(self, value: float) -> None:
        """Add ``value``; the oldest leaves when the window is full."""
        self._pushes += 1
        if self._count == self.size:
            self._ring[self._head] = value
            self._head = (self._head + 1) % self.size
            return
        if self._count == len(self._ring):
            self._ring = grown(self._ring, self._count + 1, self.size, 0.0)
        self._ring[self._count] = value
        self._count += 1

    def quantiles(self, levels: Iterable[float]) -> tuple[float, ...]:
        """Return the conformal empirical quantiles: the value at rank (n + 1) level - 1, interpolated.

        Raises:
            IndexError: the window is empty.
        """
        ordered = np.sort(self._ring[: self._count].astype(np.float32))
        last = self._count - 1
        found = []
        for level in levels:
            position = (last + 2) * level - 1.0
            if position <= 0.0:
                found.append(float(ordered[0]))
                continue
            lower = int(position)
            if lower >= last:
                found.append(float(ordered[last]))
                continue
            value = float(ordered[lower])
            found.append(value + (position - lower) * (float(ordered[lower + 1]) - value))
        return tuple(found)

    def triple(self) -> tuple[float, ...]:
        """Return the quantiles at the package's three levels, at most a few pushes old.

        Raises:
            IndexError: the window is empty.
        """
        if not self._kept or self._pushes >= REFRESH or (self._pushes and self._count < WELL_FILLED):
            self._kept = self.quantiles(QUANTILE_LEVELS)
            self._pushes = 0
        return self._kept

    def values(self) -> FloatArray:
        """Return the values, oldest first."""
        ring = self._ring[: self._count].astype(np.float64)
        return np.concatenate([ring[self._head :], ring[: self._head]])

    def load(self, values: FloatArray) -> None:
        """Replace the content by the newest ``size`` of ``values`` (oldest first)."""
        self._ring = values[-self.size :].astype(np.float16)
        self._count = len(self._ring)
        self._kept = ()
        self._pushes = self._head = 0

    @property
    def nbytes(self) -> int:
        """Return the memory that the values take, in bytes."""
        return self._ring.nbytes
