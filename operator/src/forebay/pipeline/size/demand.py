"""Forecasts and miss curves of a pool, computed anew only when what they depend on has moved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.flow.fleet import Pool, Role
from forebay.flow.forecast import DemandForecast, Quantiles
from forebay.forecast.state import INLINE_STEPS
from forebay.pipeline.remember.absorb import FULL_STEP
from forebay.pipeline.remember.memory import CachedCurves, CachedForecast, PoolMemory
from forebay.pipeline.remember.turns import FEWEST_STEPS, Turns
from forebay.sizing.curve import CurveAsk, Curves, SizedCurve, certain, demand_nodes, miss_curves
from forebay.sizing.overload import with_overload
from forebay.sizing.price import misses_at_prices
from forebay.sizing.work import ReplicaWork

_CACHE_STEP = 0.02
"""Curves are kept while work and cap move by less than this share."""
_LEADS_KEPT = 4
_LARGEST_LIFT = 1.3
"""A forecast follows what it has not seen only so far; beyond, it is wrong and not late."""


def forecast_of(
    pool: Pool, memory: PoolMemory, lead: float, at_seconds: float, turns: Turns
) -> DemandForecast | None:
    """Ask the forecaster, or repeat what it said of the same minute unless the rate has climbed since.

    Its newest minute ended up to half a minute ago, and is half a minute old on average: on a steep ramp that is
    as much as a short lead time. So the forecast is raised by the share by which the last half-minute exceeds the
    minute it knows, as far as that is no noise. Never lowered: what looks like a fall may be noise, and waiting
    for it costs little.
    """
    window = pool.settings.rate_window_seconds
    rate = memory.window.rate(window) or 0.0
    cached = memory.forecasts.get(lead)
    if cached is not None and cached.minute_end_seconds == memory.fed_until_seconds and rate <= cached.rate:
        return _lifted(cached.forecast, memory, window)
    served = _served_lead(pool, memory, lead, turns)
    if served is None:
        return None
    forecast = memory.forecaster.forecast(
        at_seconds=at_seconds,
        lead_time_seconds=served,
        last_minute_per_second=rate,
        now_per_second=memory.window.now(window),
    )
    if len(memory.forecasts) > _LEADS_KEPT:
        memory.forecasts.clear()
    memory.forecasts[lead] = CachedForecast(memory.fed_until_seconds, rate, forecast)
    return _lifted(forecast, memory, window)


def _served_lead(pool: Pool, memory: PoolMemory, lead: float, turns: Turns) -> float | None:
    """Return the lead time to ask the forecaster for, ``None`` while it cannot answer.

    A lead time that it has no state for makes it replay what it has seen. Where a whole fleet asks for that in the
    same round (it has just started, or a node pool's lead time has moved), the pools take turns: who waits is told
    of the nearest longer lead time that is known, or goes on by the present rate.
    """
    forecaster, settings = memory.forecaster, pool.settings
    known = forecaster.horizons
    horizon = forecaster.horizon(lead)
    if horizon in known or not settings.forecast_enabled or memory.known_steps > INLINE_STEPS:
        return lead
    if not known and settings.known_loads:
        return lead
    if not known and memory.known_steps < FEWEST_STEPS:
        return None
    if turns.take(memory.known_steps):
        return lead
    if not known:
        return None
    nearest = min((each for each in known if each >= horizon), default=max(known))
    return (nearest - 1.0) * forecaster.resolution.step_seconds


def _lifted(forecast: DemandForecast | None, memory: PoolMemory, window_seconds: float) -> DemandForecast | None:
    """Return ``forecast`` raised by how much the last half-window is surely above the minute it was made of."""
    known_until = memory.fed_until_seconds
    if forecast is None or known_until is None:
        return forecast
    step = memory.forecaster.resolution.step_seconds
    arrivals, covered = memory.window.window(known_until - step, known_until)
    if covered < FULL_STEP * step:
        return forecast
    known = arrivals / covered
    factor = memory.window.surely_above(known, covered, window_seconds / 2.0, memory.burstiness.value)
    steps = math.floor(math.log(max(1.0, min(factor or 1.0, _LARGEST_LIFT))) / _CACHE_STEP + 0.5)
    if steps == 0:
        return forecast
    lift = math.exp(steps * _CACHE_STEP)
    cap = max(forecast.rate_cap, lift * known)
    return replace(
        forecast,
        at_horizon=_times(forecast.at_horizon, lift, cap),
        maximum=_times(forecast.maximum, lift, cap),
        rate_cap=cap,
    )


def _times(quantiles: Quantiles, factor: float, cap: float) -> Quantiles:
    return Quantiles(*(min(cap, factor * rate) for rate in (quantiles.q50, quantiles.q90, quantiles.q99)))


@dataclass(slots=True)
class RoleCurves:
    """The curves that one role is sized by: those of the present rate, and kept ones of the forecast."""

    present: CurveAsk
    key: tuple[object, ...]
    kept: CachedCurves | None
    """Curves of an earlier round that still hold."""
    anew: CurveAsk
    """What to compute where none hold; without a forecast, that of the present rate."""

    @property
    def asks(self) -> tuple[CurveAsk, ...]:
        """Return what has to be computed."""
        return (self.present,) if self.kept is not None or self.anew is self.present else (self.present, self.anew)

    def take(
        self, role: Role, found: Mapping[int, Curves], memory: PoolMemory, request_seconds: float
    ) -> CachedCurves:
        """Return the curves at the lead time and up to it, and keep them; ``found`` has what was asked by id."""
        if self.kept is None:
            curves = _with_overload(self.anew, found)
            at_prices = misses_at_prices(curves[0], request_seconds, self.anew.demands[0].mean)
            self.kept = memory.curves[role] = CachedCurves(self.key, curves[0], curves[-1], at_prices)
        return self.kept

    def at_present(self, found: Mapping[int, Curves]) -> SizedCurve:
        """Return the curve of the present rate."""
        return _with_overload(self.present, found)[0]


def _with_overload(ask: CurveAsk, found: Mapping[int, Curves]) -> list[SizedCurve]:
    seconds = ask.work.seconds(ask.role)
    return [
        with_overload(curve, demand, seconds) for curve, demand in zip(found[id(ask)], ask.demands, strict=True)
    ]


def curves_ahead(asks: Sequence[CurveAsk]) -> list[SizedCurve]:
    """Return the curves of asks that have one demand each."""
    return [
        with_overload(curve, ask.demands[0], ask.work.seconds(ask.role))
        for ask, (curve,) in zip(asks, miss_curves(asks) if asks else (), strict=True)
    ]


def role_curves(
    pool: Pool,
    role: Role,
    forecast: DemandForecast | None,
    rate: float,
    burstiness: float,
    work: ReplicaWork,
    memory: PoolMemory,
) -> RoleCurves:
    """Return which curves a role needs; without a forecast those ahead are of the present rate, too."""
    demand: tuple[object, ...] = (_step(rate),) if forecast is None else _demand_key(forecast)
    key = (demand, _step(work.seconds(role)), _step(work.batch), round(burstiness, 2), pool.slo)
    present = CurveAsk(role, (certain(rate),), burstiness, work, pool.slo)
    cached = memory.curves.get(role)
    kept = cached if cached is not None and cached.key == key else None
    if kept is not None or forecast is None:
        return RoleCurves(present, key, kept, present)
    order = demand_nodes(forecast.at_horizon, forecast.rate_cap)
    release = demand_nodes(forecast.maximum, forecast.rate_cap)
    return RoleCurves(present, key, None, CurveAsk(role, (order, release), burstiness, work, pool.slo))


def _demand_key(forecast: DemandForecast) -> tuple[object, ...]:
    return (forecast.at_horizon, forecast.maximum, _step(forecast.rate_cap))


def _step(value: float) -> int:
    return round(math.log(max(value, 1e-9)) / _CACHE_STEP)
