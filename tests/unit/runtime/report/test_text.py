"""Figures as people read them, and when a change of them is worth telling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.text import Duration
from forebay.runtime.report.text import duration, percent, rate, shorten, timestamp


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1s"), (42.4, "42s"), (119.0, "1m59s"), (250.0, "4m10s"), (601.0, "10m"), (3700.0, "1h1m30s")],
)
def test_durations_are_coarse_and_go_like(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e6))
def test_durations_can_be_read_back(seconds: float) -> None:
    written = Duration(duration(seconds))
    assert written.is_written_well()
    assert written.seconds == pytest.approx(max(1.0, seconds), rel=0.03, abs=1.0)


def test_a_promise_is_not_rounded_up() -> None:
    assert percent(0.9996) == "99.9%"
    assert percent(1.0) == "100.0%"
    assert percent(-0.25) == "-25.0%"
    assert percent(None) is None


def test_rates_keep_two_or_three_digits() -> None:
    assert [rate(value) for value in (0.123, 4.56, 789.6, None)] == ["0.12", "4.6", "790", None]


def test_long_texts_are_cut_at_a_word() -> None:
    assert shorten("one two three", 8) == "one two…"
    assert shorten("short", 8) == "short"


def test_times_are_whole_seconds_of_utc() -> None:
    assert timestamp(1_795_132_800.9) == "2026-11-20T00:00:00Z"
