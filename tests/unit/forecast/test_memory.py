"""What a forecaster keeps: bounded, grown as it fills, and held once for both half minutes."""

import copy
import tracemalloc

import numpy as np
import pytest

from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.forecast.rings import StepRing

DAY = 1440


def kilobytes_after(minutes: int, *, leads: tuple[float, ...] = (60.0,)) -> float:
    """Return what a forecaster holds after ``minutes`` of history and half an hour of half-minutes."""
    counts = np.random.default_rng(5).poisson(60.0, minutes).astype(float)
    forecaster = Forecaster(PolicySettings(), lead_times_seconds=leads)
    forecaster.warm(counts, start_index=1000 * DAY)
    forecaster.prepare(())
    for half in range(60):
        forecaster.update((1000 * DAY + minutes) * 60.0 + half * 30.0, 60.0)
    assert forecaster.horizons
    tracemalloc.start()
    copied = copy.deepcopy(forecaster)  # only what is alive, and traced without slowing the steps down
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert copied.horizons
    return held / 1000.0


def test_a_young_forecaster_is_small() -> None:
    """A fleet of thousands is young at the same time, after a start without history."""
    assert kilobytes_after(10) < 60.0


def test_memory_grows_with_history_and_horizons_and_stays_bounded() -> None:
    day = kilobytes_after(DAY)
    assert day < 85.0
    assert kilobytes_after(2 * DAY) < 95.0
    assert kilobytes_after(DAY, leads=(60.0, 200.0)) < 1.8 * day


def test_a_ring_keeps_the_newest_steps_and_no_more() -> None:
    ring = StepRing(100, np.float32)
    for index in range(1000, 1250):
        ring[index] = float(index)
    assert ring.between(1150, 1250) == pytest.approx(np.arange(1150.0, 1250.0))
    assert ring.nbytes == 400


def test_a_ring_is_as_small_as_what_was_set_and_the_rest_is_unknown() -> None:
    ring = StepRing(100_000, np.float32)
    ring[7] = 1.0
    ring[9] = 3.0
    assert ring.nbytes < 1000
    assert ring[7] == 1.0
    assert np.isnan(ring[8])
    assert np.isnan(ring[5000])
    assert ring.between(6, 11) == pytest.approx(np.array([np.nan, 1.0, np.nan, 3.0, np.nan]), nan_ok=True)
