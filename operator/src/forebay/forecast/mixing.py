"""Combine forecasts by their past loss: weights per layer and quantile, weights per expert, and a final offset."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import QUANTILE_LEVELS
from forebay.forecast.tracks import IndexArray, PerTrack

LEVELS = np.array(QUANTILE_LEVELS)
MEMORY = 0.998
"""Forgetting of past regret per update."""
SHARE = 0.002
"""Share of the weight that all layers get evenly, so that a layer with small weight can recover."""
MAX_RATE = 2.0
SIZE_WEIGHT = 0.002
"""Weight of a new loss in the running mean by which regrets are divided."""
OFFSET_GAINS = np.array([0.02, 0.04, 0.25])
SPREAD_MEMORY = 0.99
HANDICAP = 1.15
"""Any expert but the first must be better by this factor to get the same weight."""
LOSS_OF_LEVEL = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.5], [0.0, 1.0, 4.0]])
"""Each column has the weights of the losses at .5, .9 and .99 in the loss that decides one level's weights."""
PRIOR_SHARE = 0.05
"""Weight of every expert but the first until ``MATURE`` forecasts are scored."""
MATURE = 10
WEIGHTS_REFRESH = 5
"""Scored forecasts between computations of the experts' weights."""


def pinball(error: FloatArray) -> FloatArray:
    """Return the quantile loss of ``error`` = value less forecast, the last axis being the quantile levels."""
    return np.maximum(LEVELS * error, (LEVELS - 1.0) * error)


def monotone(quantiles: FloatArray) -> FloatArray:
    """Return ``quantiles`` made non-decreasing along the last axis."""
    return np.maximum.accumulate(quantiles, axis=-1)


class LayerMixture(PerTrack):
    """Weights per track, layer and quantile by second-order exponential weighting with a fixed share.

    Bernstein online aggregation (Wintenberger, "Optimal learning with Bernstein online aggregation", 2017), the
    fixed share after Herbster and Warmuth (1998). Losses are averaged over ``period`` scored forecasts before each
    update, so that overlapping horizons do not count as independent evidence. Regrets are linearised at the
    mixture (the "gradient trick") and divided by its mean loss. The weights then approach the best *blend*, which
    is better than the best layer because the layers make different errors.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("weights", "regret", "variation", "pending", "counted", "size")

    def __init__(self, tracks: int, layers: int, period: int) -> None:
        shape = (tracks, layers, len(QUANTILE_LEVELS))
        self.period = period
        self.weights = np.full(shape, 1.0 / layers)
        self.regret = np.zeros(shape)
        self.variation = np.zeros(shape)
        self.pending = np.zeros(shape)
        self.counted = np.zeros(tracks)
        self.size = np.zeros((tracks, 1, len(QUANTILE_LEVELS)))

    def combine(self, rows: IndexArray, layers: FloatArray) -> FloatArray:
        """Return the weighted quantiles of tracks ``rows``; ``layers`` is (rows, layers, levels)."""
        return monotone((self.weights[rows] * layers).sum(axis=1))

    def score(self, rows: IndexArray, layers: FloatArray, values: FloatArray) -> None:
        """Score the forecasts ``layers`` of tracks ``rows`` against ``values``."""
        mixed = (self.weights[rows] * layers).sum(axis=1, keepdims=True)
        error = values[:, None, None] - mixed
        own = pinball(error)
        slope = (error <= 0.0) - LEVELS
        size = self.size[rows]
        size = np.where(size > 0.0, size + SIZE_WEIGHT * (own - size), own)
        self.size[rows] = size
        self.pending[rows] += slope * (mixed - layers) / np.maximum(size, 1e-9)
        self.counted[rows] += 1.0
        due = rows[self.counted[rows] >= self.period]
        if len(due):
            self._update(due)

    def _update(self, rows: IndexArray) -> None:
        regret = self.pending[rows] / self.counted[rows][:, None, None]
        self.pending[rows] = 0.0
        self.counted[rows] = 0.0
        variation = MEMORY * self.variation[rows] + regret**2
        total = MEMORY * self.regret[rows] + regret
        layers = regret.shape[1]
        rate = np.minimum(MAX_RATE, np.sqrt(np.log(layers) / np.maximum(variation, 1e-8)))
        exponent = rate * total
        weights = rate * np.exp(exponent - exponent.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        self.weights[rows] = (1.0 - SHARE) * weights + SHARE / layers
        self.regret[rows] = total
        self.variation[rows] = variation


class CoverageOffset(PerTrack):
    """A slow additive correction per track and quantile that brings coverage to its level.

    Online conformal prediction on the quantile's value (Gibbs and Candes 2021; Angelopoulos, Candes and
    Tibshirani 2023, "Conformal PID control"). The offset rises by gain x level after a miss and falls by gain x
    (1 - level) after a hit, in units of the recent error.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("offset", "spread")

    def __init__(self, tracks: int, period: int) -> None:
        self.offset = np.zeros((tracks, len(QUANTILE_LEVELS)))
        self.spread = np.full(tracks, 0.1)
        self._gains = OFFSET_GAINS / period
        self._spread_weight = (1.0 - SPREAD_MEMORY) / period

    def apply(self, rows: IndexArray, quantiles: FloatArray) -> FloatArray:
        """Return ``quantiles`` (rows, levels) with the offset added."""
        return monotone(quantiles + self.offset[rows])

    def score(self, rows: IndexArray, issued: FloatArray, values: FloatArray) -> None:
        """Score ``issued`` quantiles (offset included) of tracks ``rows`` against ``values``."""
        spread = self.spread[rows]
        spread += self._spread_weight * (np.abs(values - issued[:, 0]) - spread)
        self.spread[rows] = spread
        hit = values[:, None] <= issued
        self.offset[rows] += self._gains * spread[:, None] * (LEVELS - hit)


