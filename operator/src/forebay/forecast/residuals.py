"""Three views of the spread around a point forecast, from the errors of the forecasts before it."""

import math
from typing import ClassVar, Self

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.clock import HourClock
from forebay.forecast.resolution import QUANTILE_LEVELS, Resolution, decay
from forebay.forecast.tracks import IndexArray, PerTrack
from forebay.forecast.windows import QuantileWindow

FIRST_VARIANCE = 0.01
SQUARE_LIMIT = 4.0
SCALE_FLOOR = 1e-4
SHARE_TODAY = 0.7
"""Of the local variance; the rest is yesterday's at the target's time of day."""
TRACKER_START = (0.0, 1.28, 2.5)
TRACKER_GAINS = 0.02 * np.array([1.0, 2.0, 6.0])
COLD_SPREAD = np.array([0.0, 1.28, 2.6])
COLD = 30
"""Residuals below which a normal spread is assumed."""
LEVELS = np.array(QUANTILE_LEVELS)


class ResidualLayers(PerTrack):
    """Quantile layers A, B and C of every track, in z space.

    A: quantiles of a long window of residuals, unscaled. B: quantiles of a short window of residuals divided by
    the local scale, times the scale now. C: a quantile tracker on the scaled residuals. A and B are
    split-conformal prediction (Vovk et al.; Lei et al. 2018 for the local scale), C is online gradient descent on
    the quantile
    loss.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = (
        "variance",
        "slow_variance",
        "variance_of_day",
        "slow_of_day",
        "tracker",
    )

    def __init__(self, tracks: int, resolution: Resolution) -> None:
        self.day = resolution.steps_per_day
        self.variance = np.full(tracks, FIRST_VARIANCE)
        self.slow_variance = np.full(tracks, FIRST_VARIANCE)
        # Half precision: these are blended, and .05 % of a variance is far below what an estimate of it is worth.
        self.variance_of_day = np.full((tracks, self.day), np.nan, dtype=np.float16)
        self.slow_of_day = np.full((tracks, self.day), np.nan, dtype=np.float16)
        self.clock = HourClock(tracks, resolution.step_seconds)
        self.tracker = np.tile(np.array(TRACKER_START), (tracks, 1))
        self.plain = [QuantileWindow(resolution.long_window) for _ in range(tracks)]
        self.scaled = [QuantileWindow(resolution.short_window) for _ in range(tracks)]
        self._weight = decay(resolution.variance_half_life)
        self._slow_weight = decay(4.0 * resolution.variance_half_life if self.day > 144 else 24.0)

    def extend(self, other: Self) -> None:
        """Append the tracks of ``other``."""
        super().extend(other)
        self.clock.extend(other.clock)
        self.plain += other.plain
        self.scaled += other.scaled

    def select(self, rows: IndexArray) -> None:
        """Keep only the tracks ``rows``."""
        super().select(rows)
        self.clock.select(rows)
        self.plain = [self.plain[row] for row in rows]
        self.scaled = [self.scaled[row] for row in rows]

    def windows(self) -> list[QuantileWindow]:
        """Return the windows of residuals."""
        return [*self.plain, *self.scaled]

    def scale(self, targets: IndexArray) -> FloatArray:
        """Return the local scale of each track for the target steps ``targets``."""
        yesterday = self.variance_of_day[np.arange(len(targets)), targets % self.day]
        yesterday = np.where(np.isnan(yesterday), self.variance, yesterday)
        blend = SHARE_TODAY * self.variance + (1.0 - SHARE_TODAY) * yesterday
        return np.asarray(np.sqrt(np.maximum(blend, SCALE_FLOOR)))

    def factors(self, targets: IndexArray) -> FloatArray:
        """Return how much rougher than usual each track's target step is by the clock of the hour."""
        return self.clock.factors(targets)

    def volatility(self, targets: IndexArray) -> FloatArray:
        """Return (tracks, 3): recent and slower error size, and the slower one at the target's time yesterday."""
        slow = self.slow_variance
        yesterday = self.slow_of_day[np.arange(len(targets)), targets % self.day]
        yesterday = np.where(np.isnan(yesterday), slow, yesterday)
        return np.asarray(np.sqrt(np.stack([self.variance, slow, yesterday], axis=1)))

    def layers(self, point: FloatArray, scale: FloatArray, factor: FloatArray) -> FloatArray:
        """Return the quantiles (tracks, 3 layers, levels) around ``point``; ``factor`` is the clock's."""
        scale = scale * factor
        cold = (scale[:, None] * COLD_SPREAD).tolist()
        plain = []
        scaled = []
        young = np.zeros(len(point), dtype=bool)
        for row, window in enumerate(self.plain):
            young[row] = len(window) < COLD
            plain.append(cold[row] if young[row] else window.triple())
            scaled.append((0.0, 0.0, 0.0) if young[row] else self.scaled[row].triple())
        a = np.where(young[:, None], 1.0, factor[:, None]) * np.array(plain)
        b = np.where(young[:, None], a, scale[:, None] * np.array(scaled))
        c = np.where(young[:, None], a, scale[:, None] * self.tracker)
        return np.asarray(point[:, None, None] + np.stack([a, b, c], axis=1))

    def learn(
        self,
        index: int,
        rows: IndexArray,
        residual: FloatArray,
        scale: FloatArray,
        factor: FloatArray,
        tracker: FloatArray,
    ) -> None:
        """Learn the ``residual`` of tracks ``rows`` at step ``index``; scale and tracker are as issued."""
        self.clock.learn(index, rows, residual / scale)
        even = residual / factor
        square = np.minimum(even**2, SQUARE_LIMIT)
        self.variance[rows] += self._weight * (square - self.variance[rows])
        self.slow_variance[rows] += self._slow_weight * (square - self.slow_variance[rows])
        self.variance_of_day[rows, index % self.day] = self.variance[rows]
        self.slow_of_day[rows, index % self.day] = self.slow_variance[rows]
        score = even / scale
        self.tracker[rows] += TRACKER_GAINS * (LEVELS - (score[:, None] <= tracker))
        for row, plain, scaled in zip(rows.tolist(), even.tolist(), score.tolist(), strict=True):
            if math.isfinite(plain):
                self.plain[row].push(plain)
                self.scaled[row].push(scaled)
