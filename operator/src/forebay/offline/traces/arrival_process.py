"""Arrivals from an intensity: a doubly stochastic Poisson process in short slots.

The given intensity (mean requests per second of each bin) is multiplied by ``exp(x)`` with ``x`` a stationary
AR(1) process, which gives the correlated swings of seconds to minutes that real traffic has beyond Poisson, and
counts are drawn per slot: Poisson, or negative binomial with a given index of dispersion, which is what
Gamma-distributed inter-arrival times of coefficient of variation ``sqrt(dispersion)`` give in the long run
(BurstGPT, arXiv 2401.17644, and ServeGen, arXiv 2505.09999, fit such arrivals to production traffic).
"""

from dataclasses import dataclass

import numpy as np

from forebay.flow.trace import FloatArray, IntArray

SLOT_SECONDS = 5.0
SLOTS_PER_MINUTE = 12
COARSE_BIN_SECONDS = 120.0
"""Bins longer than this are joined by straight lines; shorter ones are steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityNoise:
    """Log-intensity noise inside bins: AR(1) with standard deviation and time constant."""

    log_sd: float = 0.08
    time_constant_seconds: float = 25.0


MINUTE_NOISE = IntensityNoise(log_sd=0.08, time_constant_seconds=25.0)
"""For bins of a minute or so, whose slower swings are in the bins themselves."""
COARSE_NOISE = IntensityNoise(log_sd=0.15, time_constant_seconds=120.0)
"""For bins of many minutes. An assumption: such files do not tell what happened inside."""


def slot_rates(bin_rates: FloatArray, bin_seconds: float) -> FloatArray:
    """Return requests per second for each 5 s slot of the bins.

    Coarse bins are joined by lines between their centres (flat before the first and after the last), then rescaled
    to keep the mean of the whole.
    """
    slots = max(1, round(len(bin_rates) * bin_seconds / SLOT_SECONDS))
    centres = (np.arange(slots) + 0.5) * SLOT_SECONDS
    if bin_seconds <= COARSE_BIN_SECONDS:
        index = np.minimum((centres / bin_seconds).astype(np.int64), len(bin_rates) - 1)
        return np.asarray(bin_rates[index], dtype=np.float64)
    knots = (np.arange(len(bin_rates)) + 0.5) * bin_seconds
    rates: FloatArray = np.interp(centres, knots, bin_rates)
    mean = rates.mean()
    return rates * (bin_rates.mean() / mean) if mean > 0 else rates


def noise_factors(count: int, noise: IntensityNoise, rng: np.random.Generator) -> FloatArray:
    """Return ``count`` consecutive factors ``exp(x)`` per slot, of mean 1."""
    if noise.log_sd == 0 or count == 0:
        return np.ones(count)
    keep = float(np.exp(-SLOT_SECONDS / noise.time_constant_seconds))
    shocks = rng.standard_normal(count) * np.sqrt(1 - keep**2)
    shocks[0] = rng.standard_normal()
    state = np.empty(count)
    level = 0.0
    for index, shock in enumerate(shocks.tolist()):
        level = keep * level + shock
        state[index] = level
    return np.asarray(np.exp(noise.log_sd * state - noise.log_sd**2 / 2), dtype=np.float64)


def draw_counts(means: FloatArray, dispersion: float, rng: np.random.Generator) -> IntArray:
    """Return counts per slot with the given means and variance ``dispersion`` times the mean (1 = Poisson)."""
    if dispersion <= 1:
        return rng.poisson(means).astype(np.int64)
    mixed = rng.gamma(np.maximum(means, 1e-12) / (dispersion - 1), dispersion - 1)
    return rng.poisson(mixed).astype(np.int64)


def place(counts: IntArray, rng: np.random.Generator) -> FloatArray:
    """Return sorted arrival times, uniform inside their slots; slot 0 starts at 0."""
    starts = np.repeat(np.arange(len(counts)) * SLOT_SECONDS, counts)
    times = starts + rng.random(len(starts)) * SLOT_SECONDS
    # Slots are in order already: a stable sort of nearly sorted values is quick.
    return np.sort(times, kind="stable")


def minute_counts(counts: IntArray) -> FloatArray:
    """Return requests per whole minute; a begun first minute is left out."""
    whole = len(counts) - len(counts) % SLOTS_PER_MINUTE
    sums = counts[len(counts) - whole :].reshape(-1, SLOTS_PER_MINUTE).sum(axis=1)
    return np.asarray(sums, dtype=np.float64)
