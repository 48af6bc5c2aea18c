"""The error budget: how many misses the objective still allows, and how fast they are used up."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

WINDOWS: Mapping[str, float] = MappingProxyType({"1h": 3_600.0, "1d": 86_400.0, "28d": 2_419_200.0})
"""Seconds of the windows of attainment, by name. An hour shows the present, a day shows what lasts, and four
weeks are the usual window of a service level objective."""


@dataclass(slots=True)
class MissWindow:
    """Misses and finished requests in a window in which old ones fade."""

    missed: float = 0.0
    finished: float = 0.0

    def push(self, *, missed: float, finished: float, elapsed: float, half_life: float) -> None:
        """Take the finished requests of one round."""
        keep = 0.5 ** (elapsed / half_life)
        self.missed = self.missed * keep + missed
        self.finished = self.finished * keep + finished

    @property
    def counts(self) -> tuple[float, float] | None:
        """Return the misses and the finished requests in the window; ``None`` before the first."""
        return None if self.finished <= 0.0 else (self.missed, self.finished)

    @property
    def attainment(self) -> float | None:
        """Return the share of requests in the window that met the objective; ``None`` before the first."""
        return None if self.finished <= 0.0 else 1.0 - self.missed / self.finished

    def burn_rate(self, target: float) -> float | None:
        """Return the misses divided by those that the objective allows; 1 uses exactly the budget."""
        allowed = (1.0 - target) * self.finished
        return None if allowed <= 0.0 else self.missed / allowed

    def left(self, target: float) -> float | None:
        """Return the unspent share of the budget: 1 untouched, 0 spent, negative overspent."""
        allowed = (1.0 - target) * self.finished
        return None if allowed <= 0.0 else 1.0 - self.missed / allowed


def fading_half_life(window_seconds: float) -> float:
    """Return the half-life of a fading sum whose mean age is ``window_seconds``."""
    return window_seconds * math.log(2.0)
