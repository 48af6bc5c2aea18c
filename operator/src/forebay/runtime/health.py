"""What liveness and readiness mean: rounds are completed, the lease is looked after, the caches are whole."""

from collections.abc import Callable
from dataclasses import dataclass, field

_MISSED_ROUNDS = 6
_SHORTEST_PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Health:
    """Heartbeats of the control loop and the elector, in monotonic seconds.

    A loop whose rounds fail is alive: restarting it would not bring Prometheus back. One that does not come round
    at all is not.
    """

    clock: Callable[[], float]
    interval_seconds: float
    lease_patience_seconds: float = 60.0
    started_seconds: float = field(init=False)
    round_seconds: float | None = None
    """When the loop last came round, as leader or standby."""
    lease_seconds: float | None = None
    """When the elector last finished an attempt."""
    caches_complete: bool = False
    waiting_for: str = "the caches to fill"
    doubt: str = ""
    """Why the caches may not be current, though they were complete once."""

    def __post_init__(self) -> None:
        self.started_seconds = self.clock()

    def round_done(self) -> None:
        """Take note that the loop came round."""
        self.round_seconds = self.clock()

    def lease_attempted(self) -> None:
        """Take note that the elector made an attempt, whatever came of it."""
        self.lease_seconds = self.clock()

    def live(self) -> tuple[bool, str]:
        """Return whether the process works, and a sentence."""
        now = self.clock()
        patience = max(_SHORTEST_PATIENCE_SECONDS, _MISSED_ROUNDS * self.interval_seconds)
        quiet = now - (self.round_seconds if self.round_seconds is not None else self.started_seconds)
        if quiet > patience:
            return False, f"the control loop has not come round for {quiet:.0f} s (patience {patience:.0f} s)"
        if self.lease_seconds is not None and now - self.lease_seconds > self.lease_patience_seconds:
            return False, f"the lease was last looked after {now - self.lease_seconds:.0f} s ago"
        return True, "the control loop comes round"

    def ready(self) -> tuple[bool, str]:
        """Return whether the process could act in its next round (as a standby too), and a sentence."""
        live, why = self.live()
        if not live:
            return False, why
        if not self.caches_complete:
            return False, f"waiting for {self.waiting_for}"
        if self.doubt:
            return False, self.doubt
        return True, "the caches are complete"
