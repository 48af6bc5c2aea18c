"""When a series changes at all: the ticks of a clock, and the forecasts whose way crosses none."""

from array import array

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.clock import MEMORY_VISITS, NOISE
from forebay.forecast.resolution import HOUR_SECONDS

USUAL_WEIGHT = 0.002
"""Of a new change in the running mean (memory about eight hours at one minute)."""
CHANGE_LIMIT = 5.0
"""One change counts as this many usual ones at most."""
CALM_BELOW = 0.7
"""A way is calm if it promises less than this share of the usual squared change per step."""
CALM_CONTRAST = 2.0
"""The other ways must promise this many times as much as the calm ones, or there is no clock."""
CALM_SHARE = 0.2
"""Both kinds must come at least this often, or one of them would learn too slowly."""
CALM_VISITS = 20.0
"""Of each minute of the hour before anything is said: most of a day."""


class ChangeClock:
    """When the level itself changes: the mean change between steps by minute of the hour, relative to usual.

    Recorders that publish in windows and jobs that start on round minutes make a series stand still between the
    ticks of a clock. A forecast whose way crosses no tick is then another problem than one that does: the first
    asks for the level now, the second for the size of the next change.
    """

    def __init__(self, step_seconds: int) -> None:
        self.bins = HOUR_SECONDS // step_seconds
        self.size = np.ones(self.bins)
        self.visits = np.zeros(self.bins)
        self.usual = 0.0
        self.table = array("d", [1.0] * self.bins)
        """Expected change by minute of the hour, 1 being usual; shrunk to 1 as far as it could be chance."""
        self._learnt = 0
        self._calm: dict[int, bytes] = {}
        """By horizon, whether each minute's way is calm (1) or not (0)."""

    def learn(self, index: int, change: float) -> None:
        """Learn the ``change`` from the step before to step ``index``, in z space."""
        change = abs(change)
        self.usual += (change - self.usual) * (USUAL_WEIGHT if self._learnt else 1.0)
        column = index % self.bins
        visits = min(self.visits[column] + 1.0, MEMORY_VISITS)
        self.visits[column] = visits
        ratio = min(change / max(self.usual, 1e-9), CHANGE_LIMIT)
        self.size[column] += (ratio - self.size[column]) / visits
        self._learnt += 1
        if self._learnt % self.bins == 0:
            self._refresh()

    def kept(self) -> FloatArray:
        """Return what was learned, to be kept across a restart."""
        learnt = np.full(self.bins, self._learnt)
        return np.stack([self.size, self.visits, np.array(self.table), np.full(self.bins, self.usual), learnt])

    def load(self, kept: FloatArray) -> None:
        """Take over what ``kept`` returned.

        Raises:
            ValueError: it is of another sampling step.
        """
        if kept.shape != (5, self.bins):
            raise ValueError(
                "the saved forecaster state was kept at another sampling step; remove it to start afresh"
            )
        self.size, self.visits = kept[0].copy(), kept[1].copy()
        self.table = array("d", kept[2].tolist())
        self.usual, self._learnt = float(kept[3, 0]), int(kept[4, 0])
        self._calm = {}

    def _refresh(self) -> None:
        """Compute the table and which forecasts are calm afresh."""
        ratio = self.size / max(float(self.size.mean()), 1e-9)
        chance = NOISE / np.maximum(self.visits, 1.0)
        trust = max(0.0, 1.0 - float(chance.mean()) / max(float(((ratio - 1.0) ** 2).mean()), 1e-12))
        self.table = array("d", (1.0 + trust * (ratio - 1.0)).tolist())
        self._calm = {}

    def calm(self, index: int, horizon: int) -> bool:
        """Return whether the way from step ``index`` to ``horizon`` steps later crosses no tick of the clock."""
        if horizon not in self._calm:
            self._calm[horizon] = self._calm_minutes(horizon)
        return bool(self._calm[horizon][index % self.bins])

    def found(self, horizons: tuple[int, ...]) -> bool:
        """Return whether any way to one of ``horizons`` is calm."""
        return any(any(self._calm_minutes(horizon)) for horizon in horizons)

    def _calm_minutes(self, horizon: int) -> bytes:
        table = np.array(self.table) ** 2
        table /= table.mean()
        ways = np.stack([np.roll(table, -ahead) for ahead in range(1, horizon + 1)]).mean(axis=0)
        calm = ways < CALM_BELOW
        share = float(calm.mean())
        if self.visits.min() < CALM_VISITS or not CALM_SHARE <= share <= 1.0 - CALM_SHARE:
            return bytes(self.bins)
        if float(ways[~calm].mean()) < CALM_CONTRAST * float(ways[calm].mean()):
            return bytes(self.bins)
        return bytes(calm.tolist())
