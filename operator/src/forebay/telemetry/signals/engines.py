"""What the engines of one workload did and hold, from one round's readings."""

import math

from forebay.flow.observation import EngineSample
from forebay.telemetry.query.dialect import Dialect, Signal
from forebay.telemetry.query.readings import ENGINES, REPLICAS, Readings, growth, level
from forebay.telemetry.transport.answer import Labels


def engine_sample(dialect: Dialect, readings: Readings, key: Labels) -> EngineSample | None:
    """Return the sample of one workload, or ``None`` if none of its replicas reports."""
    replicas = readings.value(REPLICAS, key)
    if replicas is None:
        return None
    prefills, prefill_seconds = _prefill_time(dialect, readings, key)
    running, running_now = _running(readings, key)
    usage, tokens = _kv(readings, key)
    return EngineSample(
        interval_seconds=float(readings.slots.interval_seconds),
        finished=finished(dialect, readings, key),
        output_tokens=summed(dialect, readings, Signal.OUTPUT_TOKENS, key),
        prefills=prefills,
        prefill_tokens=_prefill_tokens(dialect, readings, key),
        prefill_seconds=prefill_seconds,
        itl_seconds=_mean_itl(readings, key),
        running=running,
        running_now=running_now,
        kv_tokens=tokens,
        kv_usage=usage,
        waiting=readings.value(level(Signal.WAITING), key),
        reporting_replicas=round(replicas),
    )


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
    slots = readings.slots
    last = slots.interval_seconds // slots.slot_seconds
    row = readings.row(growth(Signal.FINISHED), key)
    if row is None:
        lazy = Signal.FINISHED in dialect.lazy and growth(Signal.FINISHED) in readings.matrices
        return 0.0 if lazy else None
    known = [count for count in row[-last:] if not math.isnan(count)]
    return math.fsum(known) if known else None


def prompts(dialect: Dialect, readings: Readings, key: Labels) -> tuple[float, float] | None:
    """Return the number of prompts of the interval and their tokens, counted together."""
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


def _running(readings: Readings, key: Labels) -> tuple[float | None, float | None]:
    row = readings.row(level(Signal.RUNNING), key)
    if row is None:
        return None, None
    slots = readings.slots
    known = [value for value in row[-(slots.interval_seconds // slots.slot_seconds) :] if not math.isnan(value)]
    now = row[-1]
    mean = math.fsum(known) / len(known) if known else None
    return mean, None if math.isnan(now) else now


def _kv(readings: Readings, key: Labels) -> tuple[float | None, float | None]:
    """Return the mean use of the KV cache and the tokens in it."""
    total, engines = readings.value(level(Signal.KV_USAGE), key), readings.value(ENGINES, key)
    usage = total / engines if total is not None and engines else None
    tokens = readings.value(level(Signal.KV_TOKENS), key)
    capacity = readings.facts.kv_tokens_per_engine.get(key)
    if tokens is None and total is not None and capacity is not None:
        tokens = total * capacity
    return usage, tokens
