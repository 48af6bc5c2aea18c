"""The traffic on which the policy is measured: public traces and synthetic bursts, always made the same way.

Ten cases: days and mornings of two published weeks (ServeGen m-small; Azure code 2024, digitised), three real
hours (Azure 2023 conversation and code, Mooncake conversation), flash crowds and on/off bursts. Inside minutes the
intensity is an autoregressive process in log space with Poisson counts per five seconds. The pool is an 8B-class
model with an invented performance model, the same for all.
"""

import gzip
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forebay.flow.fleet import Role, Slo
from forebay.flow.performance import Performance
from forebay.flow.trace import FloatArray, IntArray, RequestTrace

DATA = Path(os.environ.get("FOREBAY_DATA", "../shared/data")) / "traces"

PERFORMANCE = Performance(
    prefill_base_seconds=0.010,
    prefill_seconds_per_token=1 / 25_000,
    decode_base_seconds=0.008,
    decode_seconds_per_sequence=0.00006,
    decode_seconds_per_kv_token=22e-9,
    max_batch=256,
    kv_capacity_tokens=400_000,
    kv_transfer_seconds_per_token=2.5e-6,
)
LONG_PROMPTS = Performance(
    prefill_base_seconds=0.010,
    prefill_seconds_per_token=1 / 80_000,
    decode_base_seconds=0.008,
    decode_seconds_per_sequence=0.00006,
    decode_seconds_per_kv_token=22e-9,
    max_batch=256,
    kv_capacity_tokens=1_200_000,
    kv_transfer_seconds_per_token=2.5e-6,
)
SLO = Slo(ttft_seconds=0.5, itl_seconds=0.025, target=0.99)
LONG_SLO = Slo(ttft_seconds=1.5, itl_seconds=0.025, target=0.99)

_SLOT_SECONDS = 5.0
_SLOTS_PER_MINUTE = 12
_SERVEGEN = "servegen_msmall_week1.60s.csv.gz"
_SERVEGEN_TOKENS = "servegen_msmall_week1.600s.csv.gz"
_AZURE_WEEK = "azure2024_code_week.DIGITISED.600s.csv.gz"


@dataclass(frozen=True, slots=True)
class Case:
    """One case: what arrives, and what serves it."""

    trace: RequestTrace
    performance: Performance = PERFORMANCE
    slo: Slo = SLO
    usd_per_replica_hour: Mapping[Role, float] = field(default_factory=dict)
    """Per role; every replica-hour costs one where nothing is said."""


def _table(name: str) -> "np.ndarray":
    with gzip.open(DATA / name, "rt") as file:
        return np.genfromtxt(file, delimiter=",", names=True)


def _slot_counts(rates: FloatArray, deviation: float, constant: float, rng: np.random.Generator) -> IntArray:
    """Draw Poisson counts per slot around ``rates`` (per second, per slot) times a log-normal AR(1) factor."""
    keep = np.exp(-_SLOT_SECONDS / constant)
    noise = rng.standard_normal(len(rates)) * deviation * np.sqrt(1.0 - keep**2)
    level = np.empty(len(rates))
    value = rng.standard_normal() * deviation
    for i, shock in enumerate(noise):
        value = keep * value + shock
        level[i] = value
    means = rates * np.exp(level - deviation**2 / 2.0) * _SLOT_SECONDS
    return rng.poisson(means).astype(np.int64)


