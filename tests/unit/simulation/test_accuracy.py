"""The simulator against an iteration-level reference and against queueing theory."""

import heapq
import math

import numpy as np
import pytest

from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from tests.keys import decode, prefill
from tests.unit.simulation.builders import EIGHT_B, disaggregated, poisson, requests, simulate
from tests.unit.simulation.iterations import iterate


@pytest.mark.parametrize(
    ("rate", "prefillers", "decoders"),
    [
        pytest.param(20.0, 2, 1, id="small batches"),
        pytest.param(28.0, 2, 1, id="busy prefill"),
        pytest.param(32.0, 3, 1, id="large batches"),
        pytest.param(60.0, 4, 3, id="several decoders"),
    ],
)
def test_latencies_match_an_iteration_level_simulation(rate: float, prefillers: int, decoders: int) -> None:
    trace = poisson(6_000, rate)

    result = simulate(disaggregated(), trace, {P: prefillers, D: decoders}, plain=False)
    ttft, itl = iterate(trace, EIGHT_B, prefillers, decoders)

    levels = [50, 90, 99]
    assert np.percentile(result.ttft_seconds, levels) == pytest.approx(np.percentile(ttft, levels), rel=0.02)
    assert np.percentile(result.itl_seconds, levels) == pytest.approx(np.percentile(itl, levels), rel=0.02)
    assert result.itl_seconds.mean() == pytest.approx(itl.mean(), rel=0.02)


def test_prefill_queue_is_exactly_that_of_servers_that_take_the_next_in_line() -> None:
    trace = poisson(3_000, 60.0, seed=3)
    free = [0.0] * 4
    expected = []
    for arrival, tokens in zip(trace.arrival_seconds, trace.input_tokens, strict=True):
        end = max(heapq.heappop(free), arrival) + EIGHT_B.prefill_seconds(float(tokens))
        heapq.heappush(free, end)
        expected.append(end - arrival)

    result = simulate(disaggregated(), trace, {P: 4, D: 4}, plain=False)

    assert result.ttft_seconds == pytest.approx(np.array(expected), abs=1e-9)


P, D = prefill("p"), decode("d")
SERVICE = 0.1
QUICK_DECODE = Performance(
    prefill_base_seconds=0.0,
    prefill_seconds_per_token=1e-4,
    decode_base_seconds=1e-6,
    decode_seconds_per_sequence=0.0,
    decode_seconds_per_kv_token=0.0,
    max_batch=10_000,
    kv_capacity_tokens=10**12,
)


def _mean_wait(trace: RequestTrace, servers: int) -> float:
    result = simulate(disaggregated(QUICK_DECODE, QUICK_DECODE), trace, {P: servers, D: 1}, plain=False)
    waits = result.ttft_seconds - 1e-4 * trace.input_tokens
    return float(waits[1_000:].mean())


def test_one_server_with_constant_service_waits_like_m_d_1() -> None:
    arrivals = np.cumsum(np.random.default_rng(2).exponential(SERVICE / 0.7, 20_000))
    load = SERVICE * len(arrivals) / arrivals[-1]

    wait = _mean_wait(requests(arrivals.tolist(), 1_000, 1), 1)

    assert wait == pytest.approx(load * SERVICE / (2 * (1 - load)), rel=0.05)


def test_several_servers_with_exponential_service_wait_like_m_m_c() -> None:
    servers, load = 3, 0.75
    chance = np.random.default_rng(5)
    arrivals = np.cumsum(chance.exponential(SERVICE / (load * servers), 20_000))
    prompts = np.maximum(1, np.rint(chance.exponential(1_000.0, 20_000))).astype(int)

    wait = _mean_wait(requests(arrivals.tolist(), prompts.tolist(), 1), servers)

    offered = load * servers
    last = offered**servers / math.factorial(servers) / (1 - load)
    queued = last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)
    assert wait == pytest.approx(queued * SERVICE / (servers - offered), rel=0.08)
