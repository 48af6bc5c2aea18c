"""Forecasters that have seen days, for a fleet that has run for seconds: memory is measured as it will be."""

import numpy as np

from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import Forecaster
from forebay.forecast.resolution import ONE_MINUTE
from tests.benchmarks.operator_fleet.answers import HIGHEST_RATE, LOWEST_RATE, requests_per_second
from tests.benchmarks.operator_fleet.inprocess import InProcess

ROUNDS_BEFORE_AGEING = 3
"""Enough to know which lead times are asked for."""
_RATES = np.linspace(LOWEST_RATE, HIGHEST_RATE, 8)
"""Each pool gets the past of the rate that is nearest to its own."""
_MINUTES_PER_DAY = 1440


def age(fleet: InProcess, days: int) -> None:
    """Give every pool that has decided once a forecaster with a past of ``days``, for its lead times."""
    snapshots: dict[tuple[float, ...], bytes] = {}
    state = fleet.loop._decider._state
    for key, memory in state._pools.items():
        rate = requests_per_second(float(key.name.rpartition("-")[2]))
        nearest = float(_RATES[np.abs(_RATES - rate).argmin()])
        leads = tuple(sorted(set(memory.leads.values())))
        past = snapshots.get((nearest, *leads))
        if past is None:
            past = snapshots[nearest, *leads] = _snapshot(fleet.now_seconds, days, leads, nearest)
        settings, resolution = memory.forecaster.settings, state._resolution(key)
        memory.forecaster = Forecaster.restore(past, settings, resolution=resolution)
        memory.forecasts.clear()


def _snapshot(now_seconds: float, days: int, leads: tuple[float, ...], rate: float) -> bytes:
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=leads, resolution=ONE_MINUTE)
    counts = _counts(days, rate, np.random.default_rng(round(100.0 * rate)))
    forecaster.warm(counts, start_index=int(now_seconds // 60.0) - len(counts))
    job = forecaster.job()
    while job is not None:
        forecaster.apply(job.run())
        job = forecaster.job()
    return forecaster.snapshot()


def _counts(days: int, rate: float, random: np.random.Generator) -> FloatArray:
    """Return requests per minute at a mean that stays, with noise beyond that of counting."""
    means = 60.0 * rate * np.exp(0.05 * random.standard_normal(days * _MINUTES_PER_DAY))
    return random.poisson(means).astype(np.float64)
