"""Schedules become the loads that are known for the time ahead."""

from datetime import UTC, datetime
from typing import Any

import pytest

from forebay.api.schedules import UnknownTimeZoneError, known_loads
from forebay.api.v1alpha1.scalingpolicy import Schedule

HOUR = 3600.0
DAY = 24 * HOUR


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def spans(now: str, horizon_seconds: float, **schedule: Any) -> list[tuple[str, str]]:
    parsed = Schedule.model_validate({"name": "s", "requestsPerSecond": "2.5", **schedule})
    found = known_loads((parsed,), now_seconds=seconds(now), horizon_seconds=horizon_seconds)
    assert all(load.requests_per_second == 2.5 and load.name == "s" for load in found)
    return [
        tuple(f"{datetime.fromtimestamp(at, UTC):%m-%d %H:%M}" for at in (load.start_seconds, load.end_seconds))  # type: ignore[misc]
        for load in found
    ]


def test_office_hours_of_the_days_ahead() -> None:  # 2024-05-10 is a Friday
    hours = {"days": ["Mon", "Fri"], "start": "09:00", "end": "17:00"}
    assert spans("2024-05-10T06:00", 4 * DAY, **hours) == [
        ("05-10 09:00", "05-10 17:00"),
        ("05-13 09:00", "05-13 17:00"),
    ]


def test_one_that_runs_now_is_there_and_one_that_is_over_is_not() -> None:
    hours = {"start": "09:00", "end": "17:00"}
    assert spans("2024-05-10T12:00", HOUR, **hours) == [("05-10 09:00", "05-10 17:00")]
    assert spans("2024-05-10T17:00", HOUR, **hours) == []


def test_one_beyond_the_horizon_is_not_there() -> None:
    assert spans("2024-05-10T06:00", 2 * HOUR, start="09:00", end="17:00") == []


def test_an_end_before_the_start_is_on_the_next_day() -> None:
    night = {"days": ["Fri"], "start": "22:00", "end": "06:00"}
    assert spans("2024-05-11T01:00", HOUR, **night) == [("05-10 22:00", "05-11 06:00")]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2024-01-10T00:00", ("01-10 08:00", "01-10 16:00")),  # winter: UTC+1
        ("2024-07-10T00:00", ("07-10 07:00", "07-10 15:00")),  # summer: UTC+2
        ("2024-03-31T00:00", ("03-31 07:00", "03-31 15:00")),  # the clock changed at 01:00 UTC
    ],
)
def test_hours_are_those_of_the_time_zone(now: str, expected: tuple[str, str]) -> None:
    assert spans(now, DAY, start="09:00", end="17:00", timeZone="Europe/Berlin") == [expected]


def test_an_hour_that_the_clock_skips_counts_as_just_after_it() -> None:
    skipped = {"start": "02:30", "end": "04:00", "timeZone": "Europe/Berlin"}
    assert spans("2024-03-31T00:00", 12 * HOUR, **skipped) == [("03-31 01:30", "03-31 02:00")]


@pytest.mark.parametrize(
    ("cron", "starts"),
    [
        ("30 8 * * 1-5", ["05-10 08:30", "05-13 08:30"]),
        ("0 0 * * 0", ["05-12 00:00"]),
        ("0 0 * * 7", ["05-12 00:00"]),
        ("0 */12 11 * *", ["05-11 00:00", "05-11 12:00"]),
        ("0 6,18 10 5 *", ["05-10 06:00", "05-10 18:00"]),
        ("0 3 13 * 6", ["05-11 03:00", "05-13 03:00"]),  # day of month or day of week, as cron(8) says
        ("0 22-1/2 12 * *", ["05-12 00:00", "05-12 22:00"]),  # over midnight, every second hour
        ("0 0 30 2 *", []),
    ],
)
def test_cron(cron: str, starts: list[str]) -> None:
    found = spans("2024-05-10T00:00", 4 * DAY - 1, cron=cron, duration="1h")
    assert [start for start, _ in found] == starts


def test_occurrences_of_cron_that_touch_the_window_and_overlap_are_one() -> None:
    assert spans("2024-05-10T10:00", HOUR, cron="*/10 9-11 10 5 *", duration="15m") == [
        ("05-10 09:50", "05-10 11:15")
    ]


def test_a_long_occurrence_that_began_days_ago_is_there() -> None:
    assert spans("2024-05-10T10:00", HOUR, cron="0 0 6 5 *", duration="120h") == [("05-06 00:00", "05-11 00:00")]


def test_an_unknown_time_zone_is_a_sentence() -> None:
    with pytest.raises(UnknownTimeZoneError, match="schedule s: time zone Mars/Olympus is unknown; write a zone"):
        spans("2024-05-10T10:00", HOUR, start="09:00", end="17:00", timeZone="Mars/Olympus")
