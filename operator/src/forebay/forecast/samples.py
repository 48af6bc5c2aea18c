"""The step that a sample belongs to, and what to do with late, repeated and future samples."""

from enum import StrEnum

from forebay.forecast.resolution import ONE_MINUTE, Resolution

PHASES = 2
"""Streams at one-minute steps, of minutes that end at :00 and at :30: a forecast is 30 s old at most."""
LATE_STEPS = 15
"""A sample up to this much older than the newest is late. Two in a row that are older mean a clock that was set
back."""


class Taken(StrEnum):
    """What was done with a sample."""

    YES = "taken"
    DUPLICATE = "duplicate"
    LATE = "late"
    CLOCK_STEPPED = "clock stepped back"


class SampleClock:
    """Places samples on the grid of steps and phases."""

    def __init__(self, resolution: Resolution) -> None:
        self.step_seconds = resolution.step_seconds
        self.offset_seconds = resolution.offset_seconds
        self.phases = PHASES if resolution.step_seconds == ONE_MINUTE.step_seconds else 1
        self._old: dict[int, int] = {}

    @property
    def sample_seconds(self) -> float:
        """Return the time between the ends of two samples: half a step at one-minute steps."""
        return self.step_seconds / self.phases

    def place(self, end_seconds: float) -> tuple[int, int]:
        """Return phase and step index (since the epoch) of the step that ended at ``end_seconds``."""
        grid = round((end_seconds - self.offset_seconds) * self.phases / self.step_seconds)
        return grid % self.phases, grid // self.phases - 1

    def end_seconds(self, phase: int, index: int) -> float:
        """Return when step ``index`` of ``phase`` ended."""
        return (index + 1 + phase / self.phases) * self.step_seconds + self.offset_seconds

    def judge(self, phase: int, index: int, newest: int | None) -> Taken:
        """Return what a sample of step ``index`` is, given the ``newest`` step of its phase."""
        if newest is None or index > newest:
            self._old.pop(phase, None)
            return Taken.YES
        if index == newest:
            return Taken.DUPLICATE
        if newest - index <= LATE_STEPS:
            return Taken.LATE
        before = self._old.get(phase)
        self._old[phase] = index
        if before is None or before >= index:
            return Taken.LATE
        self._old.pop(phase)
        return Taken.CLOCK_STEPPED
