"""The HPA's arithmetic, by hand."""

from hypothesis import given
from hypothesis import strategies as st

from forebay.offline.replay.baselines.common.hpa_rules import HpaRules, from_pods, from_total


def test_within_tolerance_nothing_changes() -> None:
    assert from_pods(replicas=10, ready=10, starting=0, mean_use=0.86, target=0.8) == 10
    assert from_pods(replicas=10, ready=10, starting=0, mean_use=0.73, target=0.8) == 10
    assert from_total(replicas=10, total=108.0, per_replica=10.0) == 10


def test_beyond_tolerance_the_ratio_decides() -> None:
    assert from_pods(replicas=10, ready=10, starting=0, mean_use=0.96, target=0.8) == 12
    assert from_pods(replicas=10, ready=10, starting=0, mean_use=0.4, target=0.8) == 5
    assert from_total(replicas=10, total=121.0, per_replica=10.0) == 13


def test_starting_pods_count_as_unused_when_scaling_out() -> None:
    assert from_pods(replicas=12, ready=8, starting=4, mean_use=1.0, target=0.5) == 16
    assert from_pods(replicas=16, ready=8, starting=8, mean_use=1.0, target=0.5) == 16


def test_starting_pods_never_turn_scale_out_into_scale_in() -> None:
    assert from_pods(replicas=20, ready=4, starting=16, mean_use=1.0, target=0.8) == 20


def test_scale_in_waits_for_the_highest_recommendation_of_five_minutes() -> None:
    rules = HpaRules(10)
    assert rules.apply(15.0, 4) == 10
    assert rules.apply(165.0, 7) == 10
    assert rules.apply(314.0, 3) == 10  # the initial ten count for 300 s
    assert rules.apply(316.0, 3) == 7
    assert rules.apply(470.0, 3) == 3


def test_scale_out_is_not_delayed_and_at_most_doubles_or_adds_four_per_fifteen_seconds() -> None:
    rules = HpaRules(2)
    assert rules.apply(15.0, 50) == 6
    assert rules.apply(30.0, 50) == 12
    assert rules.apply(45.0, 50) == 24
    assert rules.apply(60.0, 50) == 48
    assert rules.apply(75.0, 50) == 50


def test_two_syncs_in_one_period_share_its_limit() -> None:
    rules = HpaRules(10)
    assert rules.apply(15.0, 15) == 15
    assert rules.apply(20.0, 100) == 20


def test_never_below_the_least() -> None:
    rules = HpaRules(3)
    for sync in range(1, 40):
        rules.apply(15.0 * sync, 0)
    assert rules.replicas == 1


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(1, 50))
def test_steps_stay_within_limits(recommendations: list[int], start: int) -> None:
    rules = HpaRules(start)
    before = start
    seen = [start]
    for sync, recommended in enumerate(recommendations, 1):
        now = rules.apply(15.0 * sync, recommended)
        seen.append(recommended)
        assert 1 <= now <= max(before, before + 4, 2 * before)
        if now < before:
            assert now >= max(1, *seen[-20:])  # 20 syncs of 15 s are the window
        before = now
