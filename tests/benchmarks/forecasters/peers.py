"""What others forecast with, in a few lines each, on the same causal footing: the value of step t is known at t.

Each takes the counts (no gaps) and returns quantiles (.5, .9, .99) for every origin and horizon. Point forecasters
get the same wrapper: quantiles of their own recent errors in log space, with the level adapted to the coverage
(adaptive conformal inference, Gibbs and Candes 2021).
"""

import math
from collections.abc import Callable

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast import Resolution
from forebay.forecast.resolution import QUANTILE_LEVELS
from tests.benchmarks.forecasters.window import QuantileWindow

Points = Callable[[FloatArray, Resolution, int], FloatArray]
"""Counts, resolution and horizon to point forecasts in counts, one per origin."""
ERRORS_KEPT = {60: 1440, 600: 720}
"""By seconds per step: a day of minutes, five days of ten minutes."""
LEVEL_BOUNDS = ((0.3, 0.7), (0.7, 0.985), (0.95, 0.9995))


def to_log(counts: FloatArray) -> tuple[FloatArray, float]:
    """Return log1p(counts / scale) and the scale, the mean of the first day."""
    scale = max(1.0, float(counts[:144].mean()))
    return np.log1p(counts / scale), scale


def persistence(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
    """Last value plus quantiles of its last errors (a day of minutes, five of ten minutes): the baseline."""
    z, scale = to_log(counts)
    window = QuantileWindow(ERRORS_KEPT[resolution.step_seconds])
    found = np.full((len(z), 3), np.nan)
    for t in range(len(z)):
        if t >= horizon:
            window.push(float(z[t] - z[t - horizon]))
        if len(window) >= 10:
            found[t] = z[t] + np.array(window.quantiles(QUANTILE_LEVELS))
    return np.asarray(scale * np.expm1(np.maximum(found, 0.0)))


def with_adaptive_levels(points: Points) -> Callable[[FloatArray, Resolution, int], FloatArray]:
    """Return a quantile forecaster made of a point forecaster."""

    def forecast(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
        scale = to_log(counts)[1]
        z = np.log1p(counts / scale)
        point = np.log1p(np.maximum(points(counts, resolution, horizon), 0.0) / scale)
        window = QuantileWindow(ERRORS_KEPT[resolution.step_seconds])
        levels = list(QUANTILE_LEVELS)
        found = np.full((len(z), 3), np.nan)
        for t in range(len(z)):
            origin = t - horizon
            if origin >= 0 and math.isfinite(point[origin]):
                window.push(float(z[t] - point[origin]))
                for k, (low, high) in enumerate(LEVEL_BOUNDS):
                    if math.isfinite(found[origin, k]):
                        hit = z[t] <= found[origin, k]
                        levels[k] = min(high, max(low, levels[k] + 0.01 * (QUANTILE_LEVELS[k] - hit)))
            if len(window) >= 10 and math.isfinite(point[t]):
                found[t] = np.maximum.accumulate(point[t] + np.array(window.quantiles(levels)))
        return np.asarray(scale * np.expm1(np.maximum(found, 0.0)))

    return forecast


def seasonal_naive(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
    """Yesterday at the target's time."""
    day = resolution.steps_per_day
    found = np.full(len(counts), np.nan)
    found[day - horizon :] = counts[: len(counts) - day + horizon]
    return found


def damped_holt(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
    """Level and damped trend in log space (gains .25, .02, damping .9)."""
    z, scale = to_log(counts)
    level, trend = float(z[0]), 0.0
    ahead = sum(0.9**k for k in range(1, horizon + 1))
    found = np.empty(len(z))
    for t, value in enumerate(z.tolist()):
        expected = level + 0.9 * trend
        level = expected + 0.25 * (value - expected)
        trend = 0.9 * trend + 0.02 * (value - expected)
        found[t] = level + ahead * trend
    return np.asarray(scale * np.expm1(np.clip(found, 0.0, 50.0)))


def kalman(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
    """Local linear trend on raw counts with the defaults of Dynamo's planner (q 1 and .1, r 10)."""
    transition = np.array([[1.0, 1.0], [0.0, 1.0]])
    state, covariance = np.array([counts[0], 0.0]), 1000.0 * np.eye(2)
    gain = np.zeros(2)
    found = np.empty(len(counts))
    for t, value in enumerate(counts.tolist()):
        state = transition @ state
        if t < 300:  # The gain has converged by then.
            covariance = transition @ covariance @ transition.T + np.diag([1.0, 0.1])
            gain = covariance[:, 0] / (covariance[0, 0] + 10.0)
            covariance = covariance - np.outer(gain, covariance[0])
        state = state + gain * (value - state[0])
        found[t] = state[0] + horizon * state[1]
    return found


def trend_of_50(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
    """Trend with 25 ridge-penalised change points on the last 50 points: Prophet's form in Dynamo's window."""
    window = 50
    x = np.arange(window) / window
    knots = np.linspace(0.0, 0.8, 26)[1:]
    design = np.column_stack([np.ones(window), x, np.maximum(x[:, None] - knots, 0.0)])
    penalty = np.diag([0.0, 0.04, *np.full(len(knots), 4.0)])
    at = (window - 1 + horizon) / window
    target = np.concatenate([[1.0, at], np.maximum(at - knots, 0.0)])
    weights = target @ np.linalg.solve(design.T @ design + penalty, design.T)
    found = np.full(len(counts), np.nan)
    found[window - 1 :] = np.convolve(counts, weights[::-1], mode="valid")
    return found


def last_hour_percentile(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
    """Percentiles of the values of the last hour (six values at ten minutes)."""
    size = 3600 // resolution.step_seconds
    found = np.empty((len(counts), 3))
    for t in range(len(counts)):
        recent = counts[max(0, t - size + 1) : t + 1]
        places = np.clip((len(recent) + 1) * np.array(QUANTILE_LEVELS) - 1.0, 0.0, len(recent) - 1.0)
        found[t] = np.interp(places, np.arange(len(recent)), np.sort(recent))
    return found


def decayed_histogram(counts: FloatArray, resolution: Resolution, horizon: int) -> FloatArray:
    """Percentiles of a histogram with 5 % buckets and a half-life of 24 h, as the VPA's recommender keeps it."""
    edges = np.cumsum(1.05 ** np.arange(400))
    weights = np.zeros(len(edges) + 1)
    decay = 0.5 ** (1.0 / resolution.steps_per_day)
    unit = max(1.0, float(counts[:144].mean())) / 1000.0
    found = np.empty((len(counts), 3))
    for t, bucket in enumerate(np.searchsorted(edges, counts / unit).tolist()):
        weights *= decay
        weights[bucket] += 1.0
        total = np.cumsum(weights)
        chosen = np.searchsorted(total, np.array(QUANTILE_LEVELS) * total[-1])
        found[t] = edges[np.minimum(chosen, len(edges) - 1)] * unit
    return found


PEERS: dict[str, Callable[[FloatArray, Resolution, int], FloatArray]] = {
    "persistence + window": persistence,
    "damped Holt": with_adaptive_levels(damped_holt),
    "Kalman (Dynamo's defaults)": with_adaptive_levels(kalman),
    "trend of 50 points (Prophet's form)": with_adaptive_levels(trend_of_50),
    "last-hour percentile": last_hour_percentile,
    "decayed histogram (VPA)": decayed_histogram,
    "seasonal naive": with_adaptive_levels(seasonal_naive),
}
