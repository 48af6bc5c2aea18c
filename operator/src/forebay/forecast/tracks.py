"""A track is one thing that is forecast: the demand at a horizon, or the highest demand on the way there."""

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
    """A component whose arrays have one row per track, so that tracks can come and go."""

    PER_TRACK: ClassVar[tuple[str, ...]] = ()

    def extend(self, other: Self) -> None:
        """Append the tracks of ``other``."""
        for name in self.PER_TRACK:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))

    def select(self, rows: IndexArray) -> None:
        """Keep only the tracks ``rows``, in that order."""
        for name in self.PER_TRACK:
            setattr(self, name, getattr(self, name)[rows])
