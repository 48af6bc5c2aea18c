"""What the linear layers are fitted on: the features and the outcome of every so many-th forecast."""

from collections.abc import Mapping
from typing import ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.forecast.codes import MISSING, RESIDUAL_UNIT, decode, encode
from forebay.forecast.linear_quantiles import DIRECT_FEATURES, RESIDUAL_FEATURES, TrainingRows
from forebay.forecast.resolution import Resolution
from forebay.forecast.tracks import IndexArray, PerTrack, Track

# Direct features that are the same for all tracks, those of each track, and the one that follows from another.
_SHARED = np.array([0, 1, 2, 3, 4, 5, 10, 13, 14])
_OWN = np.array([6, 7, 8, 9, 11, 12, 16])
_POINT, _BASE, _FROM_BASE = 6, 3, 15


_Index = TypeVar("_Index", int, IndexArray)


class TrainingBuffer(PerTrack):
    """A ring of rows by the step of issue, the features of the stream kept once for all tracks; a byte each.

    An outcome is added when its time comes. A row without one (its target was missing, or is still to come) is not
    trained on.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("own", "residual", "calm")

    def __init__(self, tracks: int, resolution: Resolution) -> None:
        self.stride = resolution.training_stride
        self.capacity = resolution.training_rows
        self.divided = False
        self._allocate(tracks, 0)

    def _fill(self, tracks: int) -> None:
        if not len(self.shared):
            self._allocate(tracks, self.capacity)

    def _allocate(self, tracks: int, rows: int) -> None:
        self.shared = np.full((rows, len(_SHARED)), MISSING, dtype=np.int8)
        self.own = np.full((tracks, rows, len(_OWN)), MISSING, dtype=np.int8)
        self.residual = np.full((tracks, rows), MISSING, dtype=np.int8)
        """Value less point forecast."""
        self.calm = np.zeros((tracks, rows if self.divided else 0), dtype=bool)
        """Whether the way crossed no tick of the clock; nothing until one is found."""

    def divide(self) -> None:
        """Keep twice as many rows from now on, twice as often, for two fits per track; those before are dropped.

        A clock usually shows before there are any.
        """
        self.stride = max(1, self.stride // 2)
        self.capacity *= 2
        self.divided = True
        self._allocate(len(self.own), 0)

    def keep(self, index: int, direct: FloatArray, calm: npt.NDArray[np.bool_]) -> None:
        """Keep the direct features (tracks, 17) of the forecasts issued at step ``index``, if it is their turn."""
        if index % self.stride:
            return
        self._fill(len(self.own))
        row = self._row(index)
        self.shared[row] = encode(direct[0, _SHARED], RESIDUAL_UNIT)
        self.own[:, row] = encode(direct[:, _OWN], RESIDUAL_UNIT)
        self.residual[:, row] = MISSING
        if self.divided:
            self.calm[:, row] = calm

    def learn(self, issued_at: IndexArray, tracks: IndexArray, residual: FloatArray) -> None:
        """Add the outcomes of forecasts of ``tracks`` that were issued at ``issued_at``, if they are kept."""
        due = issued_at % self.stride == 0
        if not len(self.shared) or not due.any():
            return
        tracks, rows = tracks[due], self._row(issued_at[due])
        begun = self.own[tracks, rows, 0] != MISSING
        self.residual[tracks[begun], rows[begun]] = encode(residual[due][begun], RESIDUAL_UNIT)

    def _row(self, index: _Index) -> _Index:
        return index // self.stride % self.capacity

    def extend(self, other: Self) -> None:
        """Append the tracks of ``other``, which has seen the same steps; features that only one has are kept."""
        if len(self.shared) != len(other.shared):
            features = self.shared if len(self.shared) else other.shared
            for buffer in (self, other):
                buffer._fill(len(buffer.own))  # noqa: SLF001
            self.shared = features.copy()
        super().extend(other)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays by name, to be kept across a restart."""
        return {**super().arrays(), "shared": self.shared}

    def load(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Take over ``arrays``, as returned by ``arrays``.

        Raises:
            ValueError: an array is missing or has another shape.
        """
        shared = arrays.get("shared")
        if shared is not None and len(shared):
            self._fill(len(self.own))
            if shared.shape == self.shared.shape:
                self.shared = shared.astype(np.int8)
        super().load(arrays)

    def counts(self) -> list[tuple[int, bool, int]]:
        """Return track, kind of way and number of rows for everything that may be trained."""
        kinds = (False, True) if self.divided else (False,)
        return [
            (track, calm, int(self._chosen(track, calm=calm).sum()))
            for calm in kinds
            for track in range(len(self.own))
        ]

    def _chosen(self, row: int, *, calm: bool) -> npt.NDArray[np.bool_]:
        known = self.residual[row] != MISSING
        return np.asarray(known & (self.calm[row] == calm) if self.divided else known)

    def training(self, row: int, track: Track, *, calm: bool) -> TrainingRows:
        """Return a copy of the rows of the track at ``row`` with an outcome, of one kind of way."""
        chosen = self._chosen(row, calm=calm)
        direct = np.empty((int(chosen.sum()), DIRECT_FEATURES))
        direct[:, _SHARED] = decode(self.shared[chosen], RESIDUAL_UNIT)
        direct[:, _OWN] = decode(self.own[row, chosen], RESIDUAL_UNIT)
        direct[:, _FROM_BASE] = np.abs(direct[:, _BASE])
        residual = decode(self.residual[row, chosen], RESIDUAL_UNIT)
        return TrainingRows(
            track=track,
            calm=calm,
            volatility=direct[:, -RESIDUAL_FEATURES:],
            direct=direct,
            residual_target=residual,
            direct_target=residual + direct[:, _POINT],
        )
