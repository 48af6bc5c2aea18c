"""Recursive least squares for several targets at once: one linear model per target, with forgetting."""

from typing import ClassVar

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.tracks import IndexArray, PerTrack

FEATURES = 12
INNOVATION_LIMIT = 1.5
"""One surprise may not move the coefficients by more than an error of this size would (log space)."""
SYMMETRY_PERIOD = 1000
TRACE_LIMIT = 1e4


class Regressions(PerTrack):
    """Direct-horizon regressions z[t+h] ~ base[t] + w x[t], one row of coefficients per track.

    Recursive least squares with exponential forgetting (Ljung, System Identification, section 11.2), started from
    a ridge of weight 1, with clipped innovations and a limit on the covariance against wind-up.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("weights", "covariance")

    def __init__(self, tracks: int, forgetting: float) -> None:
        self.forgetting = forgetting
        self.weights = np.zeros((tracks, FEATURES))
        self.covariance = np.tile(np.eye(FEATURES), (tracks, 1, 1))
        self.updates = 0

    def predict(self, features: FloatArray) -> FloatArray:
        """Return w x for each track; ``features`` is (tracks, 12)."""
        return np.asarray(np.einsum("tf,tf->t", self.weights, features))

    def learn(self, rows: IndexArray, features: FloatArray, error_target: FloatArray) -> None:
        """Learn that ``features`` of the tracks ``rows`` were followed by ``error_target`` (target less base)."""
        weights = self.weights[rows]
        covariance = self.covariance[rows]
        projected = np.matmul(covariance, features[:, :, None])[:, :, 0]
        gain = projected / (self.forgetting + np.einsum("tf,tf->t", features, projected))[:, None]
        error = error_target - np.einsum("tf,tf->t", weights, features)
        error = np.minimum(np.maximum(error, -INNOVATION_LIMIT), INNOVATION_LIMIT)
        self.weights[rows] = weights + gain * error[:, None]
        self.covariance[rows] = (covariance - gain[:, :, None] * projected[:, None, :]) / self.forgetting
        self.updates += 1
        if self.updates % SYMMETRY_PERIOD == 0:
            self._condition()

    def _condition(self) -> None:
        self.covariance = 0.5 * (self.covariance + self.covariance.transpose(0, 2, 1))
        trace = np.trace(self.covariance, axis1=1, axis2=2)
        self.covariance *= np.minimum(1.0, TRACE_LIMIT / np.maximum(trace, 1e-12))[:, None, None]
