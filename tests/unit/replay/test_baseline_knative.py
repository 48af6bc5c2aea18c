"""Knative's stable and panic windows, by hand."""

import pytest

from forebay.offline.replay.baselines.knative import KnativeKpa


def panics(kpa: KnativeKpa) -> bool:
    return kpa.in_panic


def feed(kpa: KnativeKpa, start: float, stop: float, load: float, ready: float) -> int:
    wanted = 0
    at = start
    while at < stop:
        wanted = kpa.decide(at, load, ready)
        at += 2.0
    return wanted


def test_in_calm_the_stable_window_over_the_target_decides() -> None:
    kpa = KnativeKpa(0.7)
    assert feed(kpa, 0.0, 180.0, 2.1, 3.0) == 3
    assert feed(kpa, 180.0, 300.0, 2.2, 3.0) == 4
    assert not panics(kpa)


def test_panic_begins_when_six_seconds_ask_for_twice_the_ready_pods() -> None:
    kpa = KnativeKpa(0.7)
    feed(kpa, 0.0, 120.0, 2.1, 3.0)  # exactly three; the panic of the start is over
    assert not panics(kpa)
    assert kpa.decide(120.0, 3.0, 3.0) < 6  # one sample is a third of the panic window
    wanted = feed(kpa, 122.0, 130.0, 7.0, 3.0)
    assert panics(kpa)
    assert wanted == 10  # 7 / .7 of the last six seconds


def test_in_panic_nothing_is_taken_away_and_it_ends_a_stable_window_after_its_cause() -> None:
    kpa = KnativeKpa(0.7)
    feed(kpa, 0.0, 120.0, 2.1, 3.0)
    high = feed(kpa, 120.0, 130.0, 7.0, 3.0)
    assert feed(kpa, 130.0, 180.0, 0.7, 10.0) == high
    assert panics(kpa)
    assert feed(kpa, 180.0, 260.0, 0.7, 10.0) == 5  # at most halved
    assert not panics(kpa)


def test_it_starts_in_panic_with_more_than_one_pod() -> None:
    kpa = KnativeKpa(0.7)
    assert kpa.decide(2.0, 0.0, 8.0) == 8
    assert panics(kpa)
    single = KnativeKpa(0.7)
    single.decide(2.0, 0.0, 1.0)
    assert not panics(single)


@pytest.mark.parametrize(("ready", "floor"), [(9.0, 4), (1.0, 0)])
def test_scale_down_is_at_most_by_half_of_the_ready_pods(ready: float, floor: int) -> None:
    kpa = KnativeKpa(0.7)
    feed(kpa, 0.0, 100.0, 0.0, ready)
    assert feed(kpa, 100.0, 200.0, 0.0, ready) == floor
