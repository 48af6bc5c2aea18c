"""The last n errors of a forecaster, exactly as they were."""

from collections import deque
from collections.abc import Iterable

import numpy as np


class QuantileWindow:
    """The last ``size`` values and their conformal empirical quantiles."""

    def __init__(self, size: int) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._values)

    def push(self, value: float) -> None:
        """Add ``value``; the oldest leaves when the window is full."""
        self._values.append(value)

    def quantiles(self, levels: Iterable[float]) -> list[float]:
        """Return the values at ranks (n + 1) level - 1, interpolated."""
        ordered = np.sort(self._values)
        ranks = (len(ordered) + 1) * np.array(list(levels)) - 1.0
        return [float(value) for value in np.interp(ranks, np.arange(len(ordered)), ordered)]
