"""Seeded traffic for the forecaster's tests, as requests per minute."""

import numpy as np

from forebay.flow.trace import FloatArray

DAY = 1440


def daily(
    days: float, *, mean: float = 600.0, swing: float = 0.5, noise: float = 0.05, seed: int = 0
) -> FloatArray:
    """Return a daily wave with correlated noise and Poisson counts."""
    rng = np.random.default_rng(seed)
    minutes = np.arange(int(days * DAY))
    level = mean * (1.0 + swing * np.sin(2.0 * np.pi * minutes / DAY - 1.5))
    drift = np.zeros(len(minutes))
    for k in range(1, len(minutes)):
        drift[k] = 0.9 * drift[k - 1] + noise * rng.standard_normal()
    return rng.poisson(level * np.exp(drift)).astype(np.float64)


def on_off(days: float, *, peak: float = 3600.0, seed: int = 0) -> FloatArray:
    """Return silence of 2 to 10 minutes between bursts of 1 to 5 minutes."""
    rng = np.random.default_rng(seed)
    counts: list[float] = []
    while len(counts) < int(days * DAY):
        counts += rng.poisson(0.03 * peak, int(rng.integers(2, 11))).astype(np.float64).tolist()
        height = peak * rng.uniform(0.8, 1.2)
        counts += rng.poisson(height, int(rng.integers(1, 6))).astype(np.float64).tolist()
    return np.array(counts[: int(days * DAY)])
