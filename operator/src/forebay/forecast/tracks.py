"""Tracks: a track is one forecast quantity, the demand at a horizon or the highest demand until then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, order=True)
class Track:
    """A target: ``horizon`` steps ahead, the value of that step or the maximum of the steps up to it."""

    horizon: int
    maximum: bool


class PerTrack:
    """A component whose arrays have one row per track, so that tracks can be added and removed."""

    PER_TRACK: ClassVar[tuple[str, ...]] = ()

    def extend(self, other: Self) -> None:
        """Append the tracks of ``other``."""
        for name in self.PER_TRACK:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays by name, to be kept across a restart."""
        return {name: getattr(self, name) for name in self.PER_TRACK}

    def load(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Load ``arrays``, as returned by ``arrays``.

        Raises:
            ValueError: an array is missing or has another shape.
        """
        for name in self.PER_TRACK:
            mine = getattr(self, name)
            given = arrays.get(name)
            if given is None or given.shape != mine.shape:
                raise ValueError(
                    f"the saved forecaster state does not fit: {name} is missing or has another shape"
                )
            setattr(self, name, given.astype(mine.dtype))

    def parts(self) -> "list[PerTrack]":
        """Return components with rows per track that belong to this one, in a fixed order."""
        return []

    def select(self, rows: IndexArray) -> None:
        """Keep only the tracks ``rows``, in that order."""
        for name in self.PER_TRACK:
            setattr(self, name, getattr(self, name)[rows])
