"""Forebay beside every baseline of the replay, on the public traces: cost over the oracle's, and attainment.

``python -m tests.benchmarks.bench_replay_policies conv23 moon --start-up 60`` runs each policy at its documented
default; ``--sweep`` also at every second setting of its main knob, over all of the traffic (the cheapest that
meets the target is chosen in hindsight) and over its first third (the setting that one could have chosen by
then). ``--published`` runs what docs/benchmarks/others.md shows. Runs go to a file of JSON lines (``--rows``) as
they end and are not repeated while it has them; ``--again forebay`` forgets a policy's.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import pytest

from forebay.flow.fleet import Fleet, Pool, PoolKey, Role, Variant
from forebay.offline.replay.baselines import PoolFacts, baselines
from forebay.offline.replay.baselines.common.trace_work import fleet_for_busiest_minute, starting_fleet
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.policy import Forebay
from forebay.offline.replay.loop.recorder import warm_state
from forebay.offline.replay.loop.scenario import Scenario, first_part
from forebay.offline.replay.loop.score import PolicyScore, score
from forebay.offline.replay.oracle import FAST, THOROUGH, Effort, oracle
from forebay.offline.replay.results.floor import floor
from forebay.offline.simulation import QueueOrder, SimulationOptions, StartUp
from tests.benchmarks.policy_traces import CASES, DATA, Case, azure_week, servegen

KEY = PoolKey("bench", "chat")
QUICK_CASES = ("conv23", "moon", "code23")
FOREBAY, ORACLE, FLOOR = "forebay", "oracle", "floor"
WHOLE, EARLY = "whole", "first third"
_MOST_OVER_PEAK = 4.0
"""A variant's maximum, over what the busiest minute needs: every user sets a maximum."""

TRAFFIC: dict[str, Callable[[int], Case]] = CASES | {
    "sg20-day": lambda seed: servegen("sg20-day", 20.0, 2 * 24.0, 24.0, seed),
    "az20-day": lambda seed: azure_week("az20-day", 20.0, 4 * 24.0, 24.0, seed),
}
"""The ten traces, and whole days of the two weeks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One run."""

    case: str
    start_up_seconds: float
    policy: str
    knob: float | None = None
    part: str = WHOLE
    order: str = QueueOrder.FIFO.value
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run and what it came to."""

    ask: Ask
    cost: float
    """Replica-hours: every replica costs a dollar per hour."""
    attained: float
    meets: bool
    actions_per_hour: float
    cpu_seconds: float


class Rows:
    """Runs that are done, in a file of JSON lines; what is missing is run when it is asked for."""

    def __init__(self, path: Path | None, *, effort: Effort = FAST, again: Sequence[str] = ()) -> None:
        self._path, self._effort = path, effort
        self._rows: dict[Ask, Row] = {}
        for row in self._stored():
            if row.ask.policy not in again:
                self._rows[row.ask] = row

    def of(self, ask: Ask) -> Row:
        """Return the row of ``ask``, which is run unless it is known."""
        if ask not in self._rows:
            row = self._rows[ask] = _run(ask, self._effort)
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
            print(f"{ask}: {row.cost:.2f} @ {100 * row.attained:.2f} % ({row.cpu_seconds:.1f} s)", flush=True)
        return self._rows[ask]

    def _stored(self) -> Iterator[Row]:
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            yield Row(**(found | {"ask": Ask(**found["ask"])}))


@lru_cache(maxsize=2)
def scenario(case: str, start_up_seconds: float, order: str, seed: int) -> Scenario:
    """Return a case as a replay scenario: one prefill and one decode variant, each replica a dollar per hour."""
    made = TRAFFIC[case](seed)
    variants = tuple(
        Variant(
            name=role.value,
            role=role,
            max_replicas=100_000,
            usd_per_replica_hour=1.0,
            performance=made.performance,
            start_up_seconds=start_up_seconds,
        )
        for role in (Role.PREFILL, Role.DECODE)
    )
    pool = Pool(key=KEY, slo=made.slo, variants=variants)
    names = [variant.key for variant in variants]
    facts = PoolFacts(
        pool=pool,
        performance=dict.fromkeys(names, made.performance),
        start_up_seconds=dict.fromkeys(names, start_up_seconds),
        usd_per_replica_hour=dict.fromkeys(names, 1.0),
    )
    most = fleet_for_busiest_minute(facts, made.trace, 1.0 / _MOST_OVER_PEAK)
    pool = replace(pool, variants=tuple(replace(v, max_replicas=most[v.key]) for v in pool.variants))
    return Scenario(
        name=case,
        fleet=Fleet(pools={KEY: pool}, node_pools={}),
        traces={KEY: made.trace},
        performance={KEY: dict.fromkeys(names, made.performance)},
        start_up={KEY: dict.fromkeys(names, StartUp.fixed(start_up_seconds))},
        initial={KEY: starting_fleet(facts, made.trace)},
        options=SimulationOptions(queue_order=QueueOrder(order)),
    )


def _run(ask: Ask, effort: Effort) -> Row:
    made = scenario(ask.case, ask.start_up_seconds, ask.order, ask.seed)
    begun = time.process_time()
    if ask.policy == FLOOR:
        return Row(
            ask=ask,
            cost=floor(made).replica_hours,
            attained=1.0,
            meets=True,
            actions_per_hour=0.0,
            cpu_seconds=0.0,
        )
    got = _score(first_part(made) if ask.part == EARLY else made, ask, effort)
    return Row(
        ask=ask,
        cost=got.cost_usd,
        attained=got.slo_attainment,
        meets=got.meets_target,
        actions_per_hour=got.scale_actions_per_hour,
        cpu_seconds=time.process_time() - begun,
    )


def _score(made: Scenario, ask: Ask, effort: Effort) -> PolicyScore:
    if ask.policy == ORACLE:
        return score(made, oracle(made, effort).run)
    if ask.policy == FOREBAY:
        return score(made, run(made, Forebay(made.fleet, warm_state(made, made.fleet)), name=FOREBAY))
    policy = baselines()[ask.policy].policy(made, ask.knob)
    return score(made, run(made, policy, name=ask.policy, knob=ask.knob))


def settings(policy: str) -> tuple[float, ...]:
    """Return the documented default of a baseline's knob and every second of its other settings."""
    knob = baselines()[policy].knob
    return tuple(dict.fromkeys((knob.default, *knob.sweep[::2])))


