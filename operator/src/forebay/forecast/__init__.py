"""Forecast: quantiles of demand at the lead time, scored when their time comes.

Start at ``Forecaster``: samples in, ``DemandForecast`` out, one instance per pool.
"""

from forebay.forecast.forecaster import Forecaster, Taken
from forebay.forecast.future import ExternalForecast
from forebay.forecast.jobs import Job, JobResult

__all__ = ["ExternalForecast", "Forecaster", "Job", "JobResult", "Taken"]
