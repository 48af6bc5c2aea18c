"""Quantiles of the last n errors, for many windows at once, in a byte per error."""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.forecast.codes import decode, encode
from forebay.forecast.resolution import QUANTILE_LEVELS
from forebay.forecast.rings import grown
from forebay.forecast.tracks import IndexArray, PerTrack

LEVELS = np.array(QUANTILE_LEVELS)
REFRESH = 5
"""Values that a well filled window may take before its quantiles are computed again."""
WELL_FILLED = 120
DENSE = 480
"""Every value is taken until it holds this many."""
_UNUSED = 127
"""Sorts after every used code."""


class ErrorWindows(PerTrack):
    """The last ``size`` values of ``kinds`` windows per track.

    Once a window holds ``DENSE`` values, it takes only a ``share`` of the new ones. Errors of overlapping
    forecasts are so similar that the others add nothing, and the same memory covers a longer time. The share is
    irrational, so that the values fall evenly on all minutes of the clock; every second value would cover only
    half of the minutes. Values are sorted when quantiles are computed: sorting a thousand bytes takes a few
    microseconds.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("codes", "taken", "offered", "kept", "fresh")

    def __init__(self, tracks: int, kinds: int, size: int, *, unit: float, share: float = 1.0) -> None:
        if size < 1:
            raise ValueError(f"a window of errors must hold at least one value; got size {size}")
        self.size = size
        self.kinds = kinds
        windows = tracks * kinds
        self.codes = np.full((windows, 0), _UNUSED, dtype=np.int8)
        self.taken = np.zeros(windows, dtype=np.int32)
        """Number of values taken so far."""
        self.offered = np.zeros(windows, dtype=np.int32)
        self.kept = np.full((windows, len(LEVELS)), np.nan)
        """Quantiles of the last computation."""
        self.fresh = np.zeros(windows, dtype=np.int8)
        """Values that may be offered until the quantiles are computed again."""
        self._unit = unit
        self._share = share

    def push(self, windows: IndexArray, values: FloatArray) -> None:
        """Offer one value to each of ``windows`` (none twice); a full window drops its oldest value.

        Window k of track t is number t x kinds + k.
        """
        offered = self.offered[windows] + 1
        self.offered[windows] = offered
        taken = self.taken[windows]
        self.fresh[windows] = np.where(taken < WELL_FILLED, 0, self.fresh[windows] - 1)
        chosen = (taken < DENSE) | (offered * self._share % 1.0 < self._share)
        if not chosen.all():
            windows, values, taken = windows[chosen], values[chosen], taken[chosen]
            if not len(windows):
                return
        places = taken % self.size
        needed = int(places.max()) + 1
        if needed > self.codes.shape[1]:
            self.codes = grown(self.codes, needed, self.size, _UNUSED, axis=1)
        self.codes[windows, places] = encode(values, self._unit)
        self.taken[windows] = taken + 1

    def quantiles(self, windows: IndexArray) -> FloatArray:
        """Return (windows, levels), at most a few values old; NaN for an empty window.

        Conformal empirical quantiles: the value at rank (n + 1) level - 1, interpolated.
        """
        fresh = self.fresh[windows]
        if fresh.min() <= 0:
            # Also compute those that are due soon: many at once cost little more than a few.
            self._look_up(windows[fresh < REFRESH])
        return np.asarray(self.kept[windows])

    def _look_up(self, windows: IndexArray) -> None:
        held = np.minimum(self.taken[windows], self.size)
        if not held.all():
            windows, held = windows[held > 0], held[held > 0]
            if not len(windows):
                return
        ordered = np.sort(self.codes[windows], axis=1, kind="stable")
        last = held[:, None] - 1
        position = np.minimum(np.maximum((last + 2) * LEVELS - 1.0, 0.0), last)
        lower = position.astype(np.intp)
        every = np.arange(len(windows))[:, None]
        low = decode(ordered[every, lower], self._unit)
        high = decode(ordered[every, np.minimum(lower + 1, last)], self._unit)
        self.kept[windows] = low + (position - lower) * (high - low)
        self.fresh[windows] = REFRESH

    def values(self, window: int) -> FloatArray:
        """Return the values of one window, oldest first."""
        taken = int(self.taken[window])
        held = min(taken, self.size)
        order = np.arange(taken - held, taken) % self.size
        return decode(self.codes[window, order], self._unit)

    def extend(self, other: Self) -> None:
        """Append the tracks of ``other``."""
        room = max(self.codes.shape[1], other.codes.shape[1])
        for windows in (self, other):
            windows._make_room(room)  # noqa: SLF001
        super().extend(other)

    def select(self, rows: IndexArray) -> None:
        """Keep only the tracks ``rows``, in that order."""
        super().select((rows[:, None] * self.kinds + np.arange(self.kinds)).ravel())

    def load(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Load ``arrays``, as returned by ``arrays``.

        Raises:
            ValueError: an array is missing or has another shape.
        """
        self._make_room(min(self.size, arrays["codes"].shape[-1]) if "codes" in arrays else 0)
        super().load(arrays)

    def _make_room(self, room: int) -> None:
        missing = room - self.codes.shape[1]
        if missing > 0:
            more = np.full((len(self.codes), missing), _UNUSED, dtype=np.int8)
            self.codes = np.concatenate([self.codes, more], axis=1)
