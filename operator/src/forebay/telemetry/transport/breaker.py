"""A circuit breaker: stop asking a server that does not answer, and try again with one question."""

from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether questions are asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Admission(StrEnum):
    """What a question may do."""

    PASS = "pass"  # noqa: S105 - not a password
    PROBE = "probe"
    """Go, and tell how it went: others wait for it."""
    WAIT = "wait"
    """A probe is under way; its outcome decides."""
    REFUSE = "refuse"


@dataclass(slots=True, kw_only=True)
class Breaker:
    """State machine without a clock of its own: times are passed in, in seconds of any monotonic clock."""

    failures_to_open: int
    cool_down_seconds: float
    cool_down_max_seconds: float
    state: BreakerState = BreakerState.CLOSED
    _failures: int = 0
    _opened: int = 0
    _reopen_seconds: float = 0.0

    def admit(self, now_seconds: float) -> Admission:
        """Return what a question asked now may do."""
        if self.state is BreakerState.CLOSED:
            return Admission.PASS
        if self.state is BreakerState.HALF_OPEN:
            return Admission.WAIT
        if now_seconds < self._reopen_seconds:
            return Admission.REFUSE
        self.state = BreakerState.HALF_OPEN
        return Admission.PROBE

    def succeeded(self) -> None:
        """Note that the server answered."""
        self.state = BreakerState.CLOSED
        self._failures = 0
        self._opened = 0

    def failed(self, now_seconds: float, *, jitter: float = 0.0) -> None:
        """Note that the server failed; ``jitter`` (0 to 1) spreads the next attempt by up to half a cool-down."""
        self._failures += 1
        if self.state is BreakerState.CLOSED and self._failures < self.failures_to_open:
            return
        if self.state is BreakerState.OPEN:
            return
        self.state = BreakerState.OPEN
        pause = min(self.cool_down_seconds * 2.0**self._opened, self.cool_down_max_seconds)
        self._opened = min(self._opened + 1, 16)
        self._reopen_seconds = now_seconds + pause * (1.0 + 0.5 * jitter)

    def probe_inconclusive(self, now_seconds: float) -> None:
        """Note that a probe ended without a verdict (it was cancelled): the next question probes."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN
            self._reopen_seconds = now_seconds

    def retry_in_seconds(self, now_seconds: float) -> float:
        """Return the seconds until the next attempt."""
        return max(0.0, self._reopen_seconds - now_seconds) if self.state is BreakerState.OPEN else 0.0
