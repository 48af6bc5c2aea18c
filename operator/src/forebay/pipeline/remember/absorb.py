"""Take one round's observation into a pool's memory: traffic, lengths, burstiness, budget, calibration."""

import math

from forebay.flow.fleet import Pool, Role, Variant
from forebay.flow.observation import EngineSample, PoolObservation, Traffic, VariantObservation
from forebay.flow.performance import Performance
from forebay.flow.roles import ROLES, Queue
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.remember.performances import believed_performance
from forebay.sizing.budget import WINDOWS, fading_half_life
from forebay.sizing.calibration import Calibration
from forebay.sizing.learned import LearnedCapacity

FULL_STEP = 59.0 / 60.0
"""A step counts as observed from this share on."""
_FEED_BACK_STEPS = 1.5
_LONGEST_ROUND_SECONDS = 60.0
"""A round stands for no longer than this: between rounds that lie farther apart nothing was seen."""


def absorb(pool: Pool, observed: PoolObservation, memory: PoolMemory) -> None:
    """Update ``memory`` with what was observed; what is unknown changes nothing."""
    if memory.started_seconds is None:
        memory.started_seconds = observed.at_seconds
    elapsed = memory.elapsed_seconds = _elapsed(pool, observed, memory)
    memory.seen_seconds = min(elapsed, max(_LONGEST_ROUND_SECONDS, pool.settings.interval_seconds))
    memory.last_round_seconds = observed.at_seconds
    if observed.traffic is not None:
        _absorb_traffic(pool, observed.traffic, memory)
        if observed.traffic.arrivals > 0.0:
            memory.last_arrival_seconds = observed.at_seconds
    memory.current_lengths = memory.lengths.current()
    for variant in pool.variants:
        seen = observed.variant(variant.key)
        if seen is not None and seen.engine is not None:
            _absorb_engine(pool, variant, seen, seen.engine, observed, memory)
    if observed.finished is not None and observed.missed is not None:
        half_life = pool.settings.budget_half_life_seconds
        memory.budget.push(
            missed=observed.missed, finished=observed.finished, elapsed=elapsed, half_life=half_life
        )
        for name, seconds in WINDOWS.items():
            memory.windows[name].push(
                missed=observed.missed,
                finished=observed.finished,
                elapsed=elapsed,
                half_life=fading_half_life(seconds),
            )
        memory.spending.take(
            finished=observed.finished,
            missed=_missed_by_role(pool, observed, observed.missed, memory),
            hopeless={role: observed.finished * share for role, share in memory.hopeless_shares.items()},
            elapsed=elapsed,
            seen=memory.seen_seconds,
            half_life=half_life,
        )


def _missed_by_role(pool: Pool, observed: PoolObservation, missed: float, memory: PoolMemory) -> dict[Role, float]:
    """Split misses: TTFT is the prefill's, ITL the decode's; unknown ones as the model predicted them."""
    if Role.PREFILL not in pool.roles or Role.DECODE not in pool.roles:
        return dict.fromkeys(pool.roles, missed)
    late = observed.missed_ttft
    if late is None:
        late = missed * memory.spending.predicted_share(Role.PREFILL)
    return {Role.PREFILL: min(late, missed), Role.DECODE: max(0.0, missed - late)}


def _elapsed(pool: Pool, observed: PoolObservation, memory: PoolMemory) -> float:
    if memory.last_round_seconds is None:
        return pool.settings.interval_seconds
    return max(0.0, observed.at_seconds - memory.last_round_seconds)


def _absorb_traffic(pool: Pool, traffic: Traffic, memory: PoolMemory) -> None:
    before = memory.window.end_seconds
    added = memory.window.push(traffic)
    end = memory.window.end_seconds
    if end is None or end == before:
        return
    if before is not None and end < before:
        _follow_clock(memory, end)
    _feed_forecaster(memory, end)
    memory.burstiness.push(memory.window.burst_sample())
    elapsed = traffic.end_seconds - traffic.start_seconds
    if traffic.input_tokens is not None and math.isfinite(traffic.input_tokens) and added > 0.0:
        memory.lengths.arrived(
            requests=traffic.arrivals,
            input_tokens=traffic.input_tokens,
            cached_tokens=traffic.cached_input_tokens or 0.0,
            elapsed=elapsed,
            half_life=pool.settings.length_half_life_seconds,
        )
    if traffic.input_lengths is not None:
        memory.lengths.histogram(traffic.input_lengths, elapsed)


