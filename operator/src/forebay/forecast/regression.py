"""Recursive least squares for several targets at once: one linear model per target, with forgetting."""

from typing import ClassVar

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.tracks import IndexArray, PerTrack

FEATURES = 12
INNOVATION_LIMIT = 1.5
"""Larger errors are clipped to this size before they change the coefficients (log space)."""
FIRST_VARIANCE = 0.01
USUAL_WEIGHT = 0.002
"""Weight of a new variance in the running mean."""
WEIGHT_LIMIT = 2.0
"""No sample's weight differs from the usual one by more than this factor. With 10 the starts of bursts had hardly
any weight: on/off traffic cost 11 % more at a lower attainment, and no forecast was better."""
SYMMETRY_PERIOD = 1000
TRACE_LIMIT = 1e4


class Regressions(PerTrack):
    """Direct-horizon regressions z[t+h] ~ base[t] + w x[t], one row of coefficients per track.

    Recursive least squares with exponential forgetting (Ljung, System Identification, section 11.2), started from
    a ridge of weight 1, with clipped innovations and a limit on the covariance against wind-up. A sample's weight
    is the inverse of its expected variance (generalised least squares): noisy hours count less.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("weights", "covariance", "usual_variance")

    def __init__(self, tracks: int, forgetting: float) -> None:
        self.forgetting = forgetting
        self.weights = np.zeros((tracks, FEATURES))
        self.covariance = np.tile(np.eye(FEATURES), (tracks, 1, 1))
        self.usual_variance = np.full(tracks, FIRST_VARIANCE)
        self.updates = 0

    def predict(self, rows: IndexArray, features: FloatArray) -> FloatArray:
        """Return w x for the tracks ``rows``; ``features`` is (rows, features)."""
        return np.asarray(np.einsum("tf,tf->t", self.weights[rows], features))

    def learn(self, rows: IndexArray, features: FloatArray, target: FloatArray, scale: FloatArray) -> None:
        """Learn that ``features`` of the tracks ``rows`` were followed by ``target`` (less base).

        ``scale`` is the size of error that was expected of each.
        """
        variance = scale**2
        usual = self.usual_variance[rows]
        noise = self.forgetting * np.minimum(np.maximum(variance / usual, 1.0 / WEIGHT_LIMIT), WEIGHT_LIMIT)
        self.usual_variance[rows] = usual + USUAL_WEIGHT * (variance - usual)
        weights = self.weights[rows]
        covariance = self.covariance[rows]
        projected = np.matmul(covariance, features[:, :, None])[:, :, 0]
        gain = projected / (noise + np.einsum("tf,tf->t", features, projected))[:, None]
        error = target - np.einsum("tf,tf->t", weights, features)
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
