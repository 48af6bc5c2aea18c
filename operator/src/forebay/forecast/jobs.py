"""Work that takes too long for a round: pure functions that the caller may run in a thread."""

from dataclasses import dataclass

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.phase import StreamForecaster
from forebay.forecast.resolution import Resolution
from forebay.forecast.tracks import Track

SCALE_STEPS = 5
"""Number of known counts from which the scale is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """A phase that has seen the kept history. It replaces the model (new scale) or adds horizons to it."""

    phase: StreamForecaster
    replaces: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WarmJob:
    """Replay kept history for tracks that have no state yet: about 2 s for a week of minutes."""

    resolution: Resolution
    tracks: tuple[Track, ...]
    start_index: int
    counts: FloatArray
    scale: float
    replaces: bool

    def run(self) -> Warmed:
        """Replay the history; no other state changes."""
        phase = StreamForecaster(self.resolution, self.tracks, self.scale)
        for index, count in enumerate(self.counts.tolist(), start=self.start_index):
            phase.step(index, count)
        return Warmed(phase=phase, replaces=self.replaces)


def first_scale(counts: FloatArray) -> float | None:
    """Return the scale of the transform from the first known ``counts``; ``None`` if there are too few.

    Only its order of magnitude matters: a scale far below the mean makes high quantiles explode.
    """
    known = counts[np.isfinite(counts)][:SCALE_STEPS]
    if len(known) < SCALE_STEPS:
        return None
    return max(1.0, float(known.mean()))
