"""Combining forecasts by how they did: weights per layer and quantile, weights per expert, and a final offset."""

from typing import ClassVar

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import QUANTILE_LEVELS
from forebay.forecast.tracks import IndexArray, PerTrack

LEVELS = np.array(QUANTILE_LEVELS)
MEMORY = 0.998
"""Forgetting of past regret per update."""
SHARE = 0.002
"""Weight that is always spread evenly, so that a layer can come back."""
MAX_RATE = 2.0
OFFSET_GAINS = np.array([0.02, 0.04, 0.10])
SPREAD_MEMORY = 0.99
EXPERT_SHARPNESS = 12.0
PRIOR_SHARE = 0.05
"""Weight of each expert but the first until ``MATURE`` forecasts are scored."""
MATURE = 10


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
    update, so that overlapping horizons do not count as independent evidence.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("weights", "regret", "variation", "pending", "counted")

    def __init__(self, tracks: int, layers: int, period: int) -> None:
        shape = (tracks, layers, len(QUANTILE_LEVELS))
        self.period = period
        self.weights = np.full(shape, 1.0 / layers)
        self.regret = np.zeros(shape)
        self.variation = np.zeros(shape)
        self.pending = np.zeros(shape)
        self.counted = np.zeros(tracks)

    def combine(self, layers: FloatArray) -> FloatArray:
        """Return the weighted quantiles; ``layers`` is (tracks, layers, levels)."""
        return monotone((self.weights * layers).sum(axis=1))

    def score(self, rows: IndexArray, layers: FloatArray, values: FloatArray) -> None:
        """Score the forecasts ``layers`` of tracks ``rows`` against ``values``."""
        loss = pinball(values[:, None, None] - layers)
        self.pending[rows] += (self.weights[rows] * loss).sum(axis=1, keepdims=True) - loss
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
    Tibshirani 2023, "Conformal PID control"): up by gain x level after a miss, down by gain x (1 - level) after a
    hit, in units of the recent error.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("offset", "spread")

    def __init__(self, tracks: int, period: int) -> None:
        self.offset = np.zeros((tracks, len(QUANTILE_LEVELS)))
        self.spread = np.full(tracks, 0.1)
        self._gains = OFFSET_GAINS / period
        self._spread_weight = (1.0 - SPREAD_MEMORY) / period

    def apply(self, quantiles: FloatArray) -> FloatArray:
        """Return ``quantiles`` (tracks, levels) with the offset added."""
        return monotone(quantiles + self.offset)

    def score(self, rows: IndexArray, issued: FloatArray, values: FloatArray) -> None:
        """Score ``issued`` quantiles (offset included) of tracks ``rows`` against ``values``."""
        spread = self.spread[rows]
        spread += self._spread_weight * (np.abs(values - issued[:, 0]) - spread)
        self.spread[rows] = spread
        hit = values[:, None] <= issued
        self.offset[rows] += self._gains * spread[:, None] * (LEVELS - hit)


class ExpertMixture(PerTrack):
    """Weights per track by recent loss: (loss / least loss) ^ -12, loss = pinball(.9) + 4 pinball(.99).

    An expert whose forecast is NaN has no opinion: weight 0 now, and its score does not move.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("loss", "scored")

    def __init__(self, tracks: int, experts: int, weight: float) -> None:
        self.loss = np.zeros((tracks, experts))
        self.scored = np.zeros((tracks, experts))
        self._weight = weight

    def weights(self, quantiles: FloatArray) -> FloatArray:
        """Return the weights (tracks, experts) for the opinions ``quantiles`` (tracks, experts, levels)."""
        known = np.isfinite(quantiles[:, :, 0])
        mature = known & (self.scored >= MATURE)
        loss = np.where(mature, np.maximum(self.loss, 1e-9), np.inf)
        least = loss.min(axis=1, keepdims=True)
        least = np.where(np.isfinite(least), least, 1.0)
        weights = (loss / least) ** -EXPERT_SHARPNESS
        prior = np.full(known.shape[1], PRIOR_SHARE)
        prior[0] = 1.0 - PRIOR_SHARE * (known.shape[1] - 1)
        young = (self.scored[:, :1] < MATURE) & known
        weights = np.where(young, prior, weights)
        weights = np.where(known & ~mature & ~young, PRIOR_SHARE, weights)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def combine(self, quantiles: FloatArray) -> FloatArray:
        """Return the weighted quantiles (tracks, levels)."""
        weights = self.weights(quantiles)
        return monotone((weights[:, :, None] * np.where(np.isfinite(quantiles), quantiles, 0.0)).sum(axis=1))

    def score(self, rows: IndexArray, issued: FloatArray, values: FloatArray) -> None:
        """Score the experts' ``issued`` quantiles of tracks ``rows`` against ``values``."""
        error = pinball(values[:, None, None] - issued)
        loss = error[:, :, 1] + 4.0 * error[:, :, 2]
        known = np.isfinite(loss)
        scored = self.scored[rows] + known
        # A plain mean at first, then exponentially weighted: the first losses do not stick.
        weight = np.maximum(self._weight, 1.0 / np.maximum(scored, 1.0))
        kept = self.loss[rows]
        self.loss[rows] = np.where(known, kept + weight * (np.where(known, loss, 0.0) - kept), kept)
        self.scored[rows] = scored
