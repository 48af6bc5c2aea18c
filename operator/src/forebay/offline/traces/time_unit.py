"""Seconds or milliseconds? Files of the same form come in both, and a wrong guess is wrong by a factor of 1,000.

A fraction says seconds: no trace records parts of a millisecond. Whole numbers are milliseconds, unless that gives
a rate that no pool has. Where neither unit is believable, or both are, the file is refused with a sentence that
names the option.
"""

from enum import StrEnum

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.offline.traces.trace_source import TraceSource

FASTEST_REQUESTS_PER_SECOND = 200.0
"""Whole numbers that give a higher rate as milliseconds may just as well be seconds."""
SLOWEST_REQUESTS_PER_SECOND = 0.01
"""Fractions that give a lower rate as seconds may just as well be milliseconds."""
_ROUNDING = 1e-3
_FRACTIONS = 0.05
"""Share of time stamps with a fraction, beyond rounding, from which on they are seconds."""
_UNIX_SECONDS, _UNIX_MILLISECONDS = 1e9, 1e11
"""Times from here on are since 1970 (2001 in seconds; 1973 in milliseconds)."""


class TimeUnit(StrEnum):
    """Unit of a trace's time stamps."""

    SECONDS = "s"
    MILLISECONDS = "ms"

    @property
    def per_second(self) -> float:
        """Return how many of it a second has."""
        return 1.0 if self is TimeUnit.SECONDS else 1000.0


def unit_of(source: TraceSource, stamps: FloatArray, told: TimeUnit | None) -> TimeUnit:
    """Return the unit of ``stamps``, as told or as they show.

    Raises:
        TraceError: both units are possible, or none is.
    """
    if told is not None:
        return told
    first = float(stamps[0])
    if first >= _UNIX_SECONDS:
        return TimeUnit.MILLISECONDS if first >= _UNIX_MILLISECONDS else TimeUnit.SECONDS
    span = float(stamps.max() - stamps.min())
    if len(stamps) < 2 or span <= 0.0:
        return TimeUnit.MILLISECONDS
    per_unit = (len(stamps) - 1) / span
    if np.mean(np.abs(stamps - np.rint(stamps)) > _ROUNDING) > _FRACTIONS:
        unit, doubtful = TimeUnit.SECONDS, per_unit < SLOWEST_REQUESTS_PER_SECOND
    else:
        unit, doubtful = TimeUnit.MILLISECONDS, 1000.0 * per_unit > FASTEST_REQUESTS_PER_SECOND
    if doubtful:
        raise source.error(
            f"its time stamps could be milliseconds ({1000.0 * per_unit:.4g} requests/s) or seconds "
            f"({per_unit:.4g} requests/s); say which with --trace-unit ms or --trace-unit s"
        )
    return unit
