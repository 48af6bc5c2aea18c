"""A request trace: arrival times and token counts, as arrays."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestTrace:
    """Requests in order of arrival. All arrays have one length."""

    name: str
    arrival_seconds: FloatArray
    """Non-decreasing, from 0."""
    input_tokens: IntArray
    output_tokens: IntArray
    cached_tokens: IntArray | None = None
    """Of the input tokens, those that a prefix cache would answer."""
    pool: IntArray | None = None
    """Index of the pool that each request is for, in a fleet's trace."""
    start_of_day_seconds: float = 0.0
    """Time of day (UTC) at arrival 0, for daily patterns."""
    history_requests_per_minute: FloatArray | None = None
    """Minute counts that precede the trace, newest last, for warming up a forecaster."""

    def __len__(self) -> int:
        return len(self.arrival_seconds)

    @property
    def span_seconds(self) -> float:
        """Return the time from 0 to the last arrival."""
        return float(self.arrival_seconds[-1]) if len(self.arrival_seconds) else 0.0
