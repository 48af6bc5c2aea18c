"""Fleets of several models on two GPU types, for closed loops of the real decision code over simulated GPUs."""

from collections.abc import Iterable, Mapping

import numpy as np

from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, Role, Variant
from forebay.flow.trace import IntArray, RequestTrace
from forebay.offline.replay.loop.closed_loop import PolicyRun, run
from forebay.offline.replay.loop.policy import Forebay
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.simulation import SimulationOptions, StartUp, StockOut
from tests.unit.replay.scenarios import PERFORMANCE, SLO

CHEAP, DEAR = "l40s", "h100"
USD = {CHEAP: 1.0, DEAR: 2.5}


def steady(rate: float, seconds: float, seed: int = 0) -> RequestTrace:
    """Return Poisson traffic of a constant rate."""
    chance = np.random.default_rng(seed)
    arrivals = np.sort(chance.uniform(0.0, seconds, int(chance.poisson(rate * seconds))))
    return RequestTrace(
        name="steady",
        arrival_seconds=arrivals,
        input_tokens=np.clip(chance.lognormal(6.6, 0.8, len(arrivals)), 16, 8000).astype(np.int64),
        output_tokens=np.clip(chance.lognormal(4.5, 0.6, len(arrivals)), 2, 800).astype(np.int64),
    )


def model(name: str, *, priority: int = 0, most: int = 30, least: int = 0) -> Pool:
    """Return a model that both GPU types serve equally fast, prefill only apart from decode."""
    variants = tuple(
        Variant(
            name=f"{role}-{kind}",
            role=role,
            node_pool=kind,
            min_replicas=least,
            max_replicas=most,
            performance=PERFORMANCE,
            start_up_seconds=60.0,
        )
        for role in (Role.PREFILL, Role.DECODE)
        for kind in (CHEAP, DEAR)
    )
    return Pool(key=PoolKey("test", name), slo=SLO, variants=variants, priority=priority)


def fleet_run(
    pools: Iterable[tuple[Pool, float]],
    *,
    seconds: float,
    initial: Mapping[str, int],
    stock: Mapping[str, int],
    stock_outs: tuple[StockOut, ...] = (),
    start_up_seconds: float = 60.0,
    budget: float | None = None,
) -> PolicyRun:
    """Run Forebay over ``pools`` with their rates; ``initial`` replicas by GPU type in every role."""
    some = list(pools)
    node_pools = {
        kind: NodePool(
            name=kind, accelerator=kind, gpus_per_node=1, usd_per_gpu_hour=USD[kind], max_nodes=stock[kind]
        )
        for kind in USD
    }
    fleet = Fleet(pools={pool.key: pool for pool, _ in some}, node_pools=node_pools, budget_usd_per_hour=budget)
    scenario = Scenario(
        name="fleet",
        fleet=fleet,
        traces={pool.key: steady(rate, seconds, seed) for seed, (pool, rate) in enumerate(some)},
        performance={pool.key: {v.key: PERFORMANCE for v in pool.variants} for pool, _ in some},
        start_up={pool.key: {v.key: StartUp.fixed(start_up_seconds) for v in pool.variants} for pool, _ in some},
        initial={pool.key: {v.key: initial[v.node_pool or ""] for v in pool.variants} for pool, _ in some},
        options=SimulationOptions(seed=0),
        stock_outs=stock_outs,
    )
    return run(scenario, Forebay(fleet), name="forebay")


def held(result: PolicyRun, pool: Pool, kind: str, what: str = "ready") -> IntArray:
    """Return the replicas of ``pool`` on ``kind`` over time, both roles together."""
    series = getattr(result.timelines[pool.key], what)
    return np.asarray(sum(series[v.key] for v in pool.variants if v.node_pool == kind))