def swept(rows: Rows, ask: Ask) -> tuple[Row | None, Row | None, Row]:
    """Return the cheapest setting that meets the target, the one that the first third chooses, and the best.

    The first is ``None`` where no setting meets the target, the second where none does on the first third.
    """
    whole = {knob: rows.of(replace(ask, knob=knob)) for knob in settings(ask.policy)}
    able = [row for row in whole.values() if row.meets]
    tuned = min(able, key=lambda row: row.cost, default=None)
    best = max(whole.values(), key=lambda row: row.attained)
    if baselines()[ask.policy].hindsight:
        return tuned, None, best
    early = {knob: rows.of(replace(ask, knob=knob, part=EARLY)) for knob in settings(ask.policy)}
    chosen = min((k for k, row in early.items() if row.meets), key=lambda k: early[k].cost, default=None)
    return tuned, None if chosen is None else whole[chosen], best


def cell(row: Row, bound: Row) -> str:
    """Return cost over the oracle's and attainment; bold where the target is met."""
    text = f"{row.cost / bound.cost:.2f} @ {int(1000 * row.attained) / 10:.1f}"
    return f"**{text}**" if row.meets else text


def defaults_table(rows: Rows, cases: Sequence[tuple[str, float]], names: Sequence[str]) -> Iterable[str]:
    """Yield a table of policies by cases, each at its documented default."""
    asks = [Ask(case=case, start_up_seconds=seconds, policy=ORACLE) for case, seconds in cases]
    yield "| policy | " + " | ".join(f"{ask.case}, {ask.start_up_seconds:.0f} s" for ask in asks) + " |"
    yield "|---" * (1 + len(asks)) + "|"
    bounds = []
    for ask in asks:  # case by case, as a case takes memory
        bounds.append(rows.of(ask))
        for name in names:
            rows.of(replace(ask, policy=name, knob=baselines()[name].knob.default))
    for name in (FOREBAY, *names, FLOOR):
        knob = baselines()[name].knob.default if name in baselines() else None
        found = [rows.of(replace(ask, policy=name, knob=knob)) for ask in asks]
        cells = [
            f"{row.cost / bound.cost:.2f}" if name == FLOOR else cell(row, bound)
            for row, bound in zip(found, bounds, strict=True)
        ]
        star = "*" if name in baselines() and baselines()[name].hindsight else ""
        yield f"| {name}{star} | " + " | ".join(cells) + " |"


def knobs_table(rows: Rows, case: str, start_up_seconds: float, names: Sequence[str]) -> Iterable[str]:
    """Yield what the knob buys: chosen on the first third, and in hindsight."""
    ask = Ask(case=case, start_up_seconds=start_up_seconds, policy=ORACLE)
    bound = rows.of(ask)
    yield f"| {case}, {start_up_seconds:.0f} s | default | chosen on the first third | tuned in hindsight |"
    yield "|---|---|---|---|"
    yield f"| {FOREBAY} | {cell(rows.of(replace(ask, policy=FOREBAY)), bound)} | the same | the same |"
    for name in names:
        mine = replace(ask, policy=name)
        default = rows.of(replace(mine, knob=baselines()[name].knob.default))
        tuned, moved, best = swept(rows, mine)
        hindsight = baselines()[name].hindsight
        moves = "knows it all" if hindsight else "none met it" if moved is None else _with_knob(moved, bound)
        tunes = f"none ({100 * best.attained:.1f} % at best)" if tuned is None else _with_knob(tuned, bound)
        yield f"| {name}{'*' if hindsight else ''} | {cell(default, bound)} | {moves} | {tunes} |"


