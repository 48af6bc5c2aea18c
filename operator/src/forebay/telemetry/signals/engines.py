"""What the engines of one workload did and hold, from one round's readings."""

import math

from forebay.flow.fleet import Role
from forebay.flow.observation import EngineSample
from forebay.telemetry.query.dialect import Dialect, Signal
from forebay.telemetry.query.readings import ENGINES, REPLICAS, STUCK_ENGINES, Readings, growth, level, stuck
from forebay.telemetry.transport.answer import Labels

HIGHEST_SHARE = 1.02
"""A share above it is no share: some series is read more than once, or is none."""


def engine_sample(dialect: Dialect, readings: Readings, key: Labels, role: Role) -> EngineSample | None:
    """Return the sample of one workload, or ``None`` if none of its replicas reports.

    Engines that decode report the prefill of prompts whose KV cache they were sent: it was not their work.
    """
    replicas = readings.value(REPLICAS, key)
    if replicas is None:
        return None
    prefills, prefill_seconds, prefill_tokens = None, None, None
    if role is not Role.DECODE:
        prefills, prefill_seconds = _prefill_time(dialect, readings, key)
        prefill_tokens = _prefill_tokens(dialect, readings, key)
    running, running_now = _running(dialect, readings, key)
    usage, tokens = _kv(readings, key)
    awake, engines = readings.value(level(Signal.AWAKE), key), readings.value(ENGINES, key)
    return EngineSample(
        interval_seconds=float(readings.slots.interval_seconds),
        finished=finished(dialect, readings, key),
        output_tokens=summed(dialect, readings, Signal.OUTPUT_TOKENS, key),
        prefills=prefills,
        prefill_tokens=prefill_tokens,
        prefill_seconds=prefill_seconds,
        itl_seconds=_mean_itl(readings, key),
        running=running,
        running_now=running_now,
        kv_tokens=tokens,
        kv_usage=usage,
        waiting=waiting(dialect, readings, key),
        reporting_replicas=round(replicas),
        reporting_engines=None if engines is None else round(engines),
        stuck_engines=round(readings.value(STUCK_ENGINES, key) or 0.0),
        sleeping_engines=0 if awake is None or engines is None else max(0, round(engines - awake)),
    )


def waiting(dialect: Dialect, readings: Readings, key: Labels) -> float | None:
    """Return the requests that wait for capacity in engines that move."""
    queued = readings.value(level(Signal.QUEUED), key)
    if queued is not None:
        return max(0.0, queued - (readings.value(stuck(Signal.QUEUED), key) or 0.0))
    found = held(dialect, readings, Signal.WAITING, key)
    return None if found is None else max(0.0, found - (readings.value(stuck(Signal.WAITING), key) or 0.0))


def held(dialect: Dialect, readings: Readings, signal: Signal, key: Labels) -> float | None:
    """Return a gauge of requests; zero for one that appears with its first event."""
    found = readings.value(level(signal), key)
    if found is None and signal in dialect.lazy and level(signal) in readings.vectors:
        return 0.0 if readings.value(REPLICAS, key) else None
    return found


def summed(dialect: Dialect, readings: Readings, signal: Signal, key: Labels, suffix: str = "") -> float | None:
    """Return the growth of a counter over the interval; zero for one that appears with its first event."""
    name = growth(signal) + suffix
    value = readings.value(name, key)
    if value is None and signal in dialect.lazy and name in readings.vectors:
        return 0.0 if readings.problem(name, key) is not None and readings.value(REPLICAS, key) else None
    return value


def finished(dialect: Dialect, readings: Readings, key: Labels) -> float | None:
    """Return the requests that ended in the interval; ``None`` while no replica reports."""
    if readings.value(REPLICAS, key) is None:
        return None
    if readings.row(growth(Signal.FINISHED), key) is None:
        lazy = Signal.FINISHED in dialect.lazy and growth(Signal.FINISHED) in readings.matrices
        return 0.0 if lazy else None
    return _grown(readings, Signal.FINISHED, key)


