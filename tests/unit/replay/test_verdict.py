"""The verdict's sentence is true to the numbers."""

import pytest

from forebay.offline.replay.jobs.outcome import RunKind
from forebay.offline.replay.results.verdict import Result, remarks, verdict
from tests.unit.replay.outcomes import outcome


def test_a_win_says_by_how_much() -> None:
    found = verdict(
        [outcome("forebay", cost=80, attained=0.995), outcome("hpa", cost=100, attained=0.992)], target=0.99
    )
    assert found.result is Result.WIN
    assert "20 % less than the cheapest other policy that meets it (hpa, $100.00)" in found.sentence


def test_a_loss_on_cost_is_a_loss() -> None:
    found = verdict(
        [outcome("forebay", cost=110, attained=0.999), outcome("hpa", cost=100, attained=0.99)], target=0.99
    )
    assert found.result is Result.LOSS
    assert "10 % more than" in found.sentence


def test_missing_the_target_is_a_loss_where_another_meets_it() -> None:
    found = verdict(
        [outcome("forebay", cost=50, attained=0.98999), outcome("hpa", cost=100, attained=0.99)], target=0.99
    )
    assert found.result is Result.LOSS
    assert found.sentence.startswith("Forebay does not meet the 99 % target (98.99 % for $50.00)")


def test_within_a_percent_is_a_tie() -> None:
    found = verdict(
        [outcome("forebay", cost=100.5, attained=0.995), outcome("hpa", cost=100, attained=0.992)], target=0.99
    )
    assert found.result is Result.TIE


def test_a_cheaper_policy_that_misses_is_no_rival() -> None:
    found = verdict(
        [outcome("forebay", cost=100, attained=0.995), outcome("hpa", cost=10, attained=0.5)], target=0.99
    )
    assert found.result is Result.WIN
    assert "the other policy does not" in found.sentence


def test_policies_of_hindsight_are_no_rivals() -> None:
    found = verdict(
        [outcome("forebay", cost=100, attained=0.995), outcome("oracle", cost=50, attained=0.99, hindsight=True)],
        target=0.99,
    )
    assert found.result is Result.UNDECIDED


def test_nobody_meets_it() -> None:
    found = verdict(
        [outcome("forebay", cost=100, attained=0.9), outcome("hpa", cost=50, attained=0.95)], target=0.99
    )
    assert found.result is Result.UNDECIDED
    assert found.sentence.startswith("No policy meets the 99 % target")


@pytest.mark.parametrize(("cost", "words"), [(95.0, "5 % less, untuned"), (110.0, "10 % more, untuned")])
def test_what_tuning_in_hindsight_gives_is_told(cost: float, words: str) -> None:
    said = remarks(
        [
            outcome("forebay", cost=cost, attained=0.995),
            outcome("hpa", cost=100, attained=0.992, knob=0.5, kind=RunKind.SWEPT),
            outcome("hpa", cost=20, attained=0.995, knob=0.9, kind=RunKind.EARLY),
        ],
        target=0.99,
    )
    assert len(said) == 1
    assert words in said[0]


def test_nothing_done_is_no_verdict_on_policies() -> None:
    assert verdict([], target=0.99).sentence == "No policy was run to its end."


def test_one_other_policy_is_spoken_of_as_one() -> None:
    found = verdict(
        [outcome("forebay", cost=110, attained=0.999), outcome("hpa", cost=100, attained=0.99)], target=0.99
    )
    assert found.sentence.endswith("; the other policy meets it at the documented defaults.")


def test_pools_with_targets_of_their_own_are_spoken_of_together() -> None:
    found = verdict(
        [outcome("forebay", cost=50, attained=0.98), outcome("hpa", cost=100, attained=0.99)], target=None
    )
    assert found.sentence.startswith("Forebay meets the target of every pool for $50.00") or (
        found.sentence.startswith("Forebay does not meet the target of every pool")
    )
