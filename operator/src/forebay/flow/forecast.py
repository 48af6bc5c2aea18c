"""What demand will be: quantiles at a lead time, and of the highest demand on the way there."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Median, 90th and 99th percentile of a demand, in requests per second; non-decreasing."""

    q50: float
    q90: float
    q99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastScore:
    """How a forecaster has done against persistence (last value plus the spread of its recent errors)."""

    scored: int
    """Forecasts whose time has come."""
    pinball90_ratio: float | None
    """Pinball loss at .9 over that of persistence; below 1 is better."""
    pinball99_ratio: float | None
    coverage90: float | None
    coverage99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandForecast:
    """Demand of one pool for one lead time."""

    lead_time_seconds: float
    at_horizon: Quantiles
    """Demand when capacity ordered now becomes ready: decides what to order."""
    maximum: Quantiles
    """Highest demand from now until then: decides what may be released."""
    rate_cap: float
    """Requests per second above which no quantile is believed."""
    now: float
    """Requests per second of the last minute or half-minute, whichever is higher by more than noise."""
    demoted: bool = False
    """True while the forecaster loses to persistence: it may raise capacity, not lower it."""
    score: ForecastScore | None = None
    source: str = "mixture"
