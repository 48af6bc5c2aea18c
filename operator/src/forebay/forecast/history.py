"""The counts of the last days, so that a new horizon can be warmed without asking anybody."""

import math

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.rings import StepRing


class CountHistory:
    """A ring of counts by absolute step index; NaN where no count is known.

    Single precision: counts up to 16 million are exact.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._values = StepRing(size, np.float32)
        self.first: int | None = None
        self.last: int | None = None

    def __len__(self) -> int:
        """Return the number of steps that are kept, gaps included."""
        return 0 if self.first is None or self.last is None else min(self.size, self.last - self.first + 1)

    def put(self, index: int, count: float) -> None:
        """Set the count of step ``index``, which is later than all before it; steps between become unknown."""
        if self.first is None or self.last is None:
            self.first = index
        else:
            for missing in range(max(self.last + 1, index - self.size + 1), index):
                self._values[missing] = math.nan
        self._values[index] = count
        self.last = index

    def rewind(self, index: int) -> None:
        """Forget every count later than step ``index`` (the clock was stepped back)."""
        if self.first is None or self.last is None:
            return
        for gone in range(max(index + 1, self.last - self.size + 1), self.last + 1):
            self._values[gone] = math.nan
        self.last = index
        self.first = min(self.first, index)

    def since(self, index: int) -> FloatArray:
        """Return the counts of the steps from ``index`` to the last one."""
        if self.last is None:
            return np.empty(0)
        start = max(index, self.last - self.size + 1)
        return self._values.between(start, self.last + 1)

    def kept(self) -> tuple[int, FloatArray]:
        """Return the index of the oldest kept step and the counts from there on."""
        if self.first is None or self.last is None:
            return 0, np.empty(0)
        start = max(self.first, self.last - self.size + 1)
        return start, self.since(start)
