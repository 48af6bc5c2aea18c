"""What each variant is believed to sustain: profile, corrected profile, or learned."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from forebay.flow.fleet import Pool, Variant
from forebay.flow.performance import Performance
from forebay.flow.roles import ROLES
from forebay.pipeline.remember.memory import CachedPerformance, PoolMemory
from forebay.sizing.calibration import Calibration, RatioFilter
from forebay.sizing.learned import LearnedCapacity
from forebay.sizing.performance import local_performance
from forebay.sizing.work import Correction, ReplicaWork, replica_work

_LENGTH_STEP = 0.02
"""Lengths that move by less than this keep the linear model of a profile."""
_VISIBLE_CORRECTION = 0.02


@dataclass(frozen=True, slots=True)
class Believed:
    """Performance of a variant before correction, and what about it is not measured."""

    performance: Performance
    source: str
    """``profile``, ``profile-corrected`` or ``learned``."""
    correction: Correction
    beyond: tuple[str, ...] = ()
    known: bool = True
    """False: nothing was measured yet, the belief is a guess."""

    def longest_prompt(self, ttft_seconds: float) -> float:
        """Return the tokens of the longest prompt that an idle replica answers in time."""
        room = ttft_seconds / max(self.correction.prefill, 1e-9) - self.performance.prefill_base_seconds
        return max(0.0, room) / max(self.performance.prefill_seconds_per_token, 1e-12)

    def itl_seconds(self, batch: float, context_tokens: float) -> float:
        """Return the time per token of ``batch`` sequences that hold so many KV tokens each."""
        return self.correction.decode * self.performance.decode_step_seconds(batch, batch * context_tokens)


def believed_performance(pool: Pool, variant: Variant, memory: PoolMemory) -> Believed:
    """Return what one replica of ``variant`` is believed to sustain at the present lengths."""
    if variant.performance is None:
        return _learned(pool, variant, memory)
    correction = Correction(
        _correction(pool, variant, memory, lambda calibration: calibration.prefill),
        _correction(pool, variant, memory, lambda calibration: calibration.decode),
    )
    corrected = max(abs(correction.prefill - 1.0), abs(correction.decode - 1.0)) > _VISIBLE_CORRECTION
    source = "profile-corrected" if corrected else "profile"
    if isinstance(variant.performance, Performance):
        return Believed(variant.performance, source, correction)
    lengths = memory.current_lengths
    key = (
        variant.performance,
        _step(lengths.input_tokens),
        _step(lengths.context_tokens),
        _step(pool.slo.itl_seconds / correction.decode),
    )
    cached = memory.performances.get(variant.key)
    if cached is None or cached.key != key:
        local = local_performance(
            variant.performance,
            input_tokens=lengths.input_tokens,
            context_tokens=lengths.context_tokens,
            itl_seconds=pool.slo.itl_seconds / correction.decode,
        )
        cached = CachedPerformance(key, local.performance, local.beyond)
        memory.performances[variant.key] = cached
    return Believed(cached.performance, source, correction, cached.beyond)


def _correction(
    pool: Pool, variant: Variant, memory: PoolMemory, phase: Callable[[Calibration], RatioFilter]
) -> float:
    """Return the variant's own factor; until it was measured, the pessimism that its siblings have earned.

    A profile that is wrong for one GPU type (another engine version, another kernel) tends to be wrong for all.
    Without this, the type that was never measured would always look best.
    """
    own = memory.calibrations.get(variant.key)
    if own is not None and phase(own).measured:
        return phase(own).value
    siblings = [
        phase(memory.calibrations[v.key])
        for v in pool.variants
        if v.role is variant.role and v.key != variant.key and v.key in memory.calibrations
    ]
    values = [sibling.value for sibling in siblings if sibling.measured]
    return max(1.0, sum(values) / len(values)) if values else 1.0


def _step(value: float) -> int:
    return round(math.log(max(value, 1e-6)) / _LENGTH_STEP)


def _learned(pool: Pool, variant: Variant, memory: PoolMemory) -> Believed:
    learned = memory.learned.get(variant.key) or LearnedCapacity.fresh(pool.slo)
    lengths = memory.current_lengths
    performance = learned.performance(input_tokens=lengths.input_tokens, context_tokens=lengths.context_tokens)
    row = ROLES[variant.role]
    known = (learned.knows_prefill or not row.prefills) and (learned.knows_decode or not row.decodes)
    return Believed(performance, "learned", Correction(), known=known)


def work_of(pool: Pool, believed: Believed, memory: PoolMemory) -> ReplicaWork:
    """Return the work of the average request on a replica."""
    correction = believed.correction
    visible = abs(correction.decode - 1.0) > _VISIBLE_CORRECTION
    used = Correction(correction.prefill, correction.decode if visible else 1.0)
    return replica_work(believed.performance, used, memory.current_lengths, pool.slo)
