"""Score each forecast once demand is known, against the last value with the spread of its recent errors."""

from typing import ClassVar

import numpy as np

from forebay.flow.forecast import ForecastScore
from forebay.flow.trace import FloatArray
from forebay.forecast.mixing import pinball
from forebay.forecast.resolution import decay
from forebay.forecast.tracks import IndexArray, PerTrack

DEMOTE_ABOVE = 1.10
"""A track is demoted when its weighted loss exceeds that of persistence by more than this factor."""
PROMOTE_BELOW = 1.0
"""A demoted track returns when it is no worse than persistence; the gap to the limit above prevents flapping."""
NEEDED = 60
"""Scored forecasts before a track may be demoted."""
WEIGHT_99 = 4.0
"""Weight of the .99 loss against the .9 loss: their usual sizes differ by about this factor."""


class Scoreboard(PerTrack):
    """Exponentially weighted losses and coverage of every track, in units of rate (not of z)."""

    PER_TRACK: ClassVar[tuple[str, ...]] = ("loss", "hits", "scored", "demoted")

    def __init__(self, tracks: int, half_life: float) -> None:
        self.loss = np.zeros((tracks, 2, 3))
        """Pinball loss per level, of the forecast and of persistence."""
        self.hits = np.zeros((tracks, 3))
        self.scored = np.zeros(tracks)
        self.demoted = np.zeros(tracks, dtype=bool)
        self._weight = decay(half_life)

    def score(self, rows: IndexArray, own: FloatArray, persistence: FloatArray, values: FloatArray) -> None:
        """Score quantiles issued for tracks ``rows``; all in the same unit of rate."""
        self.scored[rows] += 1.0
        weight = np.maximum(self._weight, 1.0 / self.scored[rows])
        loss = pinball(values[:, None, None] - np.stack([own, persistence], axis=1))
        self.loss[rows] += weight[:, None, None] * (loss - self.loss[rows])
        self.hits[rows] += weight[:, None] * ((values[:, None] <= own) - self.hits[rows])
        ratio = self._weighted(rows)
        due = self.scored[rows] >= NEEDED
        self.demoted[rows] = due & np.where(self.demoted[rows], ratio >= PROMOTE_BELOW, ratio > DEMOTE_ABOVE)

    def _weighted(self, rows: IndexArray) -> FloatArray:
        total = self.loss[rows, :, 1] + WEIGHT_99 * self.loss[rows, :, 2]
        return np.asarray(total[:, 0] / np.maximum(total[:, 1], 1e-12))

    def report(self, row: int) -> ForecastScore:
        """Return the scores of track ``row``."""
        own, other = self.loss[row].tolist()
        hits = self.hits[row].tolist()
        scored = int(self.scored[row])
        return ForecastScore(
            scored=scored,
            pinball90_ratio=own[1] / other[1] if other[1] > 0.0 else None,
            pinball99_ratio=own[2] / other[2] if other[2] > 0.0 else None,
            coverage90=hits[1] if scored else None,
            coverage99=hits[2] if scored else None,
        )
