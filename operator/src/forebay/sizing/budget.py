"""The error budget: how many misses the objective still allows."""

from dataclasses import dataclass


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
