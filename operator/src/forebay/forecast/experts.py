"""Simple forecasters beside the learned one: the last value, the recent maximum, the user's own forecast."""

import math
from array import array

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.codes import RESIDUAL_UNIT
from forebay.forecast.resolution import Resolution
from forebay.forecast.tracks import IndexArray
from forebay.forecast.windows import ErrorWindows

HIGH_SHARE = 0.5
"""Traffic is high while its recent mean is at least this share of the recent maximum."""
PERSISTENCE = 0
"""Position of the last-value expert among the opinions."""
EXPERTS = 4

ExpertState = tuple[float, float, float, int, int]
"""Last value, both recent maxima, and for each whether traffic is high (1) or low (0)."""

# Windows of errors per track: last value; short maximum while low, while high; long maximum while low, while high;
# external. Until its window holds enough errors, an expert uses the cold quantiles.
_LAST, _SHORT, _LONG, _EXTERNAL = 0, 1, 3, 5
_FIRST = np.array([_LAST, _SHORT, _LONG])
_LOW_COLD, _HIGH_COLD = (-0.3, 0.1, 0.4), (-0.05, 0.2, 0.5)
_COLD = np.array([(0.0, 0.26, 0.6), _LOW_COLD, _HIGH_COLD, _LOW_COLD, _HIGH_COLD, (0.0, 0.26, 0.6)])
_NEEDS = np.array([10, 15, 15, 15, 15, 10])


class RecentValues:
    """The last values of one stream, and the inputs that the simple experts take from them."""

    def __init__(self, resolution: Resolution, reach: int = 0) -> None:
        """Keep the values of the last ``reach`` steps, or of as many as the experts need."""
        self._spans = resolution.recurrence_windows
        self._recent = resolution.recent_steps
        self._reach = max(reach, *self._spans)
        self._values = array("d")

    def values(self) -> list[float]:
        """Return the values in z space, oldest first; NaN where missing."""
        return self._values.tolist()

    def observe(self, z: float) -> None:
        """Take the value of the step that is complete; NaN for a gap."""
        self._values.append(z)
        if len(self._values) > self._reach:
            del self._values[0]

    def state(self) -> ExpertState:
        """Return the experts' present inputs.

        Raises:
            IndexError: no value is known.
        """
        values = self._values[-max(self._spans) :].tolist()
        gaps = math.isnan(sum(values))
        known = [value for value in values if not math.isnan(value)] if gaps else values
        recent = [math.expm1(value) for value in known[-self._recent :]]
        mean = sum(recent) / len(recent)
        found = []
        for span in self._spans:
            latest = [value for value in values[-span:] if not math.isnan(value)] if gaps else values[-span:]
            top = max(latest, default=known[-1])
            found.append((top, int(mean >= HIGH_SHARE * math.expm1(top))))
        return known[-1], found[0][0], found[1][0], found[0][1], found[1][1]


class SimpleExperts(ErrorWindows):
    """Opinions (persistence, two recurrences, external) for every track, each with quantiles of its own errors.

    Recurrence predicts that the maximum of the last K steps returns. It has one window of errors for high traffic
    and one for low traffic, because on/off traffic is bimodal and no smooth model predicts when a burst returns.
    """

    def __init__(self, tracks: int, resolution: Resolution) -> None:
        super().__init__(
            tracks, len(_COLD), resolution.expert_window, unit=RESIDUAL_UNIT, share=resolution.kept_share
        )

    def opinions(self, rows: IndexArray, state: ExpertState, external: FloatArray) -> FloatArray:
        """Return (rows, 4 experts, levels) in z space; an absent external forecast is NaN.

        ``external`` is the external forecast's point in z space for each track, NaN where there is none.
        """
        last, top_short, top_long, high_short, high_long = state
        kinds = np.array([_LAST, _SHORT + high_short, _LONG + high_long, _EXTERNAL])
        windows = rows[:, None] * self.kinds + kinds
        errors = self.quantiles(windows.ravel()).reshape(*windows.shape, -1)
        young = self.taken[windows] < _NEEDS[kinds]
        if young.any():
            errors[young] = np.broadcast_to(_COLD[kinds], errors.shape)[young]
        points = np.empty((len(rows), EXPERTS))
        points[:, :3] = last, top_short, top_long
        points[:, 3] = external
        return np.asarray(points[:, :, None] + errors)

    def learn(self, rows: IndexArray, states: FloatArray, external: FloatArray, values: FloatArray) -> None:
        """Learn that tracks ``rows`` had ``values`` after ``states`` (rows, 5) and ``external``."""
        windows = np.empty((len(rows), 3), dtype=np.intp)
        windows[:, 0] = _LAST
        windows[:, 1:] = states[:, 3:]
        windows += rows[:, None] * self.kinds + _FIRST
        self.push(windows.ravel(), (values[:, None] - states[:, :3]).ravel())
        known = np.isfinite(external)
        if known.any():
            self.push(rows[known] * self.kinds + _EXTERNAL, (values - external)[known])
