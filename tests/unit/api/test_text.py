"""Strings with a meaning carry the right value."""

from fractions import Fraction

import pytest

from forebay.api.text import Duration, Money, Quantity, Ratio


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1s", 10**9),
        ("800ms", 800 * 10**6),
        ("1.5h", 5400 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("0.5ns", 0),
        ("1.999999us", 1999),
        ("0s", 0),
    ],
)
def test_a_duration_is_what_go_reads(text: str, nanoseconds: int) -> None:
    assert Duration(text).nanoseconds == nanoseconds
    assert Duration(text).seconds == nanoseconds / 1e9


def test_money_is_exact() -> None:
    assert Money("0.10").exact * 3 == Money("0.30").exact
    assert Money("2.95").value == 2.95


@pytest.mark.parametrize(
    ("text", "value"),
    [("40", 40), ("500m", Fraction(1, 2)), ("0.5", Fraction(1, 2)), ("2k", 2000), ("1.5M", 1_500_000)],
)
def test_a_quantity_has_kubernetes_suffixes(text: str, value: int | Fraction) -> None:
    assert Quantity(text).exact == value


def test_a_ratio_is_the_first_over_the_second() -> None:
    assert Ratio("1:4").value == 0.25
    assert Ratio("3:1").value == 3.0
