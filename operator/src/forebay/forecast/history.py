"""The counts of the last days, so that a new horizon can be warmed without another query."""

import math

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.forecast.rings import StepRing

_STEPS = 3500.0
"""Codes per factor of e."""
_UNKNOWN = 65_535.0


class CountHistory:
    """A ring of counts by absolute step index; NaN where no count is known.

    Each count takes two bytes: log1p(count) in steps of .0003. The error is .015 % at most, and the largest count
    is 10^8.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._codes = StepRing(size, np.uint16, missing=_UNKNOWN)
        self.first: int | None = None
        self.last: int | None = None

    def __len__(self) -> int:
        """Return the number of steps that are kept, gaps included."""
        return 0 if self.first is None or self.last is None else min(self.size, self.last - self.first + 1)

    def put(self, index: int, count: float) -> None:
        """Set the count of step ``index``, which is later than all others; skipped steps become unknown."""
        if self.first is None or self.last is None:
            self.first = index
        else:
            for missing in range(max(self.last + 1, index - self.size + 1), index):
                self._codes[missing] = _UNKNOWN
        self._codes[index] = _code(count)
        self.last = index

    def rewind(self, index: int) -> None:
        """Forget every count later than step ``index`` (the clock was set back)."""
        if self.first is None or self.last is None:
            return
        for gone in range(max(index + 1, self.last - self.size + 1), self.last + 1):
            self._codes[gone] = _UNKNOWN
        self.last = index
        self.first = min(self.first, index)

    def codes(self) -> tuple[int, npt.NDArray[np.uint16]]:
        """Return the index of the oldest kept step and the codes from there on, to be kept across a restart."""
        start = self._start()
        end = start if self.last is None else self.last + 1
        return start, self._codes.between(start, end).astype(np.uint16)

    def load(self, start: int, codes: npt.NDArray[np.uint16]) -> None:
        """Load what ``codes`` returned."""
        for index, code in enumerate(codes.tolist(), start=start):
            self._codes[index] = code
        if len(codes):
            self.first, self.last = start, start + len(codes) - 1

    def _start(self) -> int:
        return 0 if self.first is None or self.last is None else max(self.first, self.last - self.size + 1)

    def shorten(self, size: int) -> None:
        """Keep the counts of the newest ``size`` steps from now on."""
        if size >= self.size:
            return
        start, codes = self.codes()
        self.size = size
        self._codes = StepRing(size, np.uint16, missing=_UNKNOWN)
        if len(codes):
            self.load(start + len(codes) - len(codes[-size:]), codes[-size:])

    def since(self, index: int) -> FloatArray:
        """Return the counts of the steps from ``index`` to the last one."""
        if self.last is None:
            return np.empty(0)
        start = max(index, self.last - self.size + 1)
        codes = self._codes.between(start, self.last + 1)
        return np.where(codes == _UNKNOWN, np.nan, np.expm1(codes / _STEPS))

    def kept(self) -> tuple[int, FloatArray]:
        """Return the index of the oldest kept step and the counts from there on."""
        start = self._start()
        return start, self.since(start)


def _code(count: float) -> float:
    """Return the code of ``count``."""
    return min(round(_STEPS * math.log1p(count)), _UNKNOWN - 1.0) if math.isfinite(count) else _UNKNOWN
