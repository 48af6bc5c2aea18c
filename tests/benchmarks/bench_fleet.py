"""Closed loops over fleets with two GPU types: `python -m tests.benchmarks.bench_fleet`; in `make bench-plan`.

An 8B-class model, prefill and decode apart, on a cheap GPU type (1 $/h) and an equally fast dear one (2.5 $/h),
start-up 60 s, constant Poisson traffic. The decision code is the operator's; only the GPUs are simulated.
"""

from collections.abc import Sequence

import numpy as np

from forebay.flow.fleet import Pool
from forebay.offline.replay.loop.closed_loop import PolicyRun
from forebay.offline.simulation import StockOut
from tests.unit.replay.fleetruns import CHEAP, DEAR, USD, fleet_run, held, model
from tests.unit.replay.scenarios import SLO

SECONDS = 3600.0
SHORTAGE_SECONDS = 1800.0


def attainment(result: PolicyRun, pool: Pool) -> float:
    """Return the share of the requests before the last minute that met both objectives."""
    found = result.results[pool.key]
    met = (found.ttft_seconds <= SLO.ttft_seconds) & (found.itl_seconds <= SLO.itl_seconds)
    return float(met[found.trace.arrival_seconds < found.trace.span_seconds - 60.0].mean())


def usd_per_hour(result: PolicyRun, pool: Pool, ticks: slice) -> float:
    """Return what the pool's ready and starting replicas cost on average."""
    return sum(float(held(result, pool, kind, "supply")[ticks].mean()) * USD[kind] for kind in (CHEAP, DEAR))


def remix(name: str, rate: float, initial: int, stock_outs: tuple[StockOut, ...], cheap_stock: int) -> None:
    """Print one run of a fleet that begins on the dear type."""
    pool = model("chat", most=60)
    result = fleet_run(
        [(pool, rate)],
        seconds=SECONDS,
        initial={CHEAP: 0, DEAR: initial},
        stock={CHEAP: cheap_stock, DEAR: 60},
        stock_outs=stock_outs,
    )
    at, dear = result.timelines[pool.key].at_seconds, held(result, pool, DEAR)
    gone = at[np.flatnonzero(dear == 0)[:1]]
    minutes = f"{gone[0] / 60:.0f} min" if len(gone) else "never"
    usd = [usd_per_hour(result, pool, part) for part in (slice(0, 4), slice(-8, None), slice(None))]
    figures = " ".join(f"{value:7.1f}" for value in usd)
    print(f"{name:46} {figures} {minutes:>8} {int(dear[-1]):>5} {attainment(result, pool):8.2%}")


def shortage(rates: Sequence[float], stock: dict[str, int]) -> None:
    """Print who is served when three models share too few GPUs."""
    models = [model(name, priority=priority) for name, priority in (("first", 2), ("second", 1), ("third", 0))]
    result = fleet_run(
        list(zip(models, rates, strict=True)),
        seconds=SHORTAGE_SECONDS,
        initial={CHEAP: 1, DEAR: 0},
        stock=stock,
    )
    late = slice(-20, None)
    for one in models:
        found = result.results[one.key]
        served = 1.0 - float(np.isnan(found.done_seconds).mean())
        gpus = [float(held(result, one, kind)[late].mean()) for kind in (CHEAP, DEAR)]
        told = f"{gpus[0]:4.1f} cheap and {gpus[1]:4.1f} dear GPUs at the end"
        print(f"priority {one.priority}: {told}, {served:7.2%} served")


def main() -> None:
    """Print both tables."""
    print(f"{'run':46} {'first':>7} {'last':>7} {'mean':>7} {'moved':>8} {'dear':>5} {'SLO met':>8}  ($/h)")
    sold_out = StockOut(node_pool=CHEAP, start_seconds=0.0, end_seconds=SECONDS / 2)
    remix("30 req/s, cheap type free", 30.0, 2, (), 60)
    remix("200 req/s, cheap type free", 200.0, 10, (), 60)
    remix("200 req/s, cheap type sold out for half an hour", 200.0, 10, (sold_out,), 60)
    remix("200 req/s, only 6 cheap GPUs", 200.0, 10, (), 6)
    print(f"three models, 45 req/s each, 8 cheap and 2 dear GPUs, {SHORTAGE_SECONDS / 60:.0f} min")
    shortage([45.0, 45.0, 45.0], {CHEAP: 8, DEAR: 2})


if __name__ == "__main__":
    main()
