"""The cap on forecasts: a little above the highest rate of the recent past."""

import math

from forebay.flow.settings import PolicySettings

COLD_SECONDS = 1800.0
"""Forecasts may grow more while the history is shorter than about this."""
MEMORY_FACTOR = 3.0
"""The highest rate seen fades with a half-life of this many memories."""


class RateCap:
    """The cap on forecasts: high quantiles in log space become far too large on on/off traffic."""

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.highest = 0.0
        self.at_seconds = -math.inf
        self.seen_seconds = 0.0

    def observe(self, at_seconds: float, rate: float) -> None:
        """Take a rate (requests per second, mean of a minute or more). NaN is ignored."""
        if not math.isfinite(rate):
            return
        self.highest = max(self._faded(at_seconds), rate)
        self.at_seconds = max(self.at_seconds, at_seconds)

    def rewind(self, at_seconds: float) -> None:
        """Adapt to a clock that was set back to ``at_seconds``."""
        self.at_seconds = min(self.at_seconds, at_seconds)

    def at(self, at_seconds: float) -> float:
        """Return the cap in requests per second."""
        cold = math.exp(-self.seen_seconds / COLD_SECONDS)
        return self._faded(at_seconds) * (1.0 + self.settings.growth_cap + cold)

    def _faded(self, at_seconds: float) -> float:
        age = max(0.0, at_seconds - self.at_seconds)
        half_life = MEMORY_FACTOR * self.settings.growth_cap_memory_seconds
        return float(self.highest * 0.5 ** (age / half_life)) if math.isfinite(age) else self.highest
