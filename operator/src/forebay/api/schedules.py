"""Occurrences of schedules: which loads are known for the time ahead. Pure: the time is an argument."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from forebay.api.v1alpha1.scalingpolicy import Schedule, Weekday
from forebay.flow.settings import KnownLoad

_DAY_SECONDS = 86_400.0
_WEEKDAYS = tuple(Weekday)


class UnknownTimeZoneError(ValueError):
    """A schedule names a time zone that this machine's database does not know."""


@dataclass(frozen=True, slots=True)
class _Cron:
    """The sets of minutes, hours and days on which a cron expression fires."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Day of month and day of week are both restricted: then one of them is enough, as in cron(8)."""

    @classmethod
    def parse(cls, text: str) -> "_Cron":
        """Parse five fields whose form the resource has checked."""
        minute, hour, day, month, weekday = text.split()
        return cls(
            tuple(sorted(_expanded(minute, 0, 59))),
            tuple(sorted(_expanded(hour, 0, 23))),
            frozenset(_expanded(day, 1, 31)),
            frozenset(_expanded(month, 1, 12)),
            frozenset(value % 7 for value in _expanded(weekday, 0, 7)),
            not day.startswith("*") and not weekday.startswith("*"),
        )

    def fires_on(self, day: date) -> bool:
        """Tell whether the expression fires on ``day``."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week


def known_loads(
    schedules: Sequence[Schedule], *, now_seconds: float, horizon_seconds: float
) -> tuple[KnownLoad, ...]:
    """Return what the schedules say of the time from ``now_seconds`` (Unix) to ``horizon_seconds`` later.

    Occurrences of one schedule that touch or overlap are one load. The answer is sorted by start.

    Raises:
        UnknownTimeZoneError: a time zone is unknown; the text names the schedule.
    """
    found = []
    for schedule in schedules:
        load = schedule.requests_per_second.value
        for start, end in _merged(_occurrences(schedule, now_seconds, now_seconds + horizon_seconds)):
            found.append(
                KnownLoad(start_seconds=start, end_seconds=end, requests_per_second=load, name=schedule.name)
            )
    return tuple(sorted(found, key=lambda load: (load.start_seconds, load.name)))


def _occurrences(schedule: Schedule, since: float, until: float) -> Iterator[tuple[float, float]]:
    """Yield start and end of each occurrence that touches ``[since, until]``, in order of start."""
    zone = _zone(schedule)
    longest = schedule.duration.seconds if schedule.duration else _DAY_SECONDS
    day = datetime.fromtimestamp(since - longest - _DAY_SECONDS, zone).date()
    last = datetime.fromtimestamp(until, zone).date()
    cron = _Cron.parse(schedule.cron) if schedule.cron else None
    while day <= last:
        for start, end in _of_day(schedule, cron, day, zone):
            if end > since and start <= until:
                yield start, end
        day += timedelta(days=1)


def _of_day(schedule: Schedule, cron: _Cron | None, day: date, zone: ZoneInfo) -> Iterator[tuple[float, float]]:
    """Yield the occurrences that start on ``day``. A time that a clock change skips counts as just after it."""
    if cron is not None and schedule.duration is not None:
        if cron.fires_on(day):
            for hour in cron.hours:
                for minute in cron.minutes:
                    start = _instant(day, time(hour, minute), zone)
                    yield start, start + schedule.duration.seconds
        return
    if schedule.start is None or schedule.end is None:
        return
    if schedule.days is not None and _WEEKDAYS[day.weekday()] not in schedule.days:
        return
    end_day = day if schedule.end > schedule.start else day + timedelta(days=1)
    yield (
        _instant(day, time.fromisoformat(schedule.start), zone),
        _instant(end_day, time.fromisoformat(schedule.end), zone),
    )


def _merged(occurrences: Iterator[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    current: tuple[float, float] | None = None
    for start, end in occurrences:
        if current is None or start > current[1]:
            if current is not None:
                yield current
            current = (start, end)
        else:
            current = (current[0], max(current[1], end))
    if current is not None:
        yield current


def _instant(day: date, clock: time, zone: ZoneInfo) -> float:
    return datetime.combine(day, clock, zone).timestamp()


def _zone(schedule: Schedule) -> ZoneInfo:
    try:
        return ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownTimeZoneError(
            f"schedule {schedule.name}: time zone {schedule.time_zone} is unknown; "
            "write a zone of the IANA time zone database such as Europe/Berlin"
        ) from error


def _expanded(field: str, lowest: int, highest: int) -> set[int]:
    """Return the values of one cron field; a range whose end is before its start runs over the top."""
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = lowest, highest
        else:
            begin, _, end = span.partition("-")
            first = int(begin)
            last = int(end) if end else (highest if step else first)
        sequence = (
            range(first, last + 1) if first <= last else (*range(first, highest + 1), *range(lowest, last + 1))
        )
        values.update(list(sequence)[:: int(step or 1)])
    return values
