"""Faults on demand: what a scraper sees when telemetry breaks while the engines go on."""

import threading
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from enginesim.errors import EngineSimError


class FaultMode(StrEnum):
    """How ``/metrics`` misbehaves."""

    SILENT = "silent"
    """Answer 503: Prometheus marks the target down and its series stale."""
    NAN = "nan"
    """Every value is NaN."""
    FROZEN = "frozen"
    """The text of the moment the fault began, again and again."""
    VANISH = "vanish"
    """The target is not in service discovery any more."""
    RESET = "reset"
    """Counters start again from zero, once."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault on the targets whose ``namespace/name`` matches a shell pattern."""

    mode: FaultMode
    targets: str = "*"

    def matches(self, target: str) -> bool:
        """Return whether ``target`` (``namespace/name``) is concerned."""
        return fnmatchcase(target, self.targets)


def parse_fault(body: object) -> Fault:
    """Return the fault that a request asks for.

    Raises:
        EngineSimError: with a sentence that says what to send.
    """
    if not isinstance(body, dict):
        raise EngineSimError('send an object such as {"mode": "silent", "targets": "serving/chat-*"}')
    mode, targets = body.get("mode"), body.get("targets", "*")
    if not isinstance(mode, str) or mode not in set(FaultMode):
        raise EngineSimError(f"mode {mode!r} is unknown; known are {', '.join(FaultMode)}")
    if not isinstance(targets, str) or set(body) - {"mode", "targets"}:
        raise EngineSimError("targets must be a shell pattern of namespace/name; other fields are unknown")
    return Fault(FaultMode(mode), targets)


class Faults:
    """The faults in force; the newest that matches wins. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._frozen: dict[str, str] = {}

    def add(self, fault: Fault) -> None:
        """Begin a fault."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """End all faults."""
        with self._lock:
            self._faults.clear()
            self._frozen.clear()

    def current(self) -> list[Fault]:
        """Return the faults in force, oldest first."""
        with self._lock:
            return list(self._faults)

    def on(self, target: str) -> FaultMode | None:
        """Return how ``target`` misbehaves now."""
        with self._lock:
            return next((fault.mode for fault in reversed(self._faults) if fault.matches(target)), None)

    def freeze(self, target: str, text: str) -> str:
        """Return the text that ``target`` froze at, which is ``text`` the first time."""
        with self._lock:
            return self._frozen.setdefault(target, text)
