"""Arrival rates of the last minute and half-minute, and how bursty arrivals are inside a minute."""

import bisect
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from forebay.flow.observation import Traffic

_KEPT_SECONDS = 180.0
_FULL_WINDOW = 0.98
"""A window counts as full from this share of coverage, because slots never end exactly at its edge."""
_BURST_SLOT_SECONDS = 10.0
_BURST_SLOTS = 3
_BURST_RING = 120
_LEVEL_FACTOR = 2.5
_SURE_DEVIATIONS = 2.0
_BEYOND_DOUBT = 1.5
"""Standard deviations that are subtracted from a rate before it may raise a forecast."""
_UNKNOWN_BURSTINESS = 0.1
_TIME_SLACK_SECONDS = 1e-6


def numbers(values: Iterable[float] = ()) -> "array[float]":
    """Return ``values`` in a quarter of the memory of a list: a fleet has thousands of these."""
    return array("d", values)


@dataclass(slots=True)
class RateWindow:
    """Arrivals of the last minutes by slot; a gap in the observations stays a gap."""

    starts: "array[float]" = field(default_factory=numbers)
    ends: "array[float]" = field(default_factory=numbers)
    counts: "array[float]" = field(default_factory=numbers)
    known_rates: dict[float, float] = field(default_factory=dict)
    """By window length, until the next slot."""

    @property
    def end_seconds(self) -> float | None:
        """Return the end of the newest slot."""
        return self.ends[-1] if self.ends else None

    def push(self, traffic: Traffic) -> float:
        """Append the slots of ``traffic`` that are new, and return the arrivals in them.

        If the traffic ends before all kept slots, the clock was set back, and the window starts again.
        """
        length = traffic.slot_seconds
        if not length > 0.0:
            return 0.0
        if self.ends and traffic.end_seconds < self.ends[-1] - _KEPT_SECONDS:
            del self.starts[:], self.ends[:], self.counts[:]
        added = 0.0
        for index, count in enumerate(traffic.slot_counts):
            start = traffic.start_seconds + index * length
            added += self._push_slot(start, start + length, count)
        self.known_rates.clear()
        self._forget()
        return added

    def _push_slot(self, start: float, end: float, count: float) -> float:
        if not math.isfinite(count) or count < 0.0:
            return 0.0
        newest = self.end_seconds
        if newest is not None and start < newest - _TIME_SLACK_SECONDS:
            if end <= newest + _TIME_SLACK_SECONDS:
                return 0.0
            count *= (end - newest) / (end - start)
            start = newest
        self.starts.append(start)
        self.ends.append(end)
        self.counts.append(count)
        return count

    def _forget(self) -> None:
        drop = bisect.bisect_right(self.ends, self.ends[-1] - _KEPT_SECONDS) if self.ends else 0
        if drop:
            del self.starts[:drop], self.ends[:drop], self.counts[:drop]

    def window(self, start: float, end: float) -> tuple[float, float]:
        """Return arrivals in (start, end] and the seconds of it that were observed."""
        arrivals = covered = 0.0
        for slot_start, slot_end, count in zip(
            reversed(self.starts), reversed(self.ends), reversed(self.counts), strict=True
        ):
            if slot_end <= start:
                break
            if slot_start >= end:
                continue
            overlap = min(end, slot_end) - max(start, slot_start)
            covered += overlap
            arrivals += count * overlap / (slot_end - slot_start)
        return arrivals, covered

    def rate(self, window_seconds: float) -> float | None:
        """Return arrivals per second over the last ``window_seconds``.

        If the window is only partly observed, this is the rate of the observed part minus one standard deviation
        of its noise, so that the first seconds of a pool do not look like a burst. ``None`` without any
        observation.
        """
        end = self.end_seconds
        if end is None:
            return None
        known = self.known_rates.get(window_seconds)
        if known is None:
            arrivals, covered = self.window(end - window_seconds, end)
            if covered < _FULL_WINDOW * window_seconds:
                arrivals = max(0.0, arrivals - math.sqrt(arrivals))
            known = self.known_rates[window_seconds] = arrivals / covered
        return known

    def now(self, window_seconds: float) -> float | None:
        """Return the present rate: of the last window, or of its last half if higher by more than noise."""
        whole = self.rate(window_seconds)
        half = self.rate(window_seconds / 2.0)
        if whole is None or half is None:
            return whole
        return max(whole, half - math.sqrt(max(half, 0.0) / (window_seconds / 2.0)))

    def surely_above(self, known: float, known_seconds: float, seconds: float, burstiness: float) -> float | None:
        """Return the factor by which the rate of the last ``seconds`` surely exceeds ``known``, or less than 1.

        Noise must not raise a forecast that has not seen the last seconds. So one and a half standard deviations
        of the difference are subtracted from the rate: the Poisson noise of both rates, and bursts within a
        minute.
        """
        fresh = self.rate(seconds)
        if fresh is None or known <= 0.0:
            return None
        bursts = (burstiness * known) ** 2 * min(1.0, _BURST_SLOT_SECONDS / seconds)
        return (fresh - _BEYOND_DOUBT * math.sqrt(fresh / seconds + known / known_seconds + bursts)) / known

    def burst_sample(self) -> float | None:
        """Return the squared relative deviation of three 10-s slots beyond Poisson noise.

        The last slot is left out, so that the slots on both sides are known. If these differ by more than a
        factor of 2.5, the level has changed: the forecast handles that, and it is not a burst within a minute.
        (Without this rule, on/off traffic looks three times as bursty as it is while it is on.) Returns ``None``
        then, and if a slot is empty or not fully observed. Sources with slots longer than 10 s use these.
        """
        end = self.end_seconds
        if end is None:
            return None
        length = self.ends[-1] - self.starts[-1]
        slot = length * max(1, round(_BURST_SLOT_SECONDS / length))
        counts = []
        for index in range(_BURST_SLOTS + 2, 0, -1):
            arrivals, covered = self.window(end - index * slot, end - (index - 1) * slot)
            if covered < _FULL_WINDOW * slot:
                return None
            counts.append(arrivals)
        if _other_level(counts[0], counts[-1]):
            return None
        inner = counts[1:-1]
        mean = sum(inner) / _BURST_SLOTS
        if mean <= 0.0:
            return None
        variance = sum((count - mean) ** 2 for count in inner) / (_BURST_SLOTS - 1)
        return min(1.0, variance / mean**2 - 1.0 / mean)


def _other_level(before: float, after: float) -> bool:
    low, high = min(before, after), max(before, after)
    return high - _SURE_DEVIATIONS * math.sqrt(high) > _LEVEL_FACTOR * low


@dataclass(slots=True)
class Burstiness:
    """Relative standard deviation of the arrival rate within a minute, beyond Poisson noise."""

    samples: "array[float]" = field(default_factory=numbers)

    def push(self, sample: float | None) -> None:
        """Take one squared deviation. Noise makes some of them negative; only their mean is unbiased."""
        if sample is None:
            return
        self.samples.append(sample)
        if len(self.samples) > _BURST_RING:
            del self.samples[0]

    @property
    def value(self) -> float:
        """Return the deviation; a small prior before the first sample."""
        if not self.samples:
            return _UNKNOWN_BURSTINESS
        return math.sqrt(max(0.0, sum(self.samples) / len(self.samples)))