def _lognormal(count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    inputs = np.clip(rng.lognormal(6.6, 1.0, count), 16, 16_000)
    return inputs, np.clip(rng.lognormal(5.0, 0.8, count), 2, 3_000)


def _trace(
    name: str,
    counts: IntArray,
    history_slots: int,
    lengths: Callable[[FloatArray, np.random.Generator], tuple[FloatArray, FloatArray]],
    rng: np.random.Generator,
) -> RequestTrace:
    """Place the arrivals of the slots after ``history_slots``; what precedes becomes minute counts."""
    live = counts[history_slots:]
    starts = np.repeat(np.arange(len(live)) * _SLOT_SECONDS, live)
    arrivals = np.sort(starts + rng.uniform(0.0, _SLOT_SECONDS, len(starts)))
    inputs, outputs = lengths(arrivals, rng)
    past = counts[:history_slots]
    history = past[: len(past) // _SLOTS_PER_MINUTE * _SLOTS_PER_MINUTE].reshape(-1, _SLOTS_PER_MINUTE).sum(axis=1)
    return RequestTrace(
        name=name,
        arrival_seconds=arrivals,
        input_tokens=np.maximum(1, np.rint(inputs)).astype(np.int64),
        output_tokens=np.maximum(1, np.rint(outputs)).astype(np.int64),
        history_requests_per_minute=history.astype(np.float64) if len(history) else None,
    )


def servegen(name: str, mean_rate: float, start_hour: float, hours: float, seed: int) -> Case:
    """Return a window of the ServeGen week scaled to a weekly mean of ``mean_rate`` requests per second."""
    rng = np.random.default_rng(seed)
    minutes = _table(_SERVEGEN)["requests"] / 60.0
    rates = minutes * mean_rate / minutes.mean()
    first, last = round(start_hour * 60), round((start_hour + hours) * 60)
    before = min(first, 48 * 60)
    counts = _slot_counts(np.repeat(rates[first - before : last], _SLOTS_PER_MINUTE), 0.08, 25.0, rng)
    table = _table(_SERVEGEN_TOKENS)
    swings = [_swing(table[kind] / np.maximum(table["requests"], 1)) for kind in ("input_tokens", "output_tokens")]

    def lengths(arrivals: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        bins = ((start_hour * 3600.0 + arrivals) // 600).astype(np.int64)
        inputs, outputs = _lognormal(len(arrivals), rng)
        return np.clip(inputs * swings[0][bins], 16, 16_000), np.clip(outputs * swings[1][bins], 2, 3_000)

    return Case(_trace(name, counts, before * _SLOTS_PER_MINUTE, lengths, rng))


def _swing(means: FloatArray) -> FloatArray:
    """Return how a token mean swings around its own level: smoothed over three hours, within a factor of two."""
    padded = np.pad(means, 9, mode="edge")
    smooth = np.convolve(padded, np.ones(18) / 18.0, mode="valid")[: len(means)]
    swing: FloatArray = np.clip(smooth / smooth.mean(), 0.5, 2.0)
    return swing


def azure_week(name: str, mean_rate: float, start_hour: float, hours: float, seed: int) -> Case:
    """Return a window of the Azure code week at a weekly mean of ``mean_rate``; lengths of Azure 2023 code."""
    rng = np.random.default_rng(seed)
    tens = _table(_AZURE_WEEK)["requests"] / 600.0
    tens = tens * mean_rate / tens.mean()
    first, last = start_hour * 3600.0, (start_hour + hours) * 3600.0
    before = min(first, 48 * 3600.0)
    seconds = np.arange(first - before, last, _SLOT_SECONDS) + _SLOT_SECONDS / 2.0
    rates = np.interp(seconds, np.arange(len(tens)) * 600.0 + 300.0, tens)
    counts = _slot_counts(rates, 0.15, 120.0, rng)
    code = _table("azure2023_code.requests.csv.gz")

    def lengths(arrivals: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        rows = rng.integers(0, len(code), len(arrivals))
        return code["input_tokens"][rows], code["output_tokens"][rows]

    return Case(_trace(name, counts, round(before / _SLOT_SECONDS), lengths, rng))


def copies(name: str, file: str, count: int, seed: int, *, long_prompts: bool = False) -> Case:
    """Return ``count`` superposed copies of a real hour, each arrival moved by up to five seconds; no history."""
    rng = np.random.default_rng(seed)
    table = _table(file)
    arrivals = np.tile(table["arrival_s"], count)
    arrivals = arrivals + rng.uniform(-5.0, 5.0, len(arrivals))
    order = np.argsort(np.maximum(arrivals, 0.0), kind="stable")
    trace = RequestTrace(
        name=name,
        arrival_seconds=np.maximum(arrivals, 0.0)[order],
        input_tokens=np.maximum(1, np.tile(table["input_tokens"], count)[order]).astype(np.int64),
        output_tokens=np.maximum(1, np.tile(table["output_tokens"], count)[order]).astype(np.int64),
    )
    return Case(trace, LONG_PROMPTS, LONG_SLO) if long_prompts else Case(trace)


def flash(name: str, seed: int, *, hours: float = 20.0, crowds: int = 5) -> Case:
    """Return 25 requests per second with a day curve and unannounced crowds of three to five times the base."""
    rng = np.random.default_rng(seed)
    before = 24.0
    seconds = np.arange(-before * 3600.0, hours * 3600.0, _SLOT_SECONDS)
    rates = 25.0 * (1.0 + 0.25 * np.sin(2.0 * np.pi * seconds / 86_400.0))
    for _ in range(crowds):
        start, length = rng.uniform(0.05, 0.93) * hours * 3600.0, rng.uniform(600.0, 3600.0)
        height = rng.uniform(3.0, 5.0) - 1.0
        inside = (seconds >= start) & (seconds < start + length)
        rates = rates + inside * 25.0 * height * np.clip((seconds - start) / 60.0, 0.0, 1.0)
    counts = _slot_counts(rates, 0.08, 25.0, rng)
    return Case(_trace(name, counts, round(before * 3600.0 / _SLOT_SECONDS), _plain, rng))


def onoff(name: str, seed: int, *, hours: float = 10.0, peak: float = 60.0) -> Case:
    """Return bursts of one to five minutes between silences of two to ten, with twelve hours of history."""
    rng = np.random.default_rng(seed)
    before = 12.0
    slots = round((before + hours) * 3600.0 / _SLOT_SECONDS)
    rates = np.empty(slots)
    at = 0
    while at < slots:
        quiet = round(rng.uniform(120.0, 600.0) / _SLOT_SECONDS)
        burst = round(rng.uniform(60.0, 300.0) / _SLOT_SECONDS)
        rates[at : at + quiet] = 0.03 * peak
        rates[at + quiet : at + quiet + burst] = peak * rng.uniform(0.8, 1.2)
        at += quiet + burst
    counts = _slot_counts(rates, 0.08, 25.0, rng)
    return Case(_trace(name, counts, round(before * 3600.0 / _SLOT_SECONDS), _plain, rng))


def _plain(arrivals: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    return _lognormal(len(arrivals), rng)


CASES: dict[str, Callable[[int], Case]] = {
    "sg20": lambda seed: servegen("sg20", 20.0, 2 * 24.0, 36.0, seed),
    "sg100": lambda seed: servegen("sg100", 100.0, 3 * 24.0 + 5.0, 8.0, seed),
    "sg500": lambda seed: servegen("sg500", 500.0, 4 * 24.0 + 7.0, 100.0 / 60.0, seed),
    "az20": lambda seed: azure_week("az20", 20.0, 4 * 24.0, 36.0, seed),
    "az100": lambda seed: azure_week("az100", 100.0, 4 * 24.0 + 9.0, 6.0, seed),
    "code23": lambda seed: copies("code23", "azure2023_code.requests.csv.gz", 19, seed),
    "conv23": lambda seed: copies("conv23", "azure2023_conv.requests.csv.gz", 9, seed),
    "moon": lambda seed: copies("moon", "mooncake_conversation.requests.csv.gz", 4, seed, long_prompts=True),
    "flash": lambda seed: flash("flash", seed),
    "onoff": lambda seed: onoff("onoff", seed),
}

LONG_CASES: dict[str, Callable[[int], Case]] = {
    "sg500-12h": lambda seed: servegen("sg500-12h", 500.0, 4 * 24.0 + 5.0, 12.0, seed),
}
"""Twelve hours around the 100 minutes of sg500, which one event decides: 17 million requests, 3 GB of memory."""
