"""Slow state of a series: level filters, yesterday and last week, the profile of the day.

Everything is in the transformed space z = log1p(y / scale).
"""

import copy
import math

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import Resolution, decay
from forebay.forecast.rings import StepRing

DAYS_KEPT = 8
GROWTH_ALLOWED = 0.7
"""A point forecast may exceed the running maximum by this much (about twice the rate)."""
NAN = math.nan


class DayMemory:
    """Earlier days: the smoothed values of the last week, and the profile of the day.

    Both change slowly, so one value per few minutes is enough. Values have half precision: its error of .05 % is
    far below their noise.
    """

    def __init__(self, resolution: Resolution) -> None:
        self.resolution = resolution
        self.day = resolution.steps_per_day
        self.smooth_stride, self.profile_stride = resolution.smooth_stride, resolution.profile_stride
        self.smooth_history = StepRing(DAYS_KEPT * self.day // self.smooth_stride, np.float16)
        self.today = StepRing(self.day // self.profile_stride, np.float16)
        """Means of plain values."""
        self.profile = np.empty(0, dtype=np.float16)
        """By the time of the (UTC) day, one value per ``profile_stride`` steps; empty until a day is complete."""
        self.steps_today = 0
        self.part = [0.0, 0.0]
        """Sum and number of the plain values that make the next mean."""

    def remember(self, index: int, smooth: float, z: float) -> None:
        """Take the smoothed and the plain value of step ``index``; NaN for a gap."""
        self.smooth_history[index // self.smooth_stride] = smooth
        if z == z:
            self.part[0] += z
            self.part[1] += 1.0
        place, step = divmod(index, self.profile_stride)
        if step == self.profile_stride - 1:
            self.today[place] = self.part[0] / self.part[1] if self.part[1] else NAN
            self.part = [0.0, 0.0]
        self.steps_today += 1
        if self.steps_today >= self.day:
            self.steps_today = 0
            self._fold(place)

    def smoothed(self, index: int) -> float:
        """Return the smoothed value of step ``index``, an hour or more ago; NaN where it is unknown."""
        place, step = divmod(index, self.smooth_stride)
        end = self.smooth_history[place]
        if step == self.smooth_stride - 1:
            return end
        start = self.smooth_history[place - 1]
        value = start + (end - start) * ((step + 1.0) / self.smooth_stride)
        return end if value != value else value

    def usual(self, index: int) -> float:
        """Return the profile at step ``index``; NaN while there is none."""
        size = len(self.profile)
        if not size:
            return NAN
        place = (index % self.day - 0.5 * (self.profile_stride - 1.0)) / self.profile_stride
        below = math.floor(place)
        low, high = float(self.profile[below % size]), float(self.profile[(below + 1) % size])
        return low + (place - below) * (high - low)

    def _fold(self, place: int) -> None:
        """Blend the day that ends with mean ``place`` into the profile, unless half of its values are missing."""
        size = self.today.size
        start = place + 1 - size
        values = np.roll(self.today.between(start, place + 1), start % size)
        known = np.isfinite(values)
        if 2 * int(known.sum()) < size:
            return
        values[~known] = values[known].mean()
        width = self.resolution.profile_half_width
        padded = np.concatenate([values[-width:], values, values[:width]])
        smoothed = np.convolve(padded, np.full(2 * width + 1, 1.0 / (2 * width + 1)), mode="valid")
        if len(self.profile):
            smoothed = 0.65 * self.profile.astype(np.float64) + 0.35 * smoothed
        self.profile = smoothed.astype(np.float16)


class Levels:
    """Filters of one series; ``advance`` takes one value per step, ``skip`` marks a step without a value."""

    def __init__(self, resolution: Resolution) -> None:
        self.day = resolution.steps_per_day
        self.days = DayMemory(resolution)
        self.keeps_days = True
        self.started = False
        self.z = 0.0
        self.ewma = [0.0] * len(resolution.half_lives)
        self.smooth = 0.0
        self.maximum = 0.0
        self.missing = 0
        lives = resolution.half_lives
        self._weights = [decay(half_life) for half_life in lives]
        self._smooth_weight = decay(2.0 * lives[1])
        self._maximum_decay = 0.99999 ** (resolution.step_seconds / 60.0)

    def advance(self, index: int, z: float) -> None:
        """Take the value of step ``index`` (steps since the epoch)."""
        if not self.started or self.missing > self.day:
            self._restart(z)
        self.missing = 0
        self.z = z
        ewma = self.ewma
        for k, weight in enumerate(self._weights):
            ewma[k] += weight * (z - ewma[k])
        self.smooth += self._smooth_weight * (z - self.smooth)
        self.maximum = max(z, self._maximum_decay * self.maximum)
        if self.keeps_days:
            self.days.remember(index, self.smooth, z)

    def follower(self) -> "Levels":
        """Return filters in the same state for another stream of this series; both share the earlier days."""
        other = copy.copy(self)
        other.ewma = list(self.ewma)
        other.keeps_days = False
        return other

    def skip(self, index: int) -> None:
        """Mark step ``index`` as a gap: the filters keep their values."""
        self.missing += 1
        if self.keeps_days:
            self.days.remember(index, NAN, NAN)

    def _restart(self, z: float) -> None:
        self.started = True
        self.ewma = [z] * len(self.ewma)
        self.smooth = z
        self.maximum = max(z, self.maximum)

    def features(self, index: int, horizons: tuple[int, ...]) -> tuple[FloatArray, float]:
        """Return the regression's features, one row per horizon, and the base level."""
        z = self.z
        e1, e3, e10, base, e120, e720 = self.ewma
        days = self.days
        has_profile = len(days.profile) > 0
        now = days.usual(index) if has_profile else e720
        rows = []
        for horizon in horizons:
            target = index + horizon
            then = days.usual(target) if has_profile else e720
            yesterday = days.smoothed(target - self.day)
            last_week = days.smoothed(target - 7 * self.day)
            rows.append((
                1.0, z - base, e1 - base, e3 - base, e10 - base, base - e120, e120 - e720, e720,
                then - now, now - base,
                yesterday - base if yesterday == yesterday else 0.0,
                last_week - base if last_week == last_week else 0.0,
            ))  # fmt: skip
        return np.array(rows), base
