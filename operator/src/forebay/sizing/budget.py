"""The error budget: how many misses the objective still allows, and what that does to the price of a miss."""

import math
from dataclasses import dataclass

from forebay.flow.settings import PolicySettings


@dataclass(slots=True)
class ErrorBudget:
    """Misses and finished requests in a leaky window."""

    missed: float = 0.0
    finished: float = 0.0
    seconds: float = 0.0
    """Time that the window covers, fading like the requests in it."""

    def push(self, *, missed: float, finished: float, elapsed: float, half_life: float) -> None:
        """Take the finished requests of one round."""
        keep = 0.5 ** (elapsed / half_life)
        self.missed = self.missed * keep + missed
        self.finished = self.finished * keep + finished
        self.seconds = self.seconds * keep + elapsed

    @property
    def attainment(self) -> float | None:
        """Return the share of requests in the window that met the objective; ``None`` before the first."""
        return None if self.finished <= 0.0 else 1.0 - self.missed / self.finished

    def left(self, target: float) -> float | None:
        """Return the unspent share of the budget: 1 untouched, 0 spent, negative overspent."""
        allowed = (1.0 - target) * self.finished
        return None if allowed <= 0.0 else 1.0 - self.missed / allowed

    def error(self, *, target: float, settings: PolicySettings) -> float:
        """Return the relative over-spending, clipped: negative while there is budget to spend.

        Steering aims at a little less than all allowed misses (``budget_slack``). It is relative to at least
        ``budget_least_share`` of a full window at the mean rate so far, so that the first hours over-react in
        neither direction, and silences between bursts do not either; leak and clip prevent wind-up.
        """
        if self.finished <= 0.0:
            return 0.0
        full_seconds = settings.budget_half_life_seconds / math.log(2.0)
        young = max(1.0, settings.budget_least_share * full_seconds / max(self.seconds, 1.0))
        allowed = max(1.0 - target, 1e-9)
        over = self.missed / self.finished - allowed * (1.0 - settings.budget_slack)
        return min(max(over / (allowed * young), settings.budget_error_min), settings.budget_error_max)


def price_factor(error: float, settings: PolicySettings) -> float:
    """Return what multiplies the price of a miss."""
    return math.exp(settings.budget_gain * error)
