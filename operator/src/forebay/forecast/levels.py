"""Slow state of a series: level filters, yesterday and last week, the profile of the day, volatility.

Everything is in the transformed space z = log1p(y / scale).
"""

import copy
import math
from array import array

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast.resolution import Resolution, decay
from forebay.forecast.rings import StepRing
from forebay.forecast.ticks import ChangeClock

DAYS_KEPT = 8
GROWTH_ALLOWED = 0.7
"""A point forecast may exceed the running maximum by this much (about twice the rate)."""
NAN = math.nan


class DayMemory:
    """What earlier days were like: the smoothed values of the last week, and the profile of the day."""

    def __init__(self, resolution: Resolution) -> None:
        self.resolution = resolution
        self.day = resolution.steps_per_day
        self.smooth_history = StepRing(DAYS_KEPT * self.day, np.float16)
        self.profile = array("f")
        self.today = array("f", [NAN]) * self.day
        self.steps_today = 0

    def remember(self, index: int, smooth: float, z: float) -> None:
        """Take the smoothed and the plain value of step ``index``; NaN for a gap."""
        self.smooth_history[index] = smooth
        self.today[index % self.day] = z
        self.steps_today += 1
        if self.steps_today >= self.day:
            self.steps_today = 0
            self._fold()

    def _fold(self) -> None:
        """Blend the day that is complete into the profile, smoothed circularly; a day half missing is dropped."""
        values = np.frombuffer(self.today, dtype=np.float32).astype(np.float64)
        known = np.isfinite(values)
        if 2 * int(known.sum()) >= self.day:
            values[~known] = values[known].mean()
            width = self.resolution.profile_half_width
            padded = np.concatenate([values[-width:], values, values[:width]])
            smoothed = np.convolve(padded, np.full(2 * width + 1, 1.0 / (2 * width + 1)), mode="valid")
            if self.profile:
                smoothed = 0.65 * np.asarray(self.profile) + 0.35 * smoothed
            self.profile = array("f", smoothed.tolist())
        self.today = array("f", [NAN]) * self.day


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
        self.clock = ChangeClock(resolution.step_seconds)
        self.settled = 0.0
        self.settled_steps = 0.0
        self.maximum = 0.0
        self.change_fast = 0.0
        self.change_slow = 0.0
        self.missing = 0
        lives = resolution.half_lives
        self._level_half_life = resolution.level_half_life
        self._weights = [decay(half_life) for half_life in lives]
        self._smooth_weight = decay(2.0 * lives[1])
        self._fast_weight = decay(lives[2])
        self._slow_weight = decay(lives[4])
        self._maximum_decay = 0.99999 ** (resolution.step_seconds / 60.0)

    def advance(self, index: int, z: float) -> None:
        """Take the value of step ``index`` (steps since the epoch)."""
        if not self.started or self.missing > self.day:
            self._restart(z)
        else:
            change = abs(z - self.z)
            if self.keeps_days and not self.missing:
                self.clock.learn(index, change)
            self.change_fast += self._fast_weight * (change - self.change_fast)
            self.change_slow += self._slow_weight * (change - self.change_slow)
        self.missing = 0
        self.z = z
        self._settle(index, z)
        ewma = self.ewma
        for k, weight in enumerate(self._weights):
            ewma[k] += weight * (z - ewma[k])
        self.smooth += self._smooth_weight * (z - self.smooth)
        self.maximum = max(z, self._maximum_decay * self.maximum)
        if self.keeps_days:
            self.days.remember(index, self.smooth, z)

    def _settle(self, index: int, z: float) -> None:
        """Average since the last tick of the clock: as far as it is one, what was before it is obsolete."""
        tick = self.clock.table[index % self.clock.bins]
        kept = self.settled_steps * 0.5 ** (tick**4 / self._level_half_life)
        self.settled_steps = kept + 1.0
        self.settled += (z - self.settled) / self.settled_steps

    def follower(self) -> "Levels":
        """Return filters in the same state for another stream of the same series, which read these days."""
        other = copy.copy(self)
        other.ewma = list(self.ewma)
        other.keeps_days = False
        return other

    def skip(self, index: int) -> None:
        """Mark step ``index`` as a gap: the filters hold, and no value is invented."""
        self.missing += 1
        if self.keeps_days:
            self.days.remember(index, NAN, NAN)

    def _restart(self, z: float) -> None:
        self.started = True
        self.ewma = [z] * len(self.ewma)
        self.smooth = z
        self.settled_steps = 0.0
        self.maximum = max(z, self.maximum)

    def features(self, index: int, horizons: tuple[int, ...]) -> tuple[FloatArray, FloatArray, float]:
        """Return regression features, direct features (one row per horizon) and the base level."""
        z = self.z
        e1, e3, e10, base, e120, e720 = self.ewma
        days, profile = self.days, self.days.profile
        now = profile[index % self.day] if profile else e720
        rows = []
        direct = []
        for horizon in horizons:
            target = index + horizon
            then = profile[target % self.day] if profile else e720
            yesterday = days.smooth_history[target - self.day]
            last_week = days.smooth_history[target - 7 * self.day]
            known = yesterday == yesterday
            rows.append((
                1.0, z - base, e1 - base, e3 - base, e10 - base, base - e120, e120 - e720, e720,
                then - now, now - base,
                yesterday - base if known else 0.0,
                last_week - base if last_week == last_week else 0.0,
                self.settled - base,
            ))  # fmt: skip
            direct.append((
                e1 - z, e3 - z, e10 - z, base - z, e120 - z, e720 - z, 0.0, then - z, then - now,
                yesterday - z if known else 0.0, self.settled - z,
            ))  # fmt: skip
        return np.array(rows), np.array(direct), base
