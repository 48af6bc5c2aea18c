"""Forecasts and miss curves of a pool, computed anew only when what they depend on has moved."""

import math

from forebay.flow.fleet import Pool, Role
from forebay.flow.forecast import DemandForecast
from forebay.pipeline.memory import CachedCurves, CachedForecast, PoolMemory
from forebay.sizing.curve import certain, demand_nodes, miss_curve, miss_curves
from forebay.sizing.work import ReplicaWork

_CACHE_STEP = 0.02
"""Curves are kept while work and cap move by less than this share."""
_LEADS_KEPT = 4


def forecast_of(pool: Pool, memory: PoolMemory, lead: float, at_seconds: float) -> DemandForecast | None:
    """Ask the forecaster, or repeat what it said of the same minute unless the rate has climbed since."""
    window = pool.settings.rate_window_seconds
    rate = memory.window.rate(window) or 0.0
    cached = memory.forecasts.get(lead)
    if cached is not None and cached.minute_end_seconds == memory.fed_until_seconds and rate <= cached.rate:
        return cached.forecast
    forecast = memory.forecaster.forecast(
        at_seconds=at_seconds,
        lead_time_seconds=lead,
        last_minute_per_second=rate,
        last_half_minute_per_second=memory.window.rate(window / 2.0),
    )
    if len(memory.forecasts) > _LEADS_KEPT:
        memory.forecasts.clear()
    memory.forecasts[lead] = CachedForecast(memory.fed_until_seconds, rate, forecast)
    return forecast


def curves_of(
    pool: Pool,
    role: Role,
    forecast: DemandForecast | None,
    rate: float,
    burstiness: float,
    work: ReplicaWork,
    memory: PoolMemory,
) -> CachedCurves:
    """Return the miss curves at the lead time and up to it; without a forecast both are of the present rate."""
    demand: tuple[object, ...] = (_step(rate),) if forecast is None else _demand_key(forecast)
    key = (demand, _step(work.seconds(role)), _step(work.batch), round(burstiness, 2), pool.slo)
    cached = memory.curves.get(role)
    if cached is not None and cached.key == key:
        return cached
    if forecast is None:
        curve = miss_curve(role, certain(rate), burstiness, work, pool.slo)
        cached = CachedCurves(key, curve, curve)
    else:
        order = demand_nodes(forecast.at_horizon, forecast.rate_cap)
        release = demand_nodes(forecast.maximum, forecast.rate_cap)
        cached = CachedCurves(key, *miss_curves(role, (order, release), burstiness, work, pool.slo))
    memory.curves[role] = cached
    return cached


def _demand_key(forecast: DemandForecast) -> tuple[object, ...]:
    return (forecast.at_horizon, forecast.maximum, _step(forecast.rate_cap))


def _step(value: float) -> int:
    return round(math.log(max(value, 1e-9)) / _CACHE_STEP)
