"""Forebay and every baseline of the replay on the public traces: cost over the oracle, and attainment.

``python -m tests.benchmarks.bench_replay_policies conv23 moon --start-up 60`` prints one table per case: each
policy at its documented default, with ``--sweep`` also its cheapest setting that meets the target (chosen in
hindsight) and the setting that the first third of the traffic would have chosen. ``--oracle thorough`` looks
longer for the bound.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from forebay.flow.fleet import Fleet, Pool, PoolKey, Role, Variant
from forebay.pipeline import FleetState
from forebay.replay.baselines import Facts, baselines
from forebay.replay.baselines.common.traffic import fleet_for_busiest_minute, starting_fleet
from forebay.replay.floor import floor
from forebay.replay.oracle import FAST, THOROUGH, Effort, Oracle, oracle
from forebay.replay.policy import Forebay
from forebay.replay.run import run
from forebay.replay.scenario import Scenario
from forebay.replay.score import PolicyScore, score
from forebay.replay.sweep import (
    Task,
    best_in_hindsight,
    evaluate,
    first_part,
    highest_attainment,
    tasks,
    transferred,
)
from forebay.simulation import QueueOrder, SimulationOptions, StartUp
from tests.benchmarks.policy_traces import CASES, DATA, Case

KEY = PoolKey("bench", "chat")
QUICK_CASES = ("conv23", "moon", "code23")
_MOST_OVER_PEAK = 4.0
"""A variant's maximum, over what the busiest minute needs: every user sets a maximum."""

HEADER = (
    "| policy | default: cost / oracle @ attained % | tuned in hindsight (knob) | chosen on the first third "
    "| actions/h | wall s |\n|---|---|---|---|---|---|"
)


def scenario(name: str, case: Case, start_up_seconds: float, *, order: QueueOrder = QueueOrder.FIFO) -> Scenario:
    """Return a case as a replay scenario: one prefill and one decode variant, each replica a dollar per hour."""
    variants = tuple(
        Variant(
            name=role.value,
            role=role,
            max_replicas=100_000,
            usd_per_replica_hour=1.0,
            performance=case.performance,
            start_up_seconds=start_up_seconds,
        )
        for role in (Role.PREFILL, Role.DECODE)
    )
    pool = Pool(key=KEY, slo=case.slo, variants=variants)
    names = [variant.name for variant in variants]
    facts = Facts(
        pool=pool,
        performance=dict.fromkeys(names, case.performance),
        start_up_seconds=dict.fromkeys(names, start_up_seconds),
        usd_per_replica_hour=dict.fromkeys(names, 1.0),
    )
    most = fleet_for_busiest_minute(facts, case.trace, 1.0 / _MOST_OVER_PEAK)
    pool = replace(pool, variants=tuple(replace(v, max_replicas=most[v.name]) for v in variants))
    return Scenario(
        name=name,
        fleet=Fleet(pools={KEY: pool}, node_pools={}),
        traces={KEY: case.trace},
        performance={KEY: dict.fromkeys(names, case.performance)},
        start_up={KEY: dict.fromkeys(names, StartUp.fixed(start_up_seconds))},
        initial={KEY: starting_fleet(facts, case.trace)},
        options=SimulationOptions(queue_order=order),
    )


def forebay(made: Scenario) -> PolicyScore:
    """Run Forebay at its defaults, its forecaster warmed up on the history that a case has."""
    begun = time.perf_counter()
    state, history = FleetState(), made.traces[KEY].history_requests_per_minute
    if history is not None:
        start_up = made.start_up[KEY]["prefill"].expected_seconds
        pool = made.fleet.pools[KEY]
        state.warm_start(pool, requests_per_minute=history, end_seconds=0.0, lead_times_seconds=(start_up,))
    got = score(made, run(made, Forebay(made.fleet, state), name="forebay"))
    return replace(got, wall_seconds=time.perf_counter() - begun)


def table(made: Scenario, effort: Effort, names: Sequence[str] | None, *, sweep: bool) -> Iterable[str]:
    """Yield the lines of one case's table as they are known."""
    begun = time.perf_counter()
    found = oracle(made, effort)
    bound = score(made, found.run)
    start_up = made.start_up[KEY]["prefill"].expected_seconds
    yield f"\n{made.name}, start-up {start_up:.0f} s, {made.requests} requests, queue {made.queue_order}"
    yield _bound(made, found, bound, time.perf_counter() - begun)
    yield HEADER
    yield _line("**forebay**", forebay(made), bound.cost_usd)
    for name in names if names is not None else baselines():
        default = Task(name, baselines()[name].knob.default)
        if not sweep:
            yield _line(name, evaluate(made, default), bound.cost_usd)
            continue
        whole = [evaluate(made, task) for task in tasks([name])]
        early = [evaluate(first_part(made), task) for task in tasks([name])]
        yield _line(name, whole[0], bound.cost_usd, *_choices(whole, early, bound.cost_usd))


def _bound(made: Scenario, found: Oracle, bound: PolicyScore, seconds: float) -> str:
    return (
        f"oracle {bound.cost_usd:.2f} replica-h @ {100 * bound.slo_attainment:.2f} % ({found.statement}; "
        f"{seconds:.0f} s); floor {floor(made).replica_hours:.2f}"
    )


def _choices(whole: Sequence[PolicyScore], early: Sequence[PolicyScore], bound: float) -> tuple[str, str]:
    name = whole[0].name
    best = best_in_hindsight(whole).get(name)
    tuned = (
        f"({100 * highest_attainment(whole)[name].slo_attainment:.1f} % at best)"
        if best is None
        else f"{_cell(best, bound)} ({best.knob:g})"
    )
    moved = transferred(whole, early).get(name)
    if moved is None:
        return tuned, "knows the future"
    return tuned, "none met it" if moved.score is None else f"{_cell(moved.score, bound)} ({moved.knob:g})"


def _cell(got: PolicyScore, bound: float) -> str:
    return f"{got.cost_usd / bound:.2f} @ {100 * got.slo_attainment:.1f}"


def _line(name: str, got: PolicyScore, bound: float, tuned: str = "", moved: str = "") -> str:
    return (
        f"| {name} | {_cell(got, bound)} | {tuned} | {moved} | {got.scale_actions_per_hour:.0f} "
        f"| {got.wall_seconds:.1f} |"
    )


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the public traces are not in {DATA}; set FOREBAY_DATA")
def test_all_policies_on_the_short_traces() -> None:
    for name in QUICK_CASES:
        for start_up_seconds in (60.0, 240.0):
            for line in table(scenario(name, CASES[name](0), start_up_seconds), FAST, None, sweep=False):
                print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(QUICK_CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--start-up", type=float, action="append", help="seconds (repeatable); default 60 and 240")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policies", nargs="*", metavar="NAME", help=", ".join(baselines()))
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--oracle", choices=("fast", "thorough"), default="fast")
    parser.add_argument("--queue-order", type=QueueOrder, choices=list(QueueOrder), default=QueueOrder.FIFO)
    options = parser.parse_args(arguments)
    effort = THOROUGH if options.oracle == "thorough" else FAST
    for case in options.cases:
        for start_up_seconds in options.start_up or (60.0, 240.0):
            made = scenario(case, CASES[case](options.seed), start_up_seconds, order=options.queue_order)
            for line in table(made, effort, options.policies, sweep=options.sweep):
                print(line, flush=True)


if __name__ == "__main__":
    main()
