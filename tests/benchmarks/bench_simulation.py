"""Measure the simulator: `python -m tests.benchmarks.bench_simulation [--requests 10000000]`.

One pool, prefill and decode apart, Poisson arrivals with lognormal lengths; one core. Per fleet size, the same run
twice: alone, and in the closed loop of a replay, where every 15 s the fleet is observed and scaled. Memory is the
peak resident size of the whole process, trace and results included.
"""

import argparse
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import Pool, PoolKey, Role, Slo, Variant
from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from forebay.offline.simulation import SimulatedPool, accelerate
from tests.keys import decode, prefill

PREFILL, DECODE = prefill("prefill"), decode("decode")

BAR_REQUESTS_PER_SECOND = 2e6
TICK_SECONDS = 15.0
EIGHT_B = Performance(
    prefill_base_seconds=0.01,
    prefill_seconds_per_token=1 / 25_000,
    decode_base_seconds=0.008,
    decode_seconds_per_sequence=6e-5,
    decode_seconds_per_kv_token=22e-9,
    max_batch=256,
    kv_capacity_tokens=400_000,
    kv_transfer_seconds_per_token=2.5e-6,
    source="invented, of the size of an 8B model on one GPU",
)
POOL = Pool(
    key=PoolKey("bench", "chat"),
    slo=Slo(ttft_seconds=0.5, itl_seconds=0.025, target=0.99),
    variants=tuple(
        Variant(name=role.value, role=role, performance=EIGHT_B, start_up_seconds=60.0)
        for role in (Role.PREFILL, Role.DECODE)
    ),
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fixed fleet and the traffic that loads its prefill to two thirds."""

    prefill: int
    decode: int
    requests_per_second: float


FLEETS = (Fleet(8, 8, 100.0), Fleet(80, 64, 1_000.0))


def make_trace(count: int, per_second: float) -> RequestTrace:
    """Return ``count`` requests: 1,200 prompt and 200 output tokens on average."""
    chance = np.random.default_rng(0)
    return RequestTrace(
        name="bench",
        arrival_seconds=np.cumsum(chance.exponential(1 / per_second, count)),
        input_tokens=np.clip(chance.lognormal(6.6, 1.0, count), 16, 16_000).astype(np.int64),
        output_tokens=np.clip(chance.lognormal(5.0, 0.8, count), 2, 3_000).astype(np.int64),
    )


def peak_megabytes() -> float:
    """Return the largest resident size that the process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024**2)


def measure(fleet: Fleet, trace: RequestTrace, *, closed_loop: bool) -> float:
    """Return the CPU seconds of one run, after checking that it served every request."""
    simulated = SimulatedPool(POOL, trace, initial={PREFILL: fleet.prefill, DECODE: fleet.decode})
    end = trace.span_seconds + 200.0
    begin = time.process_time()
    if closed_loop:
        for tick in range(1, int(end / TICK_SECONDS) + 1):
            simulated.run_until(tick * TICK_SECONDS)
            simulated.observe()
            simulated.scale({PREFILL: fleet.prefill + tick // 40 % 2, DECODE: fleet.decode + tick // 40 % 2})
    simulated.run_until(end)
    spent = time.process_time() - begin
    result = simulated.result()
    if result.unserved:
        raise RuntimeError(f"{result.unserved} requests were not served: the measurement is void")
    return spent


def compile_seconds() -> float:
    """Return the time of the first call: compilation, or loading what an earlier process compiled."""
    begin = time.perf_counter()
    simulated = SimulatedPool(POOL, make_trace(100, 10.0), initial={PREFILL: 1, DECODE: 1})
    simulated.run_until(20.0)
    return time.perf_counter() - begin


def main() -> int:
    """Print the table; return 1 if the slowest open-loop row misses the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--requests", type=lambda text: int(float(text)), default=10_000_000)
    count = parser.parse_args().requests
    compiled = "numba" if accelerate.COMPILED else "plain Python (numba is not installed)"
    print(f"{count:,} requests, {compiled}, first call {compile_seconds():.1f} s")
    print(f"{'replicas':>10} {'requests/s':>10} {'loop':>7} {'CPU s':>7} {'M requests/s':>13} {'peak MB':>10}")
    slowest = float("inf")
    for fleet in FLEETS:
        for closed_loop in (False, True):
            trace = make_trace(count, fleet.requests_per_second)
            seconds = measure(fleet, trace, closed_loop=closed_loop)
            if not closed_loop:
                slowest = min(slowest, count / seconds)
            print(
                f"{fleet.prefill:>4} + {fleet.decode:<3} {fleet.requests_per_second:>10.0f}"
                f" {'closed' if closed_loop else 'open':>7} {seconds:>7.2f} {count / seconds / 1e6:>13.2f}"
                f" {peak_megabytes():>10.0f}"
            )
    verdict = "met" if slowest >= BAR_REQUESTS_PER_SECOND else "missed"
    print(f"bar, for the simulator alone: {BAR_REQUESTS_PER_SECOND / 1e6:.0f} M requests/s on one core: {verdict}")
    return 0 if slowest >= BAR_REQUESTS_PER_SECOND else 1


if __name__ == "__main__":
    sys.exit(main())
