"""Quantile regression: the dual program finds what the definition asks for."""

import numpy as np
import pytest

from forebay.flow.trace import FloatArray
from forebay.forecast.linear_quantiles import fit_quantile


def loss(features: FloatArray, values: FloatArray, level: float, penalty: float, found: FloatArray) -> float:
    error = values - found[0] - features @ found[1:]
    return float(np.maximum(level * error, (level - 1.0) * error).mean() + penalty * np.abs(found[1:]).sum())


def test_an_intercept_alone_is_the_quantile() -> None:
    values = np.arange(101, dtype=np.float64)
    found = fit_quantile(np.zeros((101, 1)), values, 0.9)
    assert found[0] == pytest.approx(90.0, abs=1.0)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_no_step_away_from_the_answer_is_better(level: float) -> None:
    rng = np.random.default_rng(5)
    features = rng.standard_normal((300, 3))
    values = 1.0 + features @ np.array([0.5, -0.2, 0.0]) + np.abs(features[:, 1]) * rng.standard_normal(300)
    found = fit_quantile(features, values, level, 1e-3)
    best = loss(features, values, level, 1e-3, found)
    for _ in range(200):
        step = 0.05 * rng.standard_normal(4)
        assert loss(features, values, level, 1e-3, found + step) >= best - 1e-9


def test_a_large_penalty_leaves_the_intercept() -> None:
    rng = np.random.default_rng(6)
    features = rng.standard_normal((200, 2))
    found = fit_quantile(features, features[:, 0], 0.5, penalty=10.0)
    assert found[1:] == pytest.approx([0.0, 0.0], abs=1e-9)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_quantile(np.ones((50, 1)), np.full(50, np.nan), 0.5)
