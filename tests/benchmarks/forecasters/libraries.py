"""Forecasting libraries beside ours, where they are installed (they are no dependency of this project).

They are slow, so they forecast at every so many-th origin; the table scores the baseline at the same origins.
"""

import importlib.util
from typing import Any

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast import Resolution
from tests.benchmarks.forecasters.peers import to_log

ORIGINS = 120
"""About this many origins after the third day."""
POINTS = 720


def available() -> bool:
    """Return whether statsforecast can be imported."""
    return importlib.util.find_spec("statsforecast") is not None


def auto_ets(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
    """AutoETS on the last 720 points in log space, its own 80 % and 98 % intervals; NaN between origins."""
    models: Any = importlib.import_module("statsforecast.models")
    z, scale = to_log(counts)
    start = 3 * resolution.steps_per_day
    found = np.full((len(z), 3), np.nan)
    for t in range(start, len(z) - horizon, max(1, (len(z) - start) // ORIGINS)):
        model = models.AutoETS(season_length=1)
        answer = model.forecast(y=z[max(0, t - POINTS + 1) : t + 1], h=horizon, level=[80, 98])
        found[t] = (answer["mean"][-1], answer["hi-80"][-1], answer["hi-98"][-1])
    return np.asarray(scale * np.expm1(np.clip(found, 0.0, 50.0)))
