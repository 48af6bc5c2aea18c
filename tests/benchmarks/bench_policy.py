"""The default policy in a closed loop with the simulated fleet: ten traces, start-ups of 60 s and 240 s.

Prints, per case, the cost in replica-hours over that of a clairvoyant fleet and the share of servable requests
that met TTFT and ITL. Run it by ``make bench``, or alone for some cases:
``python -m tests.benchmarks.bench_policy sg20 conv23 --start-up 60 --seed 1``.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from forebay.flow.fleet import Fleet, Pool, PoolKey, Role, Variant
from forebay.flow.observation import FleetObservation
from forebay.flow.performance import Performance
from forebay.flow.settings import PolicySettings
from forebay.pipeline import FleetState, decide
from forebay.simulation import QueueOrder, SimulatedPool, SimulationOptions, StartUp
from tests.benchmarks.policy_traces import CASES, DATA, Case

KEY = PoolKey("bench", "chat")
NOT_SCORED_SECONDS = 60.0

# Replica-hours of the cheapest fleet found by local search over whole schedules that knows the future of (nearly)
# the same traces, has the same start-up and misses 1 % of the servable requests: an upper bound of the optimum.
CLAIRVOYANT = {
    "sg20": (116.4, 118.6),
    "sg100": (73.2, 75.6),
    "sg500": (52.1, 54.4),
    "az20": (143.7, 148.3),
    "az100": (74.3, 79.0),
    "code23": (20.4, 28.5),
    "conv23": (5.68, 6.01),
    "moon": (7.47, 7.67),
    "flash": (89.5, 93.1),
    "onoff": (44.1, 57.1),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to."""

    replica_hours: float
    attained: float
    """Of the requests that an idle system could serve in time."""
    worst_minutes: float
    """The same in the worst ten minutes."""
    actions_per_hour: float
    decide_milliseconds: float
    """Mean CPU time of one decision."""


def run_case(
    case: Case,
    *,
    start_up_seconds: float,
    settings: PolicySettings | None = None,
    options: "Options | None" = None,
) -> Outcome:
    """Run the policy over ``case``."""
    settings, options = settings or PolicySettings(), options or Options()
    roles = (Role.SERVE,) if options.serve else (Role.PREFILL, Role.DECODE)
    pool = _pool(case, options.believed(case.performance), start_up_seconds, settings, roles)
    initial = _initial(case, roles)
    simulated = SimulatedPool(
        pool,
        case.trace,
        initial=initial,
        performance=dict.fromkeys(initial, case.performance),
        start_up=dict.fromkeys(initial, StartUp.fixed(start_up_seconds)),
        options=SimulationOptions(queue_order=options.order),
    )
    fleet, state = Fleet(pools={KEY: pool}, node_pools={}), FleetState()
    history = case.trace.history_requests_per_minute
    if history is not None:
        state.warm_start(
            pool, requests_per_minute=history, end_seconds=0.0, lead_times_seconds=(start_up_seconds,)
        )
    spent, rounds = 0.0, math.ceil(case.trace.span_seconds / settings.interval_seconds)
    for number in range(1, rounds + 1):
        simulated.run_until(number * settings.interval_seconds)
        seen = FleetObservation(at_seconds=simulated.now_seconds, pools={KEY: simulated.observe()})
        begun = time.process_time()
        decision = decide(fleet, seen, state).pools[KEY]
        spent += time.process_time() - begun
        simulated.scale({variant.name: variant.desired for variant in decision.variants})
    return _outcome(case, simulated, spent / rounds)


@dataclass(frozen=True, slots=True)
class Options:
    """What else may differ from the plain case."""

    slower: float = 1.0
    """The policy believes replicas to be this much slower than they are (below 1: faster)."""
    learned: bool = False
    """The policy has no profile."""
    serve: bool = False
    """One role: every replica prefills and decodes."""
    order: QueueOrder = QueueOrder.FIFO

    def believed(self, true: Performance) -> Performance | None:
        """Return the profile that the policy is told."""
        if self.learned:
            return None
        return replace(
            true,
            prefill_base_seconds=self.slower * true.prefill_base_seconds,
            prefill_seconds_per_token=self.slower * true.prefill_seconds_per_token,
            decode_base_seconds=self.slower * true.decode_base_seconds,
            decode_seconds_per_sequence=self.slower * true.decode_seconds_per_sequence,
            decode_seconds_per_kv_token=self.slower * true.decode_seconds_per_kv_token,
        )


def _pool(
    case: Case,
    believed: Performance | None,
    start_up_seconds: float,
    settings: PolicySettings,
    roles: Sequence[Role],
) -> Pool:
    variants = tuple(
        Variant(
            name=role.value,
            role=role,
            max_replicas=1000,
            performance=believed,
            start_up_seconds=start_up_seconds,
        )
        for role in roles
    )
    return Pool(key=KEY, slo=case.slo, variants=variants, settings=settings)


