"""A second stream of the same series, half a minute later. It forecasts with the model of the first stream."""

import copy
import math

from forebay.flow.trace import FloatArray
from forebay.forecast.phase import StreamForecaster


class Follower:
    """Forecasts of minutes that end at :30, by the model that learns from the minutes that end at :00.

    The errors of both streams have the same statistics, so learning twice would cost time and memory for nothing.
    A follower has filters of its own. It reads yesterday, last week and the profile of the day from ``teacher``.
    """

    def __init__(self, teacher: StreamForecaster) -> None:
        """Begin in the state of ``teacher``, whose last step counts as seen."""
        self.teacher = teacher
        self.levels = teacher.levels.follower()
        self.values = copy.deepcopy(teacher.values)
        self.index = teacher.index
        self.take_over()

    def take_over(self) -> None:
        """Repeat the newest forecasts of ``teacher``, whose tracks have changed."""
        self.issued_index = self.teacher.issued_index
        self.issued, self.issued_persistence = self.teacher.issued, self.teacher.issued_persistence

    def step(self, index: int, count: float, external: FloatArray | None = None) -> None:
        """Take the count of step ``index`` (NaN: none). No step may be left out."""
        self.index = index
        z = math.log1p(count / self.teacher.scale)
        self.values.observe(z)
        if math.isnan(z):
            self.levels.skip(index)
            return
        self.levels.advance(index, z)
        found = self.teacher.forecasts(index, self.levels, self.values.state(), external)
        self.issued, self.issued_persistence, self.issued_index = found.final, found.persistence, index

    def rewind(self, index: int) -> None:
        """Go on from step ``index``, earlier than the last one."""
        self.index = index
        self.issued_index = None