class ExpertMixture(PerTrack):
    """Weights per track and level by recent quantile loss: (loss / least loss) ^ -12.

    An expert whose forecast is NaN gets weight 0 now, and its score does not change.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("loss", "scored", "kept", "kept_for", "age")

    def __init__(self, tracks: int, experts: int, weight: float) -> None:
        self.loss = np.zeros((tracks, experts, len(QUANTILE_LEVELS)))
        self.scored = np.zeros((tracks, experts))
        self.kept = np.zeros((tracks, experts, len(QUANTILE_LEVELS)))
        """Weights of the last computation."""
        self.kept_for = np.zeros((tracks, experts), dtype=bool)
        """The experts that had a forecast then."""
        self.age = np.full(tracks, WEIGHTS_REFRESH, dtype=np.int64)
        """Scored forecasts since the last computation."""
        self._weight = weight
        self._handicap = np.full((experts, 1), HANDICAP)
        self._handicap[0] = 1.0

    def weights(self, rows: IndexArray, quantiles: FloatArray) -> FloatArray:
        """Return the weights for the opinions ``quantiles`` of tracks ``rows``; both (rows, experts, levels)."""
        known = np.isfinite(quantiles[:, :, 0])
        due = (self.age[rows] >= WEIGHTS_REFRESH) | (known != self.kept_for[rows]).any(axis=1)
        if due.any():
            renewed = rows[due]
            self.kept[renewed] = self._fresh(renewed, known[due])
            self.kept_for[renewed] = known[due]
            self.age[renewed] = 0
        return np.asarray(self.kept[rows])

    def _fresh(self, rows: IndexArray, known: npt.NDArray[np.bool_]) -> FloatArray:
        scored = self.scored[rows]
        mature = (known & (scored >= MATURE))[:, :, None]
        loss = np.where(mature, np.maximum(self.loss[rows] * self._handicap, 1e-9), np.inf)
        least = loss.min(axis=1, keepdims=True)
        least = np.where(np.isfinite(least), least, 1.0)
        square = (least / loss) ** 2
        weights = square**2 * square**2 * square**2
        prior = np.full(known.shape[1], PRIOR_SHARE)
        prior[0] = 1.0 - PRIOR_SHARE * (known.shape[1] - 1)
        known = known[:, :, None]
        young = (scored[:, :1, None] < MATURE) & known
        weights = np.where(young, prior[:, None], weights)
        weights = np.where(known & ~mature & ~young, PRIOR_SHARE, weights)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def combine(self, rows: IndexArray, quantiles: FloatArray) -> FloatArray:
        """Return the weighted quantiles (rows, levels)."""
        weights = self.weights(rows, quantiles)
        return monotone((weights * np.where(np.isfinite(quantiles), quantiles, 0.0)).sum(axis=1))

    def score(self, rows: IndexArray, issued: FloatArray, values: FloatArray) -> None:
        """Score the experts' ``issued`` quantiles of tracks ``rows`` against ``values``."""
        error = pinball(values[:, None, None] - issued)
        self.age[rows] += 1
        known = np.isfinite(error[:, :, :1])
        loss = error @ LOSS_OF_LEVEL
        scored = self.scored[rows] + known[:, :, 0]
        # A plain mean at first, so that the first losses do not dominate; then exponentially weighted.
        weight = np.maximum(self._weight, 1.0 / np.maximum(scored, 1.0))[:, :, None]
        kept = self.loss[rows]
        self.loss[rows] = np.where(known, kept + weight * (np.where(known, loss, 0.0) - kept), kept)
        self.scored[rows] = scored
