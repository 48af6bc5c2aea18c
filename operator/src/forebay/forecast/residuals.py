"""Three estimates of the spread around a point forecast, from the errors of earlier forecasts."""

from typing import ClassVar, Self

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.codes import RESIDUAL_UNIT, SCORE_UNIT
from forebay.forecast.resolution import QUANTILE_LEVELS, Resolution, decay
from forebay.forecast.tracks import IndexArray, PerTrack
from forebay.forecast.windows import ErrorWindows

FIRST_VARIANCE = 0.01
SQUARE_LIMIT = 4.0
SCALE_FLOOR = 1e-4
SHARE_FAST = 0.7
"""Weight of the fast variance in the local one; the slow one has the rest."""
TRACKER_START = (0.0, 1.28, 2.5)
TRACKER_GAINS = 0.02 * np.array([1.0, 2.0, 6.0])
COLD_SPREAD = np.array([0.0, 1.28, 2.6])
COLD = 30
"""With fewer residuals than this, a normal distribution is assumed."""
LEVELS = np.array(QUANTILE_LEVELS)


class ResidualLayers(PerTrack):
    """Quantile layers A, B and C of every track, in z space.

    A: quantiles of a long window of residuals, unscaled. B: quantiles of a short window of residuals divided by
    the local scale, times the scale now. C: a quantile tracker on the scaled residuals. A and B are
    split-conformal prediction (Vovk et al.; Lei et al. 2018 for the local scale), C is online gradient descent on
    the quantile
    loss.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("variance", "slow_variance", "tracker")

    def __init__(self, tracks: int, resolution: Resolution) -> None:
        self.variance = np.full(tracks, FIRST_VARIANCE)
        self.slow_variance = np.full(tracks, FIRST_VARIANCE)
        self.tracker = np.tile(np.array(TRACKER_START), (tracks, 1))
        share = resolution.kept_share
        self.plain = ErrorWindows(tracks, 1, resolution.long_window, unit=RESIDUAL_UNIT, share=share)
        self.scaled = ErrorWindows(tracks, 1, resolution.short_window, unit=SCORE_UNIT, share=share)
        self._weight = decay(resolution.variance_half_life)
        self._slow_weight = decay(4.0 * resolution.variance_half_life if resolution.steps_per_day > 144 else 24.0)

    def extend(self, other: Self) -> None:
        """Append the tracks of ``other``."""
        super().extend(other)
        for mine, theirs in zip(self.parts(), other.parts(), strict=True):
            mine.extend(theirs)

    def select(self, rows: IndexArray) -> None:
        """Keep only the tracks ``rows``."""
        super().select(rows)
        for part in self.parts():
            part.select(rows)

    def parts(self) -> list[PerTrack]:
        """Return the components that this one is made of."""
        return [self.plain, self.scaled]

    def scale(self, rows: IndexArray) -> FloatArray:
        """Return the local scale of the tracks ``rows``.

        Noisy and calm times last about an hour or about half a day, so the scale has a fast and a slow memory
        (Corsi 2009, "A simple approximate long-memory model of realized volatility").
        """
        blend = SHARE_FAST * self.variance[rows] + (1.0 - SHARE_FAST) * self.slow_variance[rows]
        return np.asarray(np.sqrt(np.maximum(blend, SCALE_FLOOR)))

    def layers(self, rows: IndexArray, point: FloatArray, scale: FloatArray) -> FloatArray:
        """Return the quantiles (rows, 3 layers, levels) around ``point``."""
        young = self.plain.taken[rows] < COLD
        found = np.empty((len(rows), 3, len(LEVELS)))
        found[:, 0] = self.plain.quantiles(rows)
        found[:, 1] = scale[:, None] * self.scaled.quantiles(rows)
        found[:, 2] = scale[:, None] * self.tracker[rows]
        if young.any():
            found[young] = (scale[young, None] * COLD_SPREAD)[:, None]
        return np.asarray(point[:, None, None] + found)

    def learn(self, rows: IndexArray, residual: FloatArray, scale: FloatArray, tracker: FloatArray) -> None:
        """Learn the ``residual`` of tracks ``rows``; scale and tracker are as issued."""
        square = np.minimum(residual**2, SQUARE_LIMIT)
        self.variance[rows] += self._weight * (square - self.variance[rows])
        self.slow_variance[rows] += self._slow_weight * (square - self.slow_variance[rows])
        score = residual / scale
        self.tracker[rows] += TRACKER_GAINS * (LEVELS - (score[:, None] <= tracker))
        self.plain.push(rows, residual)
        self.scaled.push(rows, score)
