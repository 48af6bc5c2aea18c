"""Token counts: fast means, deciles, contexts."""

import numpy as np
import pytest

from forebay.flow.observation import LengthHistogram
from forebay.sizing.lengths import PRIOR_INPUT_TOKENS, PRIOR_OUTPUT_TOKENS, LengthTracker

EDGES = tuple(float(e) for e in np.unique(np.rint(16 * 2 ** (np.arange(0, 57) / 4))))


def _arrive(tracker: LengthTracker, mean: float, requests: float = 300.0, cached: float = 0.0) -> None:
    tracker.arrived(
        requests=requests,
        input_tokens=mean * requests,
        cached_tokens=cached * requests,
        elapsed=15.0,
        half_life=180.0,
    )


def _histogram(tokens: "np.ndarray") -> LengthHistogram:
    counts = np.bincount(np.searchsorted(EDGES, tokens), minlength=len(EDGES))
    return LengthHistogram(upper_tokens=EDGES, counts=tuple(float(c) for c in counts))


def test_until_lengths_are_seen_they_are_those_of_public_chat_traffic() -> None:
    tracker = LengthTracker()
    lengths = tracker.current()
    assert not tracker.known
    assert (lengths.input_tokens, lengths.output_tokens) == (PRIOR_INPUT_TOKENS, PRIOR_OUTPUT_TOKENS)
    assert lengths.context_tokens == pytest.approx(PRIOR_INPUT_TOKENS + 0.9 * PRIOR_OUTPUT_TOKENS)


def test_a_shift_is_half_followed_after_the_half_life() -> None:
    tracker = LengthTracker()
    _arrive(tracker, 1000.0)
    for _ in range(12):
        _arrive(tracker, 2000.0)
    assert tracker.current().input_tokens == pytest.approx(1500.0)


def test_few_requests_move_the_mean_less() -> None:
    many, few = LengthTracker(), LengthTracker()
    for tracker, requests in ((many, 300.0), (few, 3.0)):
        _arrive(tracker, 1000.0)
        _arrive(tracker, 3000.0, requests)
    assert few.current().input_tokens < many.current().input_tokens


def test_cached_tokens_are_no_work_but_fill_the_kv_cache() -> None:
    tracker = LengthTracker()
    _arrive(tracker, 1000.0, cached=600.0)
    lengths = tracker.current()
    assert lengths.input_tokens == pytest.approx(400.0)
    assert lengths.context_tokens == pytest.approx(1000.0 + 0.9 * PRIOR_OUTPUT_TOKENS)


def test_a_measured_context_replaces_the_computed_one() -> None:
    tracker = LengthTracker()
    tracker.running(sequences=2.0, kv_tokens=1e6)
    assert tracker.measured_context is None
    tracker.running(sequences=20.0, kv_tokens=30_000.0)
    assert tracker.current().context_tokens == pytest.approx(1500.0)


def test_deciles_and_variability_come_from_the_histogram() -> None:
    tokens = np.clip(np.random.default_rng(0).lognormal(6.6, 1.0, 20_000), 16, 16_000)
    tracker = LengthTracker()
    _arrive(tracker, float(tokens.mean()))
    tracker.histogram(_histogram(tokens), 15.0)
    lengths = tracker.current()
    expected = np.quantile(tokens, (np.arange(10) + 0.5) / 10)
    np.testing.assert_allclose(lengths.input_sample, expected, rtol=0.06)
    assert lengths.squared_ratio == pytest.approx(float(np.mean(tokens**2) / tokens.mean() ** 2), rel=0.03)


def test_old_prompts_fade_and_new_bounds_start_afresh() -> None:
    tracker = LengthTracker()
    tracker.histogram(_histogram(np.full(1000, 100.0)), 15.0)
    tracker.histogram(_histogram(np.full(1000, 4000.0)), 3000.0)
    assert tracker.current().input_sample[0] > 3000.0
    tracker.histogram(LengthHistogram(upper_tokens=(10.0, float("inf")), counts=(50.0, 50.0)), 15.0)
    sample = tracker.current().input_sample
    assert sample[0] <= 10.0
    assert 10.0 < sample[-1] <= 20.0


def test_the_first_few_requests_do_not_stand_for_minutes() -> None:
    """The shortest answers finish first; at a low rate they must not be the mean for long."""
    tracker = LengthTracker()
    tracker.finished(requests=3.0, output_tokens=30.0, elapsed=15.0, half_life=180.0)
    for _ in range(12):
        tracker.finished(requests=5.0, output_tokens=1000.0, elapsed=15.0, half_life=180.0)
    plain_mean = (30.0 + 12 * 1000.0) / 63.0
    assert tracker.output_tokens == pytest.approx(plain_mean)


def test_a_handful_of_prompts_tells_no_distribution() -> None:
    """Protects: a pool that had just been seen was sized as if all prompts were as long as its first two."""
    tracker = LengthTracker()
    usual = tracker.current().input_sample
    tracker.histogram(LengthHistogram(upper_tokens=(1000.0, 8000.0, float("inf")), counts=(0.0, 2.0, 0.0)), 15.0)
    assert tracker.current().input_sample == usual
    tracker.histogram(LengthHistogram(upper_tokens=(1000.0, 8000.0, float("inf")), counts=(0.0, 40.0, 0.0)), 15.0)
    assert min(tracker.current().input_sample) > 1000.0
