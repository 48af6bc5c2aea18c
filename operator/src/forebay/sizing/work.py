"""The cost of one request on one replica: busy seconds per phase, and the batch that just meets the ITL."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forebay.flow.fleet import Role, Slo
from forebay.flow.performance import Performance

FloatArray = npt.NDArray[np.float64]

_BATCH_SHARE = 0.97
"""Usable share of the largest batch: a few slots are empty between a completion and the next admission."""
_KV_SHARE = 0.9
"""Usable share of the KV cache: the rest is fragmentation, and room for requests that grow while they run."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts of the current requests."""

    input_tokens: float
    """Mean uncached prompt tokens."""
    output_tokens: float
    """Mean output tokens."""
    context_tokens: float
    """Mean KV tokens that a running sequence holds."""
    input_sample: tuple[float, ...]
    """Mid-points of the deciles of uncached prompt tokens: ten equally likely prompts."""
    squared_ratio: float | None = None
    """E[n^2] / E[n]^2 of uncached prompt tokens; ``None``: computed from the sample."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Measured over expected time, per phase; 1 means as in the profile."""

    prefill: float = 1.0
    decode: float = 1.0


@dataclass(frozen=True, slots=True)
class ReplicaWork:
    """Work of the average request on one replica of one variant."""

    prefill_seconds: float
    """Seconds that a prefill occupies a replica."""
    decode_seconds: float
    """Replica-seconds of decoding, at the batch whose ITL just meets the objective."""
    serve_seconds: float
    """Replica-seconds of both phases on one replica whose prefills delay its decode iterations."""
    largest_batch: float
    """Sequences per replica that batch size and KV cache allow at any latency."""
    batch: float
    """Sequences per replica at the edge of the ITL objective."""
    output_tokens: float
    step_base_seconds: float
    """Iteration time without sequences."""
    step_seconds_per_sequence: float
    """Iteration time per sequence of the present context."""
    prefill_sample: FloatArray
    """Prefill seconds of ten equally likely prompts."""
    imbalance: float
    """Relative standard deviation, between replicas, of the batch that just meets the ITL objective."""
    variability: float
    """(1 + squared coefficient of variation of prefill seconds) / 2: the Pollaczek-Khinchine factor."""

    @property
    def latency_limits(self) -> bool:
        """Return whether the ITL objective limits the batch, and not slots or KV cache."""
        return self.batch < self.largest_batch

    def seconds(self, role: Role) -> float:
        """Return the replica-seconds that one request costs in ``role``."""
        return _SECONDS[role](self)


_SECONDS: Mapping[Role, Callable[[ReplicaWork], float]] = {
    Role.PREFILL: lambda work: work.prefill_seconds,
    Role.DECODE: lambda work: work.decode_seconds,
    Role.SERVE: lambda work: work.serve_seconds,
}
"""The replica-seconds that one request costs, by role."""


def edge_batch(performance: Performance, correction: float, context_tokens: float, itl_seconds: float) -> float:
    """Return the largest batch whose iteration meets the ITL objective, within batch and KV-cache limits."""
    per_sequence = correction * (
        performance.decode_seconds_per_sequence + performance.decode_seconds_per_kv_token * context_tokens
    )
    largest = largest_batch(performance, context_tokens)
    room = itl_seconds - correction * performance.decode_base_seconds
    by_latency = room / per_sequence if per_sequence > 0.0 else largest
    return max(1.0, min(largest, by_latency))


def largest_batch(performance: Performance, context_tokens: float) -> float:
    """Return the sequences per replica that batch size and KV cache allow at any latency."""
    by_memory = _KV_SHARE * performance.kv_capacity_tokens / max(context_tokens, 1.0)
    return max(1.0, min(_BATCH_SHARE * performance.max_batch, by_memory))


def replica_work(performance: Performance, correction: Correction, lengths: Lengths, slo: Slo) -> ReplicaWork:
    """Return the work of the average request on a replica, corrected by measurements.

    On a replica that serves both phases, prefills stretch decode iterations by 1 / (1 - share of time in prefill).
    Where latency limits the batch, the rate x that just meets the objective T solves
    ``base + slope * (x * output * T) = T * (1 - x * prefill)``, so the cost is the sum of both, with prefill
    multiplied by ``T / (T - base)``. Where batch or memory limit it, the cost is the plain sum.
    """
    prefill_seconds = correction.prefill * performance.prefill_seconds(lengths.input_tokens)
    sample = correction.prefill * (
        performance.prefill_base_seconds
        + performance.prefill_seconds_per_token * np.asarray(lengths.input_sample, dtype=np.float64)
    )
    batch = edge_batch(performance, correction.decode, lengths.context_tokens, slo.itl_seconds)
    step_seconds = correction.decode * performance.decode_step_seconds(batch, batch * lengths.context_tokens)
    decode_seconds = lengths.output_tokens * step_seconds / batch
    base_seconds = correction.decode * performance.decode_base_seconds
    latency_limits = step_seconds >= 0.999 * slo.itl_seconds and base_seconds < slo.itl_seconds
    variability = _variability(performance, correction.prefill, lengths, sample)
    stretch = slo.itl_seconds / (slo.itl_seconds - base_seconds) if latency_limits else 1.0
    return ReplicaWork(
        prefill_seconds=prefill_seconds,
        decode_seconds=decode_seconds,
        serve_seconds=decode_seconds + min(stretch, 4.0) * prefill_seconds,
        largest_batch=largest_batch(performance, lengths.context_tokens),
        batch=batch,
        output_tokens=lengths.output_tokens,
        step_base_seconds=base_seconds,
        step_seconds_per_sequence=max(0.0, step_seconds - base_seconds) / batch,
        prefill_sample=sample,
        imbalance=_imbalance(performance, lengths, batch, variability),
        variability=variability,
    )


def _imbalance(performance: Performance, lengths: Lengths, batch: float, variability: float) -> float:
    """Return how much the edge batch varies between replicas, because the mean context of their sequences varies.

    Contexts vary about as much as the prompts at their start.
    """
    by_context = performance.decode_seconds_per_kv_token * lengths.context_tokens
    share = by_context / max(performance.decode_seconds_per_sequence + by_context, 1e-12)
    return float(share * math.sqrt(max(0.0, 2.0 * variability - 1.0) / batch))


def _variability(performance: Performance, correction: float, lengths: Lengths, sample: FloatArray) -> float:
    if lengths.squared_ratio is None:
        return 0.5 * float(np.mean(sample**2) / np.mean(sample) ** 2)
    base = correction * performance.prefill_base_seconds
    slope = correction * performance.prefill_seconds_per_token
    mean = lengths.input_tokens
    second = base**2 + 2 * base * slope * mean + slope**2 * lengths.squared_ratio * mean**2
    return 0.5 * second / max(base + slope * mean, 1e-12) ** 2
