"""Whether requests are conserved: what began must end or be held.

Where the two drift apart, requests leave by an exit that no counter has (clients hang up), or one of the counters
counts something else than it is taken for.
"""

import math
from collections import deque
from dataclasses import dataclass, field

_WINDOW_SECONDS = 600.0
_SHORTEST_SECONDS = 240.0
_FEWEST = 30.0
_LEAST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Drift:
    """How far what began and what ended are apart."""

    seconds: float
    begun: float
    lost: float
    """Requests that began and neither ended nor are held; negative: more ended than began."""

    def __str__(self) -> str:
        # In tenths, because a sentence that changed every round would be written every round.
        share = f"about {max(0.1, round(abs(self.lost) / max(self.begun, 1.0), 1)):.0%} of the requests"
        if self.lost > 0.0:
            return (
                f"{share} began and neither finished nor are held: clients hang up, or a counter leaves some out"
            )
        return (
            f"{share} ended and were not seen to begin: a counter counts something else than it is taken for, or"
            " another pool's series are read"
        )


@dataclass(frozen=True, slots=True)
class _Interval:
    start_seconds: float
    end_seconds: float
    begun: float
    ended: float
    held: float
    """At the end."""


@dataclass(slots=True)
class FlowBalance:
    """The requests of one pool over the last minutes."""

    _intervals: deque[_Interval] = field(default_factory=deque)

    def enter(
        self, start_seconds: float, end_seconds: float, *, begun: float, ended: float, held: float
    ) -> Drift | None:
        """Enter one interval; return the drift of the last minutes if it is more than chance and lag explain."""
        rows = self._intervals
        if rows and rows[-1].end_seconds != start_seconds:
            rows.clear()
        rows.append(_Interval(start_seconds, end_seconds, begun, ended, held))
        while end_seconds - rows[0].end_seconds > _WINDOW_SECONDS:
            rows.popleft()
        first, rest = rows[0], list(rows)[1:]
        seconds = end_seconds - first.end_seconds
        if seconds < _SHORTEST_SECONDS:
            return None
        total = math.fsum(each.begun for each in rest)
        lost = total - math.fsum(each.ended for each in rest) - (held - first.held)
        # What is held at the ends is seen a scrape apart from the counters.
        allowed = max(_FEWEST, _LEAST_SHARE * total, 0.5 * (held + first.held), 4.0 * math.sqrt(max(total, 0.0)))
        return Drift(seconds, total, lost) if abs(lost) > allowed else None