def _initial(case: Case, roles: Sequence[Role]) -> dict[str, int]:
    """Return the fleet for 1.2 times the busiest minute of the first half hour at 80 % use."""
    trace, performance = case.trace, case.performance
    early = trace.arrival_seconds[trace.arrival_seconds < 1800.0]
    rate = 1.2 * float(np.bincount((early // 60.0).astype(np.int64)).max()) / 60.0
    first = len(early)
    prefill = performance.prefill_seconds(float(trace.input_tokens[:first].mean()))
    output = float(trace.output_tokens[:first].mean())
    context = float(trace.input_tokens[:first].mean()) + 0.9 * output
    slope = performance.decode_seconds_per_sequence + performance.decode_seconds_per_kv_token * context
    batch = (case.slo.itl_seconds - performance.decode_base_seconds) / slope
    batch = min(0.97 * performance.max_batch, 0.9 * performance.kv_capacity_tokens / context, batch)
    decode = output * performance.decode_step_seconds(batch, batch * context) / batch
    if Role.SERVE in roles:
        return {"serve": math.ceil(rate * (prefill + decode) / 0.8)}
    return {"prefill": math.ceil(rate * prefill / 0.8), "decode": math.ceil(rate * decode / 0.8)}


def _outcome(case: Case, simulated: SimulatedPool, decide_seconds: float) -> Outcome:
    result = simulated.result()
    trace, slo = case.trace, case.slo
    scored = trace.arrival_seconds < trace.span_seconds - NOT_SCORED_SECONDS
    prefill = (
        case.performance.prefill_base_seconds + case.performance.prefill_seconds_per_token * trace.input_tokens
    )
    servable = (prefill <= slo.ttft_seconds) & scored
    met = (result.ttft_seconds <= slo.ttft_seconds) & (result.itl_seconds <= slo.itl_seconds) & scored
    tens = (trace.arrival_seconds // 600.0).astype(np.int64)
    could, did = np.bincount(tens[servable]), np.bincount(tens[met], minlength=int(tens[servable].max()) + 1)
    shares = did[could > 0] / could[could > 0]
    return Outcome(
        replica_hours=sum(result.replica_seconds.values()) / 3600.0,
        attained=float(met.sum() / servable.sum()),
        worst_minutes=float(shares.min()),
        actions_per_hour=len(result.actions) / (trace.span_seconds / 3600.0),
        decide_milliseconds=1000.0 * decide_seconds,
    )


def row(name: str, start_up_seconds: float, seed: int, options: Options | None = None, price: float = 20.0) -> str:
    """Run one case and return its line of the table."""
    begun = time.perf_counter()
    outcome = run_case(
        CASES[name](seed),
        start_up_seconds=start_up_seconds,
        settings=PolicySettings(miss_price=price),
        options=options,
    )
    bound = CLAIRVOYANT[name][0 if start_up_seconds < 150.0 else 1]
    return (
        f"| {name} | {start_up_seconds:.0f} | {outcome.replica_hours:.1f} | {outcome.replica_hours / bound:.2f} "
        f"| {100 * outcome.attained:.2f} | {100 * outcome.worst_minutes:.0f} | {outcome.actions_per_hour:.0f} "
        f"| {outcome.decide_milliseconds:.2f} | {time.perf_counter() - begun:.0f} |"
    )


HEADER = (
    "| trace | start-up s | replica-hours | over clairvoyant | attained % | worst 10 min % | actions/h "
    "| ms per decision | wall s |\n|---|---|---|---|---|---|---|---|---|"
)


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the public traces are not in {DATA}; set FOREBAY_DATA")
def test_policy_on_all_traces() -> None:
    print(f"\n{HEADER}")
    for name in CASES:
        for start_up_seconds in (60.0, 240.0):
            print(row(name, start_up_seconds, seed=0), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--start-up", type=float, action="append", help="seconds (repeatable); default 60 and 240")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--price", type=float, default=20.0, help="of a miss, in the work of one request")
    parser.add_argument("--slower", type=float, default=1.0, help="the policy believes replicas this much slower")
    parser.add_argument("--learned", action="store_true", help="the policy has no profile")
    parser.add_argument("--serve", action="store_true", help="every replica prefills and decodes")
    parser.add_argument("--order", type=QueueOrder, choices=list(QueueOrder), default=QueueOrder.FIFO)
    options = parser.parse_args(arguments)
    kind = Options(options.slower, options.learned, options.serve, options.order)
    print(HEADER)
    for name in options.cases:
        for start_up_seconds in options.start_up or (60.0, 240.0):
            print(row(name, start_up_seconds, options.seed, kind, options.price), flush=True)


if __name__ == "__main__":
    main()
