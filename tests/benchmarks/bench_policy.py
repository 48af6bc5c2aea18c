"""The scaling policy in a closed loop with the simulated fleet: days, hours and bursts, objectives and start-ups.

Prints a line per case: at each objective the cost, the share of servable requests in time and the cost over that
of a fleet that knows the future; then scaling actions, the worst hour and ten minutes, and replicas cancelled
before they were ready. Below it a summary per objective. Run it by ``make bench-policy``, or alone for some cases:
``python -m tests.benchmarks.bench_policy exp:240 chat9 --targets 90 99``.
``--levers`` prints what each part of the policy buys.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import pytest

from forebay.offline.simulation import QueueOrder
from tests.benchmarks.policy_days import DAYS
from tests.benchmarks.policy_levers import LEVERS, Lever
from tests.benchmarks.policy_loop import Options, Outcome, run_case
from tests.benchmarks.policy_traces import CASES, DATA, LONG_CASES, Case

START_UPS = (60.0, 240.0)
TARGETS = (0.9, 0.95, 0.99, 0.999)

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
class Setting:
    """One case with one start-up."""

    name: str
    make: Callable[[int], Case]
    seed: int
    start_up_seconds: float
    clairvoyant: Mapping[float, float] = field(default_factory=dict)
    """Cost per target."""


def settings_of(name: str, start_ups: Sequence[float] = ()) -> list[Setting]:
    """Return the settings of a case by its name, with those start-ups or its own."""
    days = [
        Setting(day.name, day.make, day.seed, day.start_up_seconds, day.clairvoyant)
        for day in DAYS
        if day.name == name and (not start_ups or day.start_up_seconds in start_ups)
    ]
    if days:
        return days
    make = (CASES | LONG_CASES)[name]
    found = []
    for seconds in start_ups or START_UPS:
        bounds = CLAIRVOYANT.get(name)
        known = {} if bounds is None else {0.99: bounds[0 if seconds < 150.0 else 1]}
        found.append(Setting(name, make, 0, seconds, known))
    return found


def _asked(text: str, start_ups: Sequence[float]) -> list[Setting]:
    """Return the settings of ``CASE`` or ``CASE:START_UP``."""
    name, _, seconds = text.partition(":")
    return settings_of(name, (float(seconds),) if seconds else start_ups)


@lru_cache(maxsize=1)
def _traffic(make: Callable[[int], Case], seed: int) -> Case:
    """Return a case; the last one is kept, for the next target."""
    return make(seed)


@dataclass(frozen=True, slots=True)
class Result:
    """One run and what it is measured against."""

    setting: Setting
    target: float
    outcome: Outcome

    @property
    def met(self) -> bool:
        """Return whether the objective was reached."""
        return self.outcome.attained >= self.target

    @property
    def ratio(self) -> float | None:
        """Return the cost over that of the fleet that knows the future; ``None`` where none was searched."""
        bound = self.setting.clairvoyant.get(self.target)
        return None if bound is None else self.outcome.cost / bound


def measured(setting: Setting, target: float, seed: int, options: Options, lever: Lever) -> Result:
    """Run one case."""
    case = _traffic(setting.make, setting.seed + seed)
    with lever.pulled():
        outcome = run_case(case, start_up_seconds=setting.start_up_seconds, target=target, options=options)
    return Result(setting, target, outcome)


def header(targets: Sequence[float]) -> str:
    """Return the head of the table."""
    cells = ("case, start-up", *(f"{100 * target:g} %" for target in targets), *_BESIDE)
    return f"| {' | '.join(cells)} |\n{'|---' * len(cells)}|"


_BESIDE = ("actions/h at each", "worst hour % at each", "worst 10 min % at each", "cancelled/h")


def row(results: Sequence[Result]) -> str:
    """Return one line of the table: one case at all objectives."""
    setting, outcomes = results[0].setting, [result.outcome for result in results]
    cells = (
        f"{setting.name}, {setting.start_up_seconds:.0f} s",
        *map(cost_cell, results),
        " / ".join(f"{o.actions_per_hour:.1f}" for o in outcomes),
        " / ".join(f"{100 * o.worst_hour:.0f}" for o in outcomes),
        " / ".join(f"{100 * o.worst_minutes:.0f}" for o in outcomes),
        f"{max(o.cancelled_per_hour for o in outcomes):.1f}",
    )
    return f"| {' | '.join(cells)} |"


def cost_cell(result: Result) -> str:
    """Return cost @ attainment, in brackets the cost over that of who knows the future, and whether it missed."""
    ratio = "" if result.ratio is None else f" ({result.ratio:.2f})"
    missed = "" if result.met else " **missed**"
    return f"{result.outcome.cost:.1f} @ {100 * result.outcome.attained:.2f}{ratio}{missed}"


def summary(results: Sequence[Result]) -> Iterator[str]:
    """Yield one line per objective over all cases."""
    yield (
        "\n| objective % | met | over clairvoyant: mean (range; cases) | actions/h: mean (most) | cancelled per h "
        "| worst hour %: mean (least) |"
    )
    yield "|---|---|---|---|---|---|"
    for target in sorted({result.target for result in results}):
        mine = [result for result in results if result.target == target]
        ratios = [result.ratio for result in mine if result.ratio is not None]
        actions = [result.outcome.actions_per_hour for result in mine]
        hours = [100 * result.outcome.worst_hour for result in mine]
        cancelled = _mean([result.outcome.cancelled_per_hour for result in mine])
        over = f"{_mean(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f}; {len(ratios)})" if ratios else "-"
        yield (
            f"| {100 * target:g} | {sum(r.met for r in mine)} of {len(mine)} | {over} "
            f"| {_mean(actions):.1f} ({max(actions):.1f}) | {cancelled:.1f} "
            f"| {_mean(hours):.0f} ({min(hours):.0f}) |"
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def lever_rows(settings: Sequence[Setting], targets: Sequence[float], options: Options) -> Iterator[str]:
    """Yield a table of what each part of the policy buys: one column per case and objective."""
    columns = [(setting, target) for setting in settings for target in targets]
    heads = (f"{setting.name} {setting.start_up_seconds:.0f} s, {100 * target:g} %" for setting, target in columns)
    yield f"| policy | {' | '.join(heads)} |"
    yield "|---" * (1 + len(columns)) + "|"
    for name, lever in LEVERS.items():
        found = [measured(setting, target, 0, options, lever) for setting, target in columns]
        cells = (f"{cost_cell(result)}, {result.outcome.actions_per_hour:.1f}/h" for result in found)
        yield f"| {name}: {lever.meaning} | {' | '.join(cells)} |"


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the public traces are not in {DATA}; set FOREBAY_DATA")
def test_policy_on_a_day_and_an_hour() -> None:
    print(f"\n{header((0.9,))}")
    for setting in (*settings_of("exp", (240.0,)), *settings_of("conv23", (240.0,))):
        result = measured(setting, 0.9, 0, Options(), LEVERS["default"])
        print(row([result]), flush=True)
        assert result.met


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases named on the command line."""
    names = list(dict.fromkeys([*(day.name for day in DAYS), *CASES, *LONG_CASES]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "cases", nargs="*", default=[day.name for day in DAYS], metavar="CASE[:START_UP]", help=", ".join(names)
    )
    parser.add_argument(
        "--start-up", type=float, action="append", help="seconds (repeatable); default: the case's"
    )
    parser.add_argument("--targets", type=float, nargs="*", default=[100 * t for t in TARGETS], help="per cent")
    parser.add_argument("--seed", type=int, default=0, help="added to each case's own")
    parser.add_argument("--slower", type=float, default=1.0, help="the policy believes replicas this much slower")
    parser.add_argument("--learned", action="store_true", help="the policy has no profile")
    parser.add_argument("--serve", action="store_true", help="every replica prefills and decodes")
    parser.add_argument("--order", type=QueueOrder, choices=list(QueueOrder), default=QueueOrder.FIFO)
    parser.add_argument("--levers", action="store_true", help="print what each part of the policy buys")
    given = parser.parse_args(arguments)
    options = Options(given.slower, given.learned, given.serve, given.order)
    settings = [one for asked in dict.fromkeys(given.cases) for one in _asked(asked, given.start_up or ())]
    targets = [target / 100 for target in given.targets]
    if given.levers:
        for line in lever_rows(settings, targets, options):
            print(line, flush=True)
        return
    print(header(targets), flush=True)
    results: list[Result] = []
    for setting in settings:
        mine = [measured(setting, target, given.seed, options, LEVERS["default"]) for target in targets]
        results += mine
        print(row(mine), flush=True)
    for line in summary(results):
        print(line)


if __name__ == "__main__":
    main()
