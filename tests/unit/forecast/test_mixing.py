"""Weights follow losses, and coverage follows its level."""

import numpy as np
import pytest

from forebay.forecast.mixing import MATURE, CoverageOffset, ExpertMixture, LayerMixture

ROW = np.array([0])


def test_layers_that_err_in_opposite_ways_are_blended() -> None:
    """Two biased medians around the truth: the best layer errs by .5, the right blend by nothing."""
    mixture = LayerMixture(1, 3, period=1)
    layers = np.array([[[-0.5] * 3, [0.5] * 3, [4.0] * 3]])
    rng = np.random.default_rng(0)
    for _ in range(2000):
        mixture.score(ROW, layers, 0.05 * rng.standard_normal(1))
    weights = mixture.weights[0, :, 0]
    assert weights.sum() == pytest.approx(1.0)
    assert abs(mixture.combine(ROW, layers)[0, 0]) < 0.2
    assert weights[2] < 0.1


def test_the_offset_brings_coverage_to_its_level() -> None:
    rng = np.random.default_rng(1)
    offset = CoverageOffset(1, period=1)
    hits = []
    for _ in range(6000):
        issued = offset.apply(ROW, np.zeros((1, 3)))
        value = rng.standard_normal(1)
        hits.append(value[0] <= issued[0])
        offset.score(ROW, issued, value)
    assert np.mean(hits[1000:], axis=0) == pytest.approx([0.5, 0.9, 0.99], abs=0.01)


def test_the_better_expert_gets_the_weight_and_an_absent_one_none() -> None:
    experts = ExpertMixture(1, 3, weight=0.01)
    opinions = np.array([[[0.5] * 3, [0.1] * 3, [np.nan] * 3]])
    assert experts.weights(ROW, opinions)[0, 0, 0] == pytest.approx(0.9 / 0.95)
    for _ in range(MATURE + 5):
        experts.score(ROW, opinions, np.zeros(1))
    weights = experts.weights(ROW, opinions)
    assert weights[0, 1, 0] > 0.99
    assert weights[0, 2].max() == 0.0
    assert experts.combine(ROW, opinions)[0, 0] == pytest.approx(0.1, abs=0.01)
