"""Forecast quantiles of demand at the lead time, and score them once the demand is known.

Start at ``Forecaster``: samples in, ``DemandForecast`` out, one instance per pool.
"""

from forebay.forecast.forecaster import Forecaster
from forebay.forecast.future import OutsideForecast
from forebay.forecast.jobs import Warmed, WarmJob
from forebay.forecast.resolution import ONE_MINUTE, TEN_MINUTES, Resolution
from forebay.forecast.samples import Taken

__all__ = [
    "ONE_MINUTE",
    "TEN_MINUTES",
    "Forecaster",
    "OutsideForecast",
    "Resolution",
    "Taken",
    "WarmJob",
    "Warmed",
]
