"""The newest values by step, in memory that grows as they come."""

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray

_FIRST_CAPACITY = 64
_GROWTH = 1.5

_Scalar = TypeVar("_Scalar", bound=np.generic)


class StepRing:
    """The values of the newest ``size`` steps by absolute step index; ``missing`` where none was set.

    Memory grows with the number of steps seen, up to ``size`` values of ``dtype``: a fleet has thousands of
    series, and most are young.
    """

    def __init__(self, size: int, dtype: npt.DTypeLike, *, missing: float = math.nan) -> None:
        self.size = size
        self._missing = missing
        self._values = np.full(0, missing, dtype=dtype)
        self._origin: int | None = None

    def __setitem__(self, index: int, value: float) -> None:
        """Set the value of step ``index``; the step ``size`` before it is forgotten."""
        if self._origin is None:
            self._origin = index
        position = (index - self._origin) % self.size
        if position >= len(self._values):
            self._values = grown(self._values, position + 1, self.size, self._missing)
        self._values[position] = value

    def __getitem__(self, index: int) -> float:
        """Return the value of step ``index``; ``missing`` where none was set."""
        position = (index - (self._origin or 0)) % self.size
        return float(self._values[position]) if position < len(self._values) else self._missing

    def between(self, start: int, end: int) -> FloatArray:
        """Return the values of the steps from ``start`` to the one before ``end``, ``size`` of them at most."""
        positions = (np.arange(start, end) - (self._origin or 0)) % self.size
        found = np.full(len(positions), self._missing)
        held = positions < len(self._values)
        found[held] = self._values[positions[held]]
        return found

    @property
    def nbytes(self) -> int:
        """Return the memory that the values take, in bytes."""
        return self._values.nbytes


def grown(
    values: npt.NDArray[_Scalar], needed: int, most: int, fill: float, axis: int = 0
) -> npt.NDArray[_Scalar]:
    """Return ``values`` extended along ``axis`` to ``needed`` and some more, at most ``most``."""
    have = values.shape[axis]
    capacity = min(most, max(needed, _FIRST_CAPACITY, int(_GROWTH * have)))
    shape = list(values.shape)
    shape[axis] = capacity - have
    return np.concatenate([values, np.full(shape, fill, dtype=values.dtype)], axis=axis)
