"""Small fleets and traces for the simulator's tests, mostly run in plain Python so that nothing is compiled."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np

from forebay.flow.fleet import Pool, PoolKey, Role, Slo, Variant, VariantKey
from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from forebay.offline.simulation import SimulatedPool, SimulationOptions, SimulationResult, kernel
from forebay.offline.simulation.accelerate import interpreted

PLAIN = cast("Mapping[str, Callable[..., object]]", interpreted(vars(kernel)))

EIGHT_B = Performance(
    prefill_base_seconds=0.01,
    prefill_seconds_per_token=1 / 25_000,
    decode_base_seconds=0.008,
    decode_seconds_per_sequence=6e-5,
    decode_seconds_per_kv_token=22e-9,
    max_batch=256,
    kv_capacity_tokens=400_000,
    kv_transfer_seconds_per_token=2.5e-6,
)
SLO = Slo(ttft_seconds=0.5, itl_seconds=0.025, target=0.99)


def disaggregated(
    prefill: Performance = EIGHT_B, decode: Performance = EIGHT_B, *, start_up_seconds: float = 60.0
) -> Pool:
    """Return a pool with one prefill variant ``p`` and one decode variant ``d``."""
    return Pool(
        key=PoolKey("serving", "chat"),
        slo=SLO,
        variants=(
            Variant(name="p", role=Role.PREFILL, performance=prefill, start_up_seconds=start_up_seconds),
            Variant(name="d", role=Role.DECODE, performance=decode, start_up_seconds=start_up_seconds),
        ),
    )


def mixed(performance: Performance = EIGHT_B) -> Pool:
    """Return a pool with one variant ``s`` that prefills and decodes."""
    return Pool(
        key=PoolKey("serving", "chat"),
        slo=SLO,
        variants=(Variant(name="s", role=Role.SERVE, performance=performance, start_up_seconds=60.0),),
    )


def requests(
    arrivals: Sequence[float], prompts: Sequence[int] | int, outputs: Sequence[int] | int
) -> RequestTrace:
    """Return a trace of the given requests."""
    count = len(arrivals)
    return RequestTrace(
        name="test",
        arrival_seconds=np.asarray(arrivals, float),
        input_tokens=np.broadcast_to(np.asarray(prompts, np.int64), count).copy(),
        output_tokens=np.broadcast_to(np.asarray(outputs, np.int64), count).copy(),
    )


def poisson(count: int, per_second: float, *, seed: int = 0) -> RequestTrace:
    """Return Poisson arrivals with lognormal lengths (mean prompt 1,200, mean output 200 tokens)."""
    chance = np.random.default_rng(seed)
    return requests(
        np.cumsum(chance.exponential(1 / per_second, count)).tolist(),
        np.clip(chance.lognormal(6.6, 1.0, count), 16, 16_000).astype(int).tolist(),
        np.clip(chance.lognormal(5.0, 0.8, count), 2, 3_000).astype(int).tolist(),
    )


def simulate(
    pool: Pool,
    trace: RequestTrace,
    initial: Mapping[VariantKey, int],
    options: SimulationOptions | None = None,
    *,
    until: float | None = None,
    plain: bool = True,
) -> SimulationResult:
    """Run ``trace`` on a fixed fleet until everything is served, or until ``until``.

    ``plain``: in plain Python; long traces run compiled where numba is installed.
    """
    simulated = SimulatedPool(pool, trace, initial=initial, options=options, functions=PLAIN if plain else None)
    simulated.run_until(trace.span_seconds + 1000 if until is None else until)
    return simulated.result()
