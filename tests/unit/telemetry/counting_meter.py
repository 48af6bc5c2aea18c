"""What a client told of its queries."""

from dataclasses import dataclass, field

from forebay.telemetry.transport.meter import NullMeter


@dataclass
class CountingMeter(NullMeter):
    """Remembers what it was told."""

    outcomes: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    abandoned: int = 0

    def query_finished(self, kind: str, seconds: float, outcome: str) -> None:
        """Remember how it ended."""
        self.outcomes.append(outcome)

    def breaker_changed(self, state: str) -> None:
        """Remember the state."""
        self.states.append(state)

    def query_abandoned(self, kind: str) -> None:
        """Count it."""
        self.abandoned += 1
