"""The project's own traffic: cycles, bursts and lengths from a `TrafficSpec`, the same for the same seed."""

import numpy as np

from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.traces.arrival_process import SLOT_SECONDS, draw_counts, minute_counts, noise_factors, place
from forebay.offline.traces.length_model import draw_lengths
from forebay.offline.traces.spec import SATURDAY, FlashCrowds, OnOff, TrafficSpec
from forebay.offline.traces.trace_error import TraceError

MAX_REQUESTS = 50_000_000
_DAY = 86_400.0


def generate(spec: TrafficSpec, seed: int) -> RequestTrace:
    """Return a trace with the traffic of ``spec``.

    Raises:
        TraceError: if it would have no request, or more than fit into memory.
    """
    rng = np.random.default_rng(seed)
    before = round(spec.history_seconds / SLOT_SECONDS)
    slots = max(1, round(spec.duration_seconds / SLOT_SECONDS))
    rates = intensity(spec, before + slots, before, rng)
    expected = float(rates[before:].sum()) * SLOT_SECONDS
    if expected > MAX_REQUESTS:
        raise TraceError(
            f"{spec.name} would have {expected:.3g} requests (limit {MAX_REQUESTS:.3g}); lower the rate"
        )
    counts = draw_counts(rates * SLOT_SECONDS, spec.dispersion, rng)
    arrivals = place(counts[before:], rng)
    arrivals = arrivals[arrivals < spec.duration_seconds]
    if not len(arrivals):
        raise TraceError(
            f"{spec.name} has no request in {spec.duration_seconds:g} s; raise the rate or the duration"
        )
    history = minute_counts(counts[:before])
    lengths = draw_lengths(spec.lengths, len(arrivals), rng)
    return RequestTrace(
        name=spec.name,
        arrival_seconds=arrivals,
        input_tokens=lengths.input_tokens,
        output_tokens=lengths.output_tokens,
        cached_tokens=lengths.cached_tokens,
        start_of_day_seconds=spec.start_of_day_seconds % _DAY,
        history_requests_per_minute=history if len(history) else None,
    )


def intensity(spec: TrafficSpec, slots: int, before: int, rng: np.random.Generator) -> FloatArray:
    """Return requests per second in 5 s slots, of which the first ``before`` precede the trace."""
    seconds: FloatArray = (np.arange(slots, dtype=np.float64) - before + 0.5) * SLOT_SECONDS
    rates = spec.requests_per_second * cycle(spec, seconds)
    if spec.on_off is not None:
        rates = rates * _on_off(spec.on_off, slots, rng)
    if spec.flash_crowds is not None:
        rates = rates * _flash_crowds(spec.flash_crowds, seconds, rng)
    return rates * noise_factors(slots, spec.noise, rng)


def cycle(spec: TrafficSpec, seconds: FloatArray) -> FloatArray:
    """Return the daily and weekly factor at ``seconds`` from the start of the trace."""
    clock = spec.start_of_day_seconds + seconds
    hours = (clock % _DAY) / 3600
    weekday = (spec.start_weekday + np.floor(clock / _DAY)) % 7
    daily = (
        1
        + spec.daily_amplitude * np.cos(2 * np.pi * (hours - spec.daily_peak_hour) / 24)
        + spec.half_daily_amplitude * np.cos(4 * np.pi * (hours - spec.half_daily_peak_hour) / 24)
    )
    return np.maximum(daily, spec.night_floor) * np.where(weekday >= SATURDAY, spec.weekend_factor, 1.0)


def _on_off(shape: OnOff, slots: int, rng: np.random.Generator) -> FloatArray:
    factors = np.empty(slots)
    at, on = 0, False
    while at < slots:
        bounds = shape.on_seconds if on else shape.off_seconds
        length = max(1, round(rng.uniform(*bounds) / SLOT_SECONDS))
        level = rng.uniform(1 - shape.on_spread, 1 + shape.on_spread)
        factors[at : at + length] = level if on else shape.off_level
        at, on = at + length, not on
    return factors


def _flash_crowds(shape: FlashCrowds, seconds: FloatArray, rng: np.random.Generator) -> FloatArray:
    starts: FloatArray = np.asarray(shape.at_seconds, dtype=np.float64)
    if not shape.at_seconds:
        span = float(seconds[-1] - seconds[0])
        starts = seconds[0] + rng.random(rng.poisson(shape.per_day * span / _DAY)) * span
    factors = np.ones(len(seconds))
    for start in np.sort(starts).tolist():
        height = rng.uniform(*shape.factor)
        end = start + rng.uniform(*shape.duration_seconds)
        ramp = max(shape.ramp_seconds, SLOT_SECONDS)
        rise = np.clip((seconds - start) / ramp, 0, 1)
        fall = np.clip((end + ramp - seconds) / ramp, 0, 1)
        factors = np.maximum(factors, 1 + (height - 1) * np.minimum(rise, fall))
    return factors