def _grown(readings: Readings, signal: Signal, key: Labels) -> float | None:
    """Return what a counter of arrivals grew in the interval, by its slots."""
    slots = readings.slots
    row = readings.row(growth(signal), key) or []
    known = [count for count in row[-(slots.interval_seconds // slots.slot_seconds) :] if not math.isnan(count)]
    return math.fsum(known) if known else None


def prompts(dialect: Dialect, readings: Readings, key: Labels) -> tuple[float, float] | None:
    """Return the number of prompts of the interval and their tokens, counted together."""
    if dialect.prompts_with is not None:
        begun = _grown(readings, dialect.prompts_with, key)
        tokens = summed(dialect, readings, Signal.PROMPT_TOKENS, key)
        if begun is not None and tokens is not None:
            return begun, tokens
    count = summed(dialect, readings, Signal.PROMPT_LENGTH, key, "_count")
    tokens = summed(dialect, readings, Signal.PROMPT_LENGTH, key, "_sum")
    if count is None or tokens is None:
        count = finished(dialect, readings, key)
        tokens = summed(dialect, readings, Signal.PROMPT_TOKENS, key)
    return None if count is None or tokens is None else (count, tokens)


def cached_share(dialect: Dialect, readings: Readings, keys: list[Labels]) -> float | None:
    """Return the share of prompt tokens that the prefix caches of several workloads answered."""
    cached, queried = 0.0, 0.0
    for key in keys:
        hits = summed(dialect, readings, Signal.CACHED_TOKENS, key)
        signal = Signal.CACHE_QUERIED_TOKENS
        asked = summed(dialect, readings, signal if signal in dialect.signals else Signal.PROMPT_TOKENS, key)
        if hits is not None and asked is not None:
            cached, queried = cached + hits, queried + asked
    return min(1.0, max(0.0, cached / queried)) if queried > 0.0 else None


def _prefill_time(dialect: Dialect, readings: Readings, key: Labels) -> tuple[float | None, float | None]:
    seconds = summed(dialect, readings, Signal.PREFILL_TIME, key, "_sum")
    if not dialect.prefill_batches:
        return summed(dialect, readings, Signal.PREFILL_TIME, key, "_count"), seconds
    seen = prompts(dialect, readings, key)
    return (None if seen is None else seen[0]), seconds


def _prefill_tokens(dialect: Dialect, readings: Readings, key: Labels) -> float | None:
    tokens = summed(dialect, readings, Signal.PREFILL_TOKENS, key, "_sum")
    if tokens is not None:
        return tokens
    prompt = summed(dialect, readings, Signal.PROMPT_TOKENS, key)
    cached = summed(dialect, readings, Signal.CACHED_TOKENS, key)
    if prompt is None:
        return None
    return max(0.0, prompt - (cached or 0.0))


def _mean_itl(readings: Readings, key: Labels) -> float | None:
    for signal in (Signal.TOKEN_ITL, Signal.REQUEST_ITL):
        count = readings.value(growth(signal) + "_count", key)
        total = readings.value(growth(signal) + "_sum", key)
        if count and total is not None:
            return total / count
    return None


def _running(dialect: Dialect, readings: Readings, key: Labels) -> tuple[float | None, float | None]:
    row = readings.row(level(Signal.RUNNING), key)
    if row is None:
        lazy = Signal.RUNNING in dialect.lazy and level(Signal.RUNNING) in readings.matrices
        return (0.0, 0.0) if lazy else (None, None)
    slots = readings.slots
    known = [value for value in row[-(slots.interval_seconds // slots.slot_seconds) :] if not math.isnan(value)]
    now = row[-1]
    frozen = readings.value(stuck(Signal.RUNNING), key) or 0.0
    mean = max(0.0, math.fsum(known) / len(known) - frozen) if known else None
    return mean, None if math.isnan(now) else max(0.0, now - frozen)


def _kv(readings: Readings, key: Labels) -> tuple[float | None, float | None]:
    """Return the mean use of the KV cache and the tokens in it."""
    total, engines = readings.value(level(Signal.KV_USAGE), key), readings.value(ENGINES, key)
    usage = total / engines if total is not None and engines else None
    if usage is not None and usage > HIGHEST_SHARE:
        return None, None
    tokens = readings.value(level(Signal.KV_TOKENS), key)
    capacity = readings.facts.kv_tokens_per_engine.get(key)
    if tokens is None and total is not None and capacity is not None:
        tokens = total * capacity
    return usage, tokens
