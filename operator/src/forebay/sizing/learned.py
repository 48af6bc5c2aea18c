"""Capacity learned from telemetry alone, for variants without a profile."""

import math
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import Slo
from forebay.flow.observation import EngineSample
from forebay.flow.performance import Performance
from forebay.sizing.calibration import prefill_busy_share

_FORGETTING = 0.995
"""Per round of 15 s: half of the weight is younger than 35 minutes."""
_CARE = 1.0
"""Standard deviations of uncertainty that are added to learned times."""
_PRIOR_DEVIATION = 1.0
"""Width of the prior, relative to its means: the first measurements outweigh it."""
_NOISE_SHARE = 0.1
_FEWEST_PREFILLS = 20.0
_FEWEST_DECODE_SAMPLES = 3
_BATCH_BEYOND_SEEN = 2.0
"""Batches up to this multiple of the largest measured one count as possible, so capacity is explored by
doubling."""
_SMALLEST_BATCH_BELIEVED = 8.0
_ASSUMED_MAX_BATCH = 256
_UNKNOWN_KV_CAPACITY = 10_000_000


@dataclass(slots=True)
class Regression:
    """Recursive least squares with forgetting and a prior, in scaled features."""

    mean: list[float]
    covariance: list[float]
    """Row-major, relative to the noise variance of one observation."""
    samples: int = 0

    @classmethod
    def prior(cls, mean: list[float], deviations: list[float]) -> "Regression":
        """Return a regression with the prior ``mean`` and its standard ``deviations``."""
        size = len(mean)
        covariance = [deviations[i] ** 2 if i == j else 0.0 for i in range(size) for j in range(size)]
        return cls(list(mean), covariance)

    def push(self, features: list[float], value: float, noise: float) -> None:
        """Learn one observation whose standard deviation is ``noise``."""
        size = len(self.mean)
        x = np.asarray(features)
        covariance = np.asarray(self.covariance).reshape(size, size) / _FORGETTING
        projected = covariance @ x
        gain = projected / (noise**2 + float(x @ projected))
        updated = np.asarray(self.mean) + gain * (value - float(x @ np.asarray(self.mean)))
        covariance = covariance - np.outer(gain, projected)
        covariance = 0.5 * (covariance + covariance.T)
        trace = float(np.trace(covariance))
        if trace > 1e3:
            covariance *= 1e3 / trace
        self.mean = [float(v) for v in updated]
        self.covariance = [float(v) for v in covariance.ravel()]
        self.samples += 1

    def predict(self, features: list[float]) -> tuple[float, float]:
        """Return mean and standard deviation of the line at ``features``."""
        size = len(self.mean)
        x = np.asarray(features)
        covariance = np.asarray(self.covariance).reshape(size, size)
        return float(x @ np.asarray(self.mean)), math.sqrt(max(0.0, float(x @ covariance @ x)))


@dataclass(slots=True)
class LearnedCapacity:
    """What was measured of one variant: prefill time by tokens, ITL by batch and resident KV tokens.

    Both follow the linear model of ``Performance``. Values are scaled to milliseconds, thousands of prompt tokens,
    tens of sequences and tens of thousands of KV tokens, so that one prior width fits all coefficients.
    """

    prefill: Regression
    decode: Regression
    prefills: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0
    prefills_seen: float = 0.0
    largest_batch: float = 0.0
    kv_capacity: float | None = None

    @classmethod
    def fresh(cls, slo: Slo) -> "LearnedCapacity":
        """Return a wide prior, centred so that a replica could just meet the objectives."""
        prompt_ms = 1000.0 * min(0.25 * slo.ttft_seconds, 0.15)
        step_ms = 1000.0 * min(0.5 * slo.itl_seconds, 0.02)
        prefill = [0.2 * prompt_ms, 0.8 * prompt_ms]
        decode = [step_ms, 0.1 * step_ms, 0.02 * step_ms]
        return cls(
            Regression.prior(prefill, [_PRIOR_DEVIATION * v for v in prefill]),
            Regression.prior(decode, [_PRIOR_DEVIATION * v for v in decode]),
        )

    def prefilled(self, sample: EngineSample) -> None:
        """Learn from measured prefill times; variants with little traffic collect until they have enough."""
        if sample.prefills is None or sample.prefill_tokens is None or sample.prefill_seconds is None:
            return
        self.prefills += sample.prefills
        self.tokens += sample.prefill_tokens
        self.seconds += sample.prefill_seconds
        if self.prefills < _FEWEST_PREFILLS or self.seconds <= 0.0:
            return
        milliseconds = 1000.0 * self.seconds / self.prefills
        self.prefill.push([1.0, self.tokens / self.prefills / 1000.0], milliseconds, _NOISE_SHARE * milliseconds)
        self.prefills_seen += self.prefills
        self.prefills = self.tokens = self.seconds = 0.0

    def decoded(self, sample: EngineSample, *, engines: int, queued: bool) -> None:
        """Learn from the ITL at the present batch, unless requests wait for a slot."""
        if sample.kv_usage and sample.kv_tokens and engines > 0 and sample.kv_usage > 0.01:
            self.kv_capacity = sample.kv_tokens / engines / sample.kv_usage
        if queued or sample.itl_seconds is None or not sample.running or engines < 1 or sample.itl_seconds <= 0.0:
            return
        batch = sample.running / engines
        self.largest_batch = max(self.largest_batch, batch)
        kv = (sample.kv_tokens or 0.0) / engines
        milliseconds = 1000.0 * sample.itl_seconds * (1.0 - prefill_busy_share(sample, engines))
        self.decode.push([1.0, batch / 10.0, kv / 10_000.0], milliseconds, _NOISE_SHARE * milliseconds)

    @property
    def knows_prefill(self) -> bool:
        """Return whether any prefill time was measured."""
        return self.prefills_seen >= _FEWEST_PREFILLS

    @property
    def knows_decode(self) -> bool:
        """Return whether any iteration time was measured."""
        return self.decode.samples >= _FEWEST_DECODE_SAMPLES

    def performance(self, *, input_tokens: float, context_tokens: float) -> Performance:
        """Return a cautious model: means plus one standard deviation at the lengths where it will be used."""
        base, per_thousand = (max(v, 0.0) for v in self.prefill.mean)
        mean, deviation = self.prefill.predict([1.0, input_tokens / 1000.0])
        care = 1.0 + _CARE * deviation / max(mean, 1e-6) if mean > 0.0 else 2.0
        care = min(care, 2.0)
        batch = self._believed_batch()
        step, per_ten, per_kv = (max(v, 0.0) for v in self.decode.mean)
        mean, deviation = self.decode.predict([1.0, batch / 10.0, batch * context_tokens / 10_000.0])
        slower = min(2.0, 1.0 + _CARE * deviation / max(mean, 1e-6)) if mean > 0.0 else 2.0
        return Performance(
            prefill_base_seconds=care * base / 1000.0,
            prefill_seconds_per_token=care * per_thousand / 1e6,
            decode_base_seconds=slower * step / 1000.0,
            decode_seconds_per_sequence=slower * per_ten / 1e4,
            decode_seconds_per_kv_token=slower * per_kv / 1e7,
            max_batch=max(1, int(batch)),
            kv_capacity_tokens=int(self.kv_capacity or _UNKNOWN_KV_CAPACITY),
            source="learned from telemetry",
        )

    def _believed_batch(self) -> float:
        explored = max(_SMALLEST_BATCH_BELIEVED, _BATCH_BEYOND_SEEN * self.largest_batch)
        return min(float(_ASSUMED_MAX_BATCH), explored)