def _follow_clock(memory: PoolMemory, end: float) -> None:
    """Forget times that lie ahead since the clock was set back; what was learned stays."""
    memory.fed_until_seconds = None
    memory.started_seconds = end
    memory.last_arrival_seconds = None
    for forgotten in (memory.forecasts, memory.actions, memory.cancelled, memory.blocks, memory.reactive_peaks):
        forgotten.clear()
    for calibration in memory.calibrations.values():
        calibration.last_queue_seconds = None


def _feed_forecaster(memory: PoolMemory, end: float) -> None:
    """Give the forecaster every fully observed step since the last time: minutes that ended at :00 or :30.

    In a staggered fleet they are shifted by some seconds that are each pool's own.
    """
    step, apart = memory.forecaster.resolution.step_seconds, memory.forecaster.sample_seconds
    offset = memory.forecaster.resolution.offset_seconds
    oldest = math.ceil((end - offset - _FEED_BACK_STEPS * step) / apart)
    if memory.fed_until_seconds is not None:
        oldest = max(oldest, round((memory.fed_until_seconds - offset) / apart) + 1)
    for sample in range(oldest, math.floor((end - offset) / apart + 1e-6) + 1):
        boundary = sample * apart + offset
        count, covered = memory.window.window(boundary - step, boundary)
        if covered >= FULL_STEP * step:
            memory.forecaster.update(boundary, count * step / covered)
            memory.fed_until_seconds = boundary
            memory.known_steps += sample * apart % step == 0.0


def _absorb_engine(
    pool: Pool,
    variant: Variant,
    seen: VariantObservation,
    sample: EngineSample,
    observed: PoolObservation,
    memory: PoolMemory,
) -> None:
    if ROLES[variant.role].decodes:
        if sample.finished is not None and sample.output_tokens is not None:
            memory.lengths.finished(
                requests=sample.finished,
                output_tokens=sample.output_tokens,
                elapsed=sample.interval_seconds,
                half_life=pool.settings.length_half_life_seconds,
            )
        sequences = sample.running_now if sample.running_now is not None else sample.running
        if sequences is not None and sample.kv_tokens is not None:
            memory.lengths.running(sequences=sequences, kv_tokens=sample.kv_tokens)
    queued = bool(observed.waiting_decode) or (ROLES[variant.role].queue is Queue.DECODE and bool(sample.waiting))
    if variant.performance is None:
        _learn(pool, variant, seen, sample, memory, queued=queued)
        return
    performance = believed_performance(pool, variant, memory).performance
    _calibrate(variant, seen, sample, memory, performance, at_seconds=observed.at_seconds, queued=queued)


def _learn(
    pool: Pool,
    variant: Variant,
    seen: VariantObservation,
    sample: EngineSample,
    memory: PoolMemory,
    *,
    queued: bool,
) -> None:
    learned = memory.learned.setdefault(variant.key, LearnedCapacity.fresh(pool.slo))
    if ROLES[variant.role].prefills:
        learned.prefilled(sample)
    if ROLES[variant.role].decodes:
        learned.decoded(sample, engines=_engines(seen, sample), queued=queued)


def _calibrate(
    variant: Variant,
    seen: VariantObservation,
    sample: EngineSample,
    memory: PoolMemory,
    performance: Performance,
    *,
    at_seconds: float,
    queued: bool,
) -> None:
    calibration = memory.calibrations.setdefault(variant.key, Calibration.fresh())
    if ROLES[variant.role].prefills:
        calibration.prefilled(sample, performance)
    if ROLES[variant.role].decodes:
        calibration.decoded(
            sample, performance, engines=_engines(seen, sample), at_seconds=at_seconds, queued=queued
        )


def _engines(seen: VariantObservation, sample: EngineSample) -> int:
    """Return the replicas that share the load of ``sample``: those that drain still work and report."""
    if sample.reporting_replicas is None:
        return seen.ready + seen.draining
    return max(1, sample.reporting_replicas - sample.replicas_out)
