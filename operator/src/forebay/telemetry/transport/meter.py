"""The port through which the telemetry reports on itself."""

from typing import Protocol


class TelemetryMeter(Protocol):
    """What the telemetry tells about itself; the runtime turns it into metrics."""

    def query_finished(self, kind: str, seconds: float, outcome: str) -> None:
        """Count one query of ``kind``; ``outcome`` is ``ok`` or a ``QueryFailure`` value."""
        ...

    def samples_read(self, kind: str, usable: int, rejected: int) -> None:
        """Count samples of one answer."""
        ...

    def breaker_changed(self, state: str) -> None:
        """Report the circuit breaker's new state: ``closed``, ``open`` or ``half-open``."""
        ...

    def query_abandoned(self, kind: str) -> None:
        """Count a query whose thread was still busy when its time was up."""
        ...


class NullMeter:
    """Meters nothing."""

    def query_finished(self, kind: str, seconds: float, outcome: str) -> None:
        """Do nothing."""

    def samples_read(self, kind: str, usable: int, rejected: int) -> None:
        """Do nothing."""

    def breaker_changed(self, state: str) -> None:
        """Do nothing."""

    def query_abandoned(self, kind: str) -> None:
        """Do nothing."""
