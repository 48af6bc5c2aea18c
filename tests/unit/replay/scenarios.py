"""Small scenarios for tests of the replay: an 8B-class model on one or two GPU types."""

import numpy as np

from forebay.flow.fleet import Fleet, Pool, PoolKey, Role, Slo, Variant
from forebay.flow.performance import Performance
from forebay.flow.trace import RequestTrace
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.simulation import StartUp

KEY = PoolKey("test", "chat")
SLO = Slo(ttft_seconds=0.5, itl_seconds=0.025, target=0.95)
PERFORMANCE = Performance(
    prefill_base_seconds=0.01,
    prefill_seconds_per_token=1 / 25_000,
    decode_base_seconds=0.008,
    decode_seconds_per_sequence=0.00006,
    decode_seconds_per_kv_token=22e-9,
    max_batch=256,
    kv_capacity_tokens=400_000,
)


def variant(role: Role, name: str = "", *, most: int = 40, usd: float = 1.0) -> Variant:
    return Variant(
        name=name or role.value,
        role=role,
        max_replicas=most,
        usd_per_replica_hour=usd,
        performance=PERFORMANCE,
        start_up_seconds=60.0,
    )


def trace(seconds: float = 900.0, rate: float = 20.0, *, burst: float = 3.0, seed: int = 0) -> RequestTrace:
    """Return Poisson traffic whose middle third runs at ``burst`` times the rate."""
    chance = np.random.default_rng(seed)
    rates = np.where(np.abs(np.arange(seconds) - seconds / 2) < seconds / 6, burst * rate, rate)
    counts = chance.poisson(rates)
    arrivals = np.sort(np.repeat(np.arange(len(counts)), counts) + chance.uniform(0.0, 1.0, int(counts.sum())))
    return RequestTrace(
        name="burst",
        arrival_seconds=arrivals.astype(np.float64),
        input_tokens=np.clip(chance.lognormal(6.6, 0.8, len(arrivals)), 16, 8000).astype(np.int64),
        output_tokens=np.clip(chance.lognormal(4.5, 0.6, len(arrivals)), 2, 800).astype(np.int64),
    )


def scenario(
    requests: RequestTrace | None = None,
    *,
    variants: tuple[Variant, ...] | None = None,
    start_up_seconds: float = 60.0,
    initial: int = 3,
) -> Scenario:
    variants = variants or (variant(Role.PREFILL), variant(Role.DECODE))
    return Scenario(
        name="test",
        fleet=Fleet(pools={KEY: Pool(key=KEY, slo=SLO, variants=variants)}, node_pools={}),
        traces={KEY: trace() if requests is None else requests},
        performance={KEY: {v.key: PERFORMANCE for v in variants}},
        start_up={KEY: {v.key: StartUp.fixed(start_up_seconds) for v in variants}},
        initial={KEY: {v.key: min(initial, v.max_replicas) for v in variants}},
    )