def _with_knob(row: Row, bound: Row) -> str:
    return f"{cell(row, bound)} ({row.ask.knob:g})"


def orders_table(rows: Rows, cases: Sequence[tuple[str, float]], names: Sequence[str]) -> Iterable[str]:
    """Yield what another queue order in the router changes, over the cost of the FIFO oracle."""
    yield "| case | policy | fifo | late-last |\n|---|---|---|---|"
    for case, seconds in cases:
        bound = rows.of(Ask(case=case, start_up_seconds=seconds, policy=ORACLE))
        for name in names:
            knob = baselines()[name].knob.default if name in baselines() else None
            ask = Ask(case=case, start_up_seconds=seconds, policy=name, knob=knob)
            late = rows.of(replace(ask, order=QueueOrder.LATE_LAST.value))
            yield f"| {case}, {seconds:.0f} s | {name} | {cell(rows.of(ask), bound)} | {cell(late, bound)} |"


PUBLISHED_POLICIES = (
    "reactive", "hpa", "hpa-combined", "hpa-queue", "keda-rate", "keda-token-velocity", "keda-token-backlog",
    "knative-rps", "aibrix-kpa", "heteroscale", "dynamo-throughput", "dynamo-sla", "seasonal-naive", "static-peak",
)  # fmt: skip
PUBLISHED_CASES: Mapping[float, Sequence[str]] = {
    240.0: ("conv23", "code23", "moon", "onoff", "az20-day", "sg20-day"),
    60.0: ("conv23", "code23", "moon", "onoff"),
}
PUBLISHED_KNOBS = (("conv23", 240.0), ("moon", 240.0), ("az20-day", 240.0))
KNOB_POLICIES = (
    "reactive", "hpa", "hpa-queue", "keda-rate", "keda-token-velocity", "keda-token-backlog", "heteroscale",
    "dynamo-throughput", "static-peak",
)  # fmt: skip
PUBLISHED_ORDERS = (("az20-day", 240.0), ("conv23", 240.0), ("onoff", 240.0))


def published(rows: Rows) -> Iterable[str]:
    """Yield the tables of docs/benchmarks/others.md."""
    for seconds, names in PUBLISHED_CASES.items():
        yield ""
        yield from defaults_table(rows, [(name, seconds) for name in names], PUBLISHED_POLICIES)
    for case, seconds in PUBLISHED_KNOBS:
        yield ""
        yield from knobs_table(rows, case, seconds, KNOB_POLICIES)
    yield ""
    yield from orders_table(rows, PUBLISHED_ORDERS, (FOREBAY, "reactive", "hpa"))


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the public traces are not in {DATA}; set FOREBAY_DATA")
def test_all_policies_on_the_short_traces() -> None:
    rows = Rows(None)
    for seconds in (60.0, 240.0):
        for line in defaults_table(rows, [(case, seconds) for case in QUICK_CASES], tuple(baselines())):
            print(line, flush=True)
    known = rows.of(Ask(case="conv23", start_up_seconds=60.0, policy=FOREBAY))
    bound = rows.of(Ask(case="conv23", start_up_seconds=60.0, policy=ORACLE))
    assert known.meets
    assert 1.0 < known.cost / bound.cost < 2.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(QUICK_CASES), metavar="CASE", help=", ".join(TRAFFIC))
    parser.add_argument("--start-up", type=float, action="append", help="seconds (repeatable); default 60 and 240")
    parser.add_argument("--policies", nargs="*", metavar="NAME", help=", ".join(baselines()))
    parser.add_argument("--sweep", action="store_true", help="also over the settings of the knobs")
    parser.add_argument("--published", action="store_true", help="the tables of docs/benchmarks/others.md")
    parser.add_argument("--oracle", choices=("fast", "thorough"), default="fast")
    parser.add_argument("--rows", type=Path, help="file of JSON lines that keeps the runs")
    parser.add_argument("--again", nargs="*", default=(), metavar="NAME", help="policies whose runs are repeated")
    options = parser.parse_args(arguments)
    rows = Rows(options.rows, effort=THOROUGH if options.oracle == "thorough" else FAST, again=options.again)
    if options.published:
        print("\n".join(published(rows)))
        return
    names = tuple(options.policies or baselines())
    for seconds in options.start_up or (60.0, 240.0):
        print("\n".join(defaults_table(rows, [(case, seconds) for case in options.cases], names)), flush=True)
        if options.sweep:
            for case in options.cases:
                print("\n".join(("", *knobs_table(rows, case, seconds, names))), flush=True)


if __name__ == "__main__":
    main()
