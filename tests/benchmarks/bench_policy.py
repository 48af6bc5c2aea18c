"""The default policy in a closed loop with the simulated fleet: ten traces, start-ups of 60 s and 240 s.

Prints, per case, the cost in replica-hours over that of a clairvoyant fleet and the share of servable requests
that met TTFT and ITL; with several seeds the mean and, in brackets, the least and the most. Run it by ``make
bench``, or alone for some cases:
``python -m tests.benchmarks.bench_policy sg20 conv23 --start-up 60 --seeds 0 1``.
``--levers`` prints what each part of the policy buys.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import pytest

from forebay.flow.settings import PolicySettings
from forebay.offline.simulation import QueueOrder
from tests.benchmarks.policy_levers import LEVERS, Lever
from tests.benchmarks.policy_loop import Options, Outcome, run_case
from tests.benchmarks.policy_traces import CASES, DATA, LONG_CASES, Case

START_UPS = (60.0, 240.0)
TARGET = 0.99

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
class Question:
    """What is asked of every case."""

    seeds: Sequence[int] = (0,)
    price: float = 20.0
    options: Options = field(default_factory=Options)
    lever: Lever = LEVERS["default"]

    def outcomes(self, name: str, start_up_seconds: float) -> list[Outcome]:
        """Run the case with every seed."""
        settings = self.lever.apply(PolicySettings(miss_price=self.price))
        found = []
        for seed in self.seeds:
            case = traffic(name, seed)
            with self.lever.pulled():
                found.append(
                    run_case(case, start_up_seconds=start_up_seconds, settings=settings, options=self.options)
                )
        return found


@lru_cache(maxsize=1)
def traffic(name: str, seed: int) -> Case:
    """Return a case; the last one is kept, for the next start-up."""
    return (CASES | LONG_CASES)[name](seed)


def over_clairvoyant(name: str, start_up_seconds: float, outcome: Outcome) -> float | None:
    """Return replica-hours over the clairvoyant fleet's of seed 0; ``None`` where none was searched."""
    bounds = CLAIRVOYANT.get(name)
    return None if bounds is None else outcome.replica_hours / bounds[0 if start_up_seconds < 150.0 else 1]


def spread(values: Sequence[float], form: str) -> str:
    """Return the mean, and the range in brackets where there are several values."""
    mean = sum(values) / len(values)
    text = format(mean, form)
    return text if len(values) == 1 else f"{text} ({min(values):{form}} to {max(values):{form}})"


HEADER = (
    "| trace | start-up s | replica-hours | over clairvoyant | attained % | worst 10 min % | actions/h "
    "| ms per decision |\n|---|---|---|---|---|---|---|---|"
)


def row(name: str, start_up_seconds: float, question: Question) -> str:
    """Run one case and return its line of the table."""
    found = question.outcomes(name, start_up_seconds)

    def cell(value: Callable[[Outcome], float], form: str) -> str:
        return spread([value(outcome) for outcome in found], form)

    ratios = [over_clairvoyant(name, start_up_seconds, outcome) for outcome in found]
    known = [ratio for ratio in ratios if ratio is not None]
    cells = (
        name,
        f"{start_up_seconds:.0f}",
        cell(lambda o: o.replica_hours, ".1f"),
        spread(known, ".2f") if known else "-",
        cell(lambda o: 100.0 * o.attained, ".2f"),
        cell(lambda o: 100.0 * o.worst_minutes, ".0f"),
        cell(lambda o: o.actions_per_hour, ".0f"),
        cell(lambda o: o.decide_milliseconds, ".2f"),
    )
    return f"| {' | '.join(cells)} |"


SMOOTH = ("sg20", "sg100", "sg500", "az20", "az100")
LEVER_CASES = (
    ("sg20", 240.0), ("sg100", 240.0), ("az100", 60.0), ("az100", 240.0), ("conv23", 60.0), ("flash", 60.0),
    ("onoff", 60.0), ("onoff", 240.0),
)  # fmt: skip


def lever_rows(names: Sequence[str], cases: Sequence[str], question: Question) -> Iterator[str]:
    """Yield a table of levers: mean cost over smooth traffic and over bursts, targets met, misses, single cases.

    Misses are the mean of the misses over those allowed, each at most 20, so that one collapse does not hide the
    others. Levers are compared on the first seed.
    """
    shown = [(name, seconds) for name, seconds in LEVER_CASES if name in cases]
    yield (
        "| policy | cost, smooth | cost, bursts | met | misses / allowed | actions/h | "
        + " | ".join(f"{name} {seconds:.0f} s" for name, seconds in shown)
        + " |"
    )
    yield "|---" * (6 + len(shown)) + "|"
    for lever in names:
        asked = Question(question.seeds[:1], question.price, question.options, LEVERS[lever])
        found = {(name, s): asked.outcomes(name, s)[0] for name in cases for s in START_UPS}
        yield (
            f"| {lever} | " + " | ".join((*_lever_cells(found), *(_case_cell(k, found[k]) for k in shown))) + " |"
        )


def _lever_cells(found: dict[tuple[str, float], Outcome]) -> Iterator[str]:
    cost = {key: over_clairvoyant(*key, outcome) or 0.0 for key, outcome in found.items()}
    for chosen in ([k for k in cost if k[0] in SMOOTH], [k for k in cost if k[0] not in SMOOTH]):
        yield f"{sum(cost[k] for k in chosen) / len(chosen):.3f}" if chosen else "-"
    misses = [(1.0 - outcome.attained) / (1.0 - TARGET) for outcome in found.values()]
    yield f"{sum(miss <= 1.0 for miss in misses)} of {len(misses)}"
    yield f"{sum(min(20.0, miss) for miss in misses) / len(misses):.2f}"
    yield f"{sum(outcome.actions_per_hour for outcome in found.values()) / len(found):.0f}"


def _case_cell(key: tuple[str, float], outcome: Outcome) -> str:
    return f"{over_clairvoyant(*key, outcome) or 0.0:.2f} @ {100.0 * outcome.attained:.1f}"


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the public traces are not in {DATA}; set FOREBAY_DATA")
def test_policy_on_all_traces() -> None:
    print(f"\n{HEADER}")
    for name in CASES:
        for start_up_seconds in START_UPS:
            print(row(name, start_up_seconds, Question()), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "cases", nargs="*", default=list(CASES), metavar="CASE", help=", ".join([*CASES, *LONG_CASES])
    )
    parser.add_argument("--start-up", type=float, action="append", help="seconds (repeatable); default 60 and 240")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="traffic is drawn with each; default 0")
    parser.add_argument("--price", type=float, default=20.0, help="of a miss, in the work of one request")
    parser.add_argument("--slower", type=float, default=1.0, help="the policy believes replicas this much slower")
    parser.add_argument("--learned", action="store_true", help="the policy has no profile")
    parser.add_argument("--serve", action="store_true", help="every replica prefills and decodes")
    parser.add_argument("--order", type=QueueOrder, choices=list(QueueOrder), default=QueueOrder.FIFO)
    parser.add_argument(
        "--levers", nargs="*", choices=list(LEVERS), help="what parts of the policy buy (all, or those named)"
    )
    given = parser.parse_args(arguments)
    options = Options(given.slower, given.learned, given.serve, given.order)
    question = Question(given.seeds, given.price, options)
    if given.levers is not None:
        for line in lever_rows(given.levers or list(LEVERS), given.cases, question):
            print(line, flush=True)
        return
    print(HEADER)
    for name in given.cases:
        for start_up_seconds in given.start_up or START_UPS:
            print(row(name, start_up_seconds, question), flush=True)


if __name__ == "__main__":
    main()
