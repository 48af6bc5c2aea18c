"""How much slower or faster replicas are than their profile, from latencies that contain no queueing."""

from dataclasses import dataclass

from forebay.flow.observation import EngineSample
from forebay.flow.performance import Performance
from forebay.sizing.work import Correction

_FEWEST_PREFILLS = 20.0
_FEWEST_FINISHED = 10.0
_FEWEST_RUNNING = 4.0
_RATIO_LIMITS = (0.4, 2.5)
_PREFILL_GAIN_LIMIT = 0.2
_DECODE_GAIN_LIMIT = 0.1
_MEMORY_REQUESTS = 2000.0
_PRIOR_REQUESTS = 60.0
"""A profile counts as this many measured requests, so the first minutes of traffic already outweigh it."""
_SURPRISE = 0.25
_SURPRISES_TO_RESET = 3
_QUIET_AFTER_QUEUE_SECONDS = 120.0


@dataclass(slots=True)
class RatioFilter:
    """A fading average of measured over expected time. It starts again when it is clearly wrong."""

    value: float = 1.0
    weight: float = _PRIOR_REQUESTS
    surprises: int = 0

    @property
    def measured(self) -> bool:
        """Return whether there was a measurement yet."""
        return self.value != 1.0 or self.weight != _PRIOR_REQUESTS

    def push(self, ratio: float, requests: float, gain_limit: float) -> None:
        """Take the ratio measured on ``requests`` requests.

        The gain is that of a plain mean at first and ``requests / 2000`` (at most ``gain_limit``) later. Three
        updates in a row that differ by a quarter in the same direction mean that the engine has changed; the
        filter starts again.
        """
        ratio = min(max(ratio, _RATIO_LIMITS[0]), _RATIO_LIMITS[1])
        off = ratio / self.value - 1.0
        side = 0 if abs(off) < _SURPRISE else (1 if off > 0.0 else -1)
        self.surprises = self.surprises + side if side * self.surprises >= 0 and side else side
        if abs(self.surprises) >= _SURPRISES_TO_RESET:
            self.weight, self.surprises = _PRIOR_REQUESTS, 0
        steady = min(gain_limit, requests / _MEMORY_REQUESTS)
        gain = max(steady, requests / (self.weight + requests))
        self.value += gain * (ratio - self.value)
        self.weight = min(self.weight + requests, _MEMORY_REQUESTS)


@dataclass(slots=True)
class Calibration:
    """Correction of one variant's profile."""

    prefill: RatioFilter
    decode: RatioFilter
    prefills: float = 0.0
    prefill_tokens: float = 0.0
    prefill_seconds: float = 0.0
    """Sums since the last update; pools with little traffic collect until they have enough."""
    last_queue_seconds: float | None = None

    @classmethod
    def fresh(cls) -> "Calibration":
        """Return a calibration without any correction."""
        return cls(RatioFilter(), RatioFilter())

    @property
    def correction(self) -> Correction:
        """Return the factors to size with."""
        return Correction(self.prefill.value, self.decode.value)

    def prefilled(self, sample: EngineSample, performance: Performance) -> None:
        """Compare measured prefill times (queueing excluded by the engine) with the profile's."""
        if sample.prefills is None or sample.prefill_tokens is None or sample.prefill_seconds is None:
            return
        self.prefills += sample.prefills
        self.prefill_tokens += sample.prefill_tokens
        self.prefill_seconds += sample.prefill_seconds
        if self.prefills <= _FEWEST_PREFILLS:
            return
        believed = (
            performance.prefill_base_seconds * self.prefills
            + performance.prefill_seconds_per_token * self.prefill_tokens
        )
        if believed > 0.0 and self.prefill_seconds > 0.0:
            self.prefill.push(self.prefill_seconds / believed, self.prefills, _PREFILL_GAIN_LIMIT)
        self.prefills = self.prefill_tokens = self.prefill_seconds = 0.0

    def decoded(
        self, sample: EngineSample, performance: Performance, *, engines: int, at_seconds: float, queued: bool
    ) -> None:
        """Compare the measured ITL with the profile's at the present batch.

        Nothing is learned while a request waits for a decode slot, nor for two minutes afterwards. An ITL that is
        measured from first to last token contains that wait, and would make the pool several times too large.
        """
        if queued:
            self.last_queue_seconds = at_seconds
        last = self.last_queue_seconds
        if last is not None and at_seconds - last < _QUIET_AFTER_QUEUE_SECONDS:
            return
        if sample.itl_seconds is None or sample.running is None or sample.finished is None or engines < 1:
            return
        if sample.running < _FEWEST_RUNNING or sample.finished <= _FEWEST_FINISHED:
            return
        batch = sample.running / engines
        context = sample.kv_tokens / max(sample.running_now or sample.running, 1.0) if sample.kv_tokens else 0.0
        believed = performance.decode_step_seconds(batch, batch * context)
        believed /= 1.0 - prefill_busy_share(sample, engines)
        if believed > 0.0:
            self.decode.push(sample.itl_seconds / believed, sample.finished, _DECODE_GAIN_LIMIT)


def prefill_busy_share(sample: EngineSample, engines: int) -> float:
    """Return the share of time that the engines of one variant spent in prefills, at most .8."""
    if not sample.prefill_seconds or sample.interval_seconds <= 0.0:
        return 0.0
    return min(0.8, sample.prefill_seconds / (sample.interval_seconds * max(engines, 1)))
