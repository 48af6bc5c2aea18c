"""Numbers are compared before they are worded: what breathes is no news, what moved is."""

import pytest

from forebay.runtime.report.figures import Figures


@pytest.mark.parametrize(
    ("name", "old", "new", "news"),
    [
        ("cost", 10.0, 10.9, False),
        ("cost", 10.0, 11.8, True),
        ("demand", 10.0, 11.8, False),
        ("demand", 10.0, 13.0, True),
        ("demand", 0.02, 0.04, False),
        ("p99", 10.0, 8.0, False),
        ("skill", 0.6, 0.4, False),
        ("sloAttainment", 0.992, 0.995, False),
        ("sloAttainment", 0.992, 0.95, True),
        ("actionsLastHour", 3.0, 2.0, False),
        ("actionsLastHour", 3.0, 0.0, True),
        ("cancelledLastHour", 0.0, 1.0, True),
        ("leadTime", 30.0, 34.0, False),
        ("leadTime", 300.0, 340.0, True),
        ("demand", None, None, False),
        ("demand", None, 1.0, True),
        ("demand", 1.0, None, True),
    ],
)
def test_numbers_that_breathe_are_no_news(name: str, old: float | None, new: float | None, *, news: bool) -> None:
    assert Figures(numbers={name: new}).differ_from(Figures(numbers={name: old})) is news


def test_another_subject_is_news() -> None:
    told = Figures(numbers={"demand": 1.0}, subjects=("Sized/decode",))
    assert Figures(numbers={"demand": 1.0}, subjects=("QueueStands/decode",)).differ_from(told)
    assert not Figures(numbers={"demand": 1.05}, subjects=("Sized/decode",)).differ_from(told)
