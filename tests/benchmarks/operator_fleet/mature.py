"""Forecasters that have seen days, for a fleet that has run for seconds: memory is measured as it will be."""

import numpy as np

from forebay.flow.settings import PolicySettings
from forebay.flow.trace import FloatArray
from forebay.forecast import Forecaster
from forebay.forecast.resolution import ONE_MINUTE
from tests.benchmarks.operator_fleet.inprocess import InProcess

ROUNDS_BEFORE_AGEING = 3
"""Enough to know which lead times are asked for."""
_SERIES = 4
_MINUTES_PER_DAY = 1440


def age(fleet: InProcess, days: int) -> None:
    """Give every pool that has decided once a forecaster with a past of ``days``, and the lead times that it has.

    A few series stand for all: what is restored from a snapshot takes memory of its own, which does not depend
    on the values in it.
    """
    snapshots: dict[tuple[float, ...], list[bytes]] = {}
    state = fleet.loop._state
    for number, (key, memory) in enumerate(state._pools.items()):
        leads = tuple(sorted(set(memory.leads.values())))
        past = snapshots.setdefault(leads, [])
        if len(past) < _SERIES:
            past.append(_snapshot(fleet.now_seconds, days, leads, seed=len(past)))
        memory.forecaster = Forecaster.restore(
            past[number % len(past)],
            memory.forecaster.settings,
            resolution=state._resolution(key),
        )
        memory.forecasts.clear()


def _snapshot(now_seconds: float, days: int, leads: tuple[float, ...], *, seed: int) -> bytes:
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=leads, resolution=ONE_MINUTE)
    counts = _days(days, np.random.default_rng(seed))
    forecaster.warm(counts, start_index=int(now_seconds // 60.0) - len(counts))
    job = forecaster.job()
    while job is not None:
        forecaster.apply(job.run())
        job = forecaster.job()
    return forecaster.snapshot()


def _days(days: int, random: np.random.Generator) -> FloatArray:
    """Return requests per minute of a day that repeats, with noise beyond that of counting."""
    minutes = np.arange(days * _MINUTES_PER_DAY)
    rate = 600.0 * (1.0 + 0.6 * np.sin(2.0 * np.pi * minutes / _MINUTES_PER_DAY))
    noisy = rate * np.exp(0.1 * random.standard_normal(len(minutes)))
    return random.poisson(noisy).astype(np.float64)
