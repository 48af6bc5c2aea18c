"""The day cases of the policy benchmark: whole days on the demo's engines, at four to sixty requests per second.

A prefill replica costs 1.90 $ per hour and a decode replica 2.99 $, as in the demo, so costs are in dollars.
Chat days are generated with two days of history; the weekday is the demo's own and starts without any. ServeGen
and Azure days are those of `policy_traces` at a lower rate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from demo.scene import ITL_SECONDS, SPEED, TTFT_SECONDS, USD_PER_GPU_HOUR, weekday
from forebay.flow.fleet import Role, Slo
from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from forebay.offline.traces import PRESETS, at_rate, generate
from tests.benchmarks.policy_traces import Case, azure_week, servegen

ENGINE = Performance(
    prefill_base_seconds=SPEED["prefill_base_seconds"],
    prefill_seconds_per_token=SPEED["prefill_seconds_per_token"],
    decode_base_seconds=SPEED["decode_base_seconds"],
    decode_seconds_per_sequence=SPEED["decode_seconds_per_sequence"],
    decode_seconds_per_kv_token=SPEED["decode_seconds_per_kv_token"],
    max_batch=int(SPEED["max_batch"]),
    kv_capacity_tokens=int(SPEED["kv_capacity_tokens"]),
)
"""The demo's slow engines."""
USD = {Role.PREFILL: float(USD_PER_GPU_HOUR["l40s"]), Role.DECODE: float(USD_PER_GPU_HOUR["h100"])}
_HISTORY_SECONDS = 172_800.0


def _case(trace: RequestTrace, ttft_seconds: float = TTFT_SECONDS) -> Case:
    return Case(trace, ENGINE, Slo(ttft_seconds=ttft_seconds, itl_seconds=ITL_SECONDS), USD)


def exp(seed: int) -> Case:
    """Return the demo's weekday at nine requests per second; no history."""
    return _case(at_rate(weekday(7 + seed), 9.0, seed=seed))


def chat(requests_per_second: float, hours: float, start_hour: float, seed: int) -> Case:
    """Return generated chat traffic with two days of history."""
    spec = replace(
        PRESETS["chat"],
        requests_per_second=requests_per_second,
        duration_seconds=hours * 3600.0,
        start_of_day_seconds=start_hour * 3600.0,
        history_seconds=_HISTORY_SECONDS,
    )
    return _case(generate(spec, seed))


def servegen_day(seed: int) -> Case:
    """Return a ServeGen day at six requests per second."""
    return _case(servegen("demo-sg6", 6.0, 48.0, 24.0, seed).trace)


def azure_day(requests_per_second: float, seed: int) -> Case:
    """Return an Azure code day; its long prompts have 2.5 s to the first token."""
    return _case(
        azure_week(f"demoz-az{requests_per_second:.0f}", requests_per_second, 96.0, 24.0, seed).trace, 2.5
    )


@dataclass(frozen=True, slots=True)
class Day:
    """One case: its traffic, the start-up of its replicas, and what a fleet that knows the future would cost."""

    name: str
    make: Callable[[int], Case]
    """From a seed."""
    seed: int = 0
    start_up_seconds: float = 240.0
    clairvoyant: Mapping[float, float] = field(default_factory=dict)
    """Cost per target."""


def _small(seed: int) -> Case:
    return azure_day(6.0, seed)


def _large(seed: int) -> Case:
    return azure_day(20.0, seed)


CHAT: Mapping[str, Callable[[int], Case]] = {
    "chat4.5": lambda seed: chat(4.5, 24.0, 0.0, seed),
    "chat9": lambda seed: chat(9.0, 24.0, 0.0, seed),
    "chat15": lambda seed: chat(15.0, 24.0, 0.0, seed),
    "chat60": lambda seed: chat(60.0, 12.0, 6.0, seed),
}
DAYS: tuple[Day, ...] = (
    Day("exp", exp, 0, 60.0, {0.9: 467.9, 0.99: 524.0}),
    Day("exp", exp, 0, 240.0, {0.9: 491.5, 0.95: 517.9, 0.99: 561.0, 0.999: 609.2}),
    Day("exp", exp, 0, 600.0, {0.9: 496.1, 0.99: 586.3}),
    Day("chat4.5", CHAT["chat4.5"], 0, 240.0, {0.9: 253.7, 0.95: 267.1, 0.99: 293.5, 0.999: 322.7}),
    Day("chat9", CHAT["chat9"], 2, 240.0, {0.9: 438.5, 0.99: 479.8}),
    Day("chat15", CHAT["chat15"], 5, 240.0, {0.9: 676.9, 0.99: 727.0}),
    Day("chat60", CHAT["chat60"], 0, 60.0),
    Day("chat60", CHAT["chat60"], 0, 240.0, {0.9: 1267.7, 0.99: 1311.5}),
    Day("chat60", CHAT["chat60"], 0, 600.0),
    Day("demo-sg6", servegen_day, 0, 240.0, {0.9: 377.9, 0.99: 422.6}),
    Day("demoz-az6", _small, 0, 240.0, {0.9: 314.2, 0.99: 350.3}),
    Day("demoz-az20", _large, 3, 240.0),
)
