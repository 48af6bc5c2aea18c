"""How much rougher some minutes of the hour are than others."""

from typing import ClassVar

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import HOUR_SECONDS
from forebay.forecast.tracks import IndexArray, PerTrack

MEMORY_VISITS = 100.0
"""Visits of one minute of the hour that count, about four days."""
NOISE = 1.0
"""Squared coefficient of variation of a single |residual| / scale (.57 if normal, more with heavy tails)."""
SCORE_LIMIT = 6.0
LOWEST, HIGHEST = 0.1, 5.0
REFRESH = 5
"""Steps between computations of the factors."""


class HourClock(PerTrack):
    """The spread of errors by the target's minute of the hour, relative to their local scale.

    Jobs start on round minutes, caches expire on the hour, and recorders publish in windows: errors then cluster
    at some minutes. The mean |residual| / scale of each minute is shrunk towards 1 as far as it could be chance
    (James and Stein 1961), so that a series without such a clock gets factors of 1.
    """

    PER_TRACK: ClassVar[tuple[str, ...]] = ("size", "visits", "table")

    def __init__(self, tracks: int, step_seconds: int) -> None:
        self.bins = HOUR_SECONDS // step_seconds
        self.size = np.ones((tracks, self.bins), dtype=np.float32)
        self.visits = np.zeros((tracks, self.bins), dtype=np.float32)
        self.table = np.ones((tracks, self.bins), dtype=np.float32)

    def factors(self, rows: IndexArray, targets: IndexArray) -> FloatArray:
        """Return the factor on the local scale of the tracks ``rows`` for the target steps ``targets``."""
        return np.asarray(self.table[rows, targets % self.bins])

    def _refresh(self) -> None:
        total = self.visits.sum(axis=1, keepdims=True)
        mean = (self.size * self.visits).sum(axis=1, keepdims=True) / np.maximum(total, 1.0)
        mean = np.where(total > 0.0, mean, 1.0)
        ratio = np.where(self.visits > 0.0, self.size / np.maximum(mean, 1e-9), 1.0)
        chance = NOISE / np.maximum(self.visits, 1.0)
        spread = ((ratio - 1.0) ** 2).mean(axis=1, keepdims=True)
        trust = np.maximum(0.0, 1.0 - chance.mean(axis=1, keepdims=True) / np.maximum(spread, 1e-12))
        self.table = np.minimum(np.maximum(1.0 + trust * (ratio - 1.0), LOWEST), HIGHEST).astype(np.float32)

    def learn(self, index: int, rows: IndexArray, score: FloatArray) -> None:
        """Learn |residual| / local scale (without this factor) of tracks ``rows`` at step ``index``."""
        column = index % self.bins
        visits = np.minimum(self.visits[rows, column] + 1.0, MEMORY_VISITS)
        self.visits[rows, column] = visits
        size = self.size[rows, column]
        self.size[rows, column] = size + (np.minimum(np.abs(score), SCORE_LIMIT) - size) / visits
        if index % REFRESH == 0:
            self._refresh()
