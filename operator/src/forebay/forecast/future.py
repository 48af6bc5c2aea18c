"""Known future demand: scheduled loads, and a forecast that the user provides."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from forebay.flow.forecast import DemandForecast, Quantiles
from forebay.flow.settings import KnownLoad
from forebay.flow.trace import FloatArray
from forebay.forecast.tracks import Track


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutsideForecast:
    """A forecast from outside: requests per second at ascending target times (Unix seconds)."""

    target_seconds: FloatArray
    requests_per_second: FloatArray

    def __post_init__(self) -> None:
        if len(self.target_seconds) != len(self.requests_per_second):
            raise ValueError("an external forecast needs as many values as target times")
        if len(self.target_seconds) > 1 and not bool(np.all(np.diff(self.target_seconds) > 0)):
            raise ValueError("an external forecast's target times must ascend; sort them and drop duplicates")

    def points(self, end_seconds: float, step_seconds: int, tracks: Iterable[Track]) -> FloatArray:
        """Return its counts per step for each track of a forecast issued at ``end_seconds``.

        NaN where a target lies outside the given times.
        """
        found = []
        for track in tracks:
            ahead = np.arange(1 if track.maximum else track.horizon, track.horizon + 1)
            at = np.asarray(end_seconds + (ahead - 0.5) * step_seconds, dtype=np.float64)
            found.append(float(self._at(at).max()) * step_seconds)
        return np.array(found)

    def _at(self, seconds: FloatArray) -> FloatArray:
        if not len(self.target_seconds):
            return np.full(len(seconds), np.nan)
        return np.interp(
            seconds, self.target_seconds, self.requests_per_second, left=float("nan"), right=float("nan")
        )


def with_known_loads(
    forecast: DemandForecast, *, at_seconds: float, tolerance_seconds: float, loads: Iterable[KnownLoad]
) -> DemandForecast:
    """Return ``forecast`` raised to the known loads that its lead time reaches.

    A load raises the demand at the horizon if it is active at the horizon. It counts as active
    ``tolerance_seconds`` early, so that ordered replicas are ready when it begins. It raises the maximum if it is
    active at any time until the horizon. The cap does not apply to known loads.
    """
    horizon = at_seconds + forecast.lead_time_seconds
    at_horizon, maximum, cap, names = forecast.at_horizon, forecast.maximum, forecast.rate_cap, []
    for load in loads:
        rate = load.requests_per_second
        if load.start_seconds - tolerance_seconds <= horizon < load.end_seconds:
            at_horizon = at_least(at_horizon, rate)
        if load.start_seconds - tolerance_seconds <= horizon and load.end_seconds > at_seconds:
            if rate > forecast.maximum.q50:
                names.append(load.name or "a known load")
            maximum, cap = at_least(maximum, rate), max(cap, rate)
    source = f"{forecast.source}, raised by {', '.join(names)}" if names else forecast.source
    return replace(forecast, at_horizon=at_horizon, maximum=maximum, rate_cap=cap, source=source)


def at_least(quantiles: Quantiles, rate: float) -> Quantiles:
    """Return ``quantiles`` raised to at least ``rate``."""
    return Quantiles(max(quantiles.q50, rate), max(quantiles.q90, rate), max(quantiles.q99, rate))
