"""The highest rate that is believed: a little above the highest one seen lately."""

import math

from forebay.flow.settings import PolicySettings

COLD_SECONDS = 1800.0
"""Extra growth is allowed while the history is about this short."""
MEMORY_FACTOR = 3.0
"""The highest rate seen fades with a half-life of this many memories."""


class RateCap:
    """Quantiles in log space explode on on/off traffic; no forecast above the cap is believed."""

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.highest = 0.0
        self.at_seconds = -math.inf
        self.seen_seconds = 0.0

    def observe(self, at_seconds: float, rate: float) -> None:
        """Take a rate of at least a minute's mean, in requests per second; NaN is ignored."""
        if not math.isfinite(rate):
            return
        self.highest = max(self._faded(at_seconds), rate)
        self.at_seconds = max(self.at_seconds, at_seconds)

    def rewind(self, at_seconds: float) -> None:
        """Follow a clock that was stepped back."""
        self.at_seconds = min(self.at_seconds, at_seconds)

    def at(self, at_seconds: float) -> float:
        """Return the cap in requests per second."""
        cold = math.exp(-self.seen_seconds / COLD_SECONDS)
        return self._faded(at_seconds) * (1.0 + self.settings.growth_cap + cold)

    def _faded(self, at_seconds: float) -> float:
        age = max(0.0, at_seconds - self.at_seconds)
        half_life = MEMORY_FACTOR * self.settings.growth_cap_memory_seconds
        return float(self.highest * 0.5 ** (age / half_life)) if math.isfinite(age) else self.highest
