"""A baseline of the replay on the cases of the policy benchmark, with its knob tuned in hindsight.

``python -m tests.benchmarks.policy_rivals exp:240 chat4.5`` runs KEDA on the request rate at every setting of its
knob, and prints per case and objective the cheapest one that meets it: what an owner would have set who had known
the day. Forebay has one default.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from forebay.flow.fleet import Fleet
from forebay.offline.replay.baselines import baselines
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.simulation import StartUp
from tests.benchmarks.bench_policy import TARGETS, Setting, settings_of
from tests.benchmarks.policy_loop import KEY, ROLES, Orders, Outcome, initial_fleet, outcome_of, pool_of
from tests.benchmarks.policy_traces import Case


def rival_outcomes(setting: Setting, name: str, knobs: Sequence[float]) -> dict[float, Outcome]:
    """Return what a baseline comes to at each setting of its knob; start, start-up and prices are Forebay's."""
    case = setting.make(setting.seed)
    made = _scenario(case, setting.start_up_seconds)
    found = {}
    for knob in knobs:
        done = run(made, baselines()[name].policy(made, knob), name=name, knob=knob)
        found[knob] = outcome_of(case, done.results[KEY], made.fleet.pools[KEY], Orders())
    return found


def _scenario(case: Case, start_up_seconds: float) -> Scenario:
    pool, initial = pool_of(case, case.performance, start_up_seconds, ROLES), initial_fleet(case, ROLES)
    pool = replace(pool, slo=replace(pool.slo, target=0.99))
    return Scenario(
        name="bench",
        fleet=Fleet(pools={KEY: pool}, node_pools={}),
        traces={KEY: case.trace},
        performance={KEY: dict.fromkeys(initial, case.performance)},
        start_up={KEY: dict.fromkeys(initial, StartUp.fixed(start_up_seconds))},
        initial={KEY: initial},
    )


def cheapest(found: dict[float, Outcome], target: float) -> str:
    """Return the cheapest setting that meets ``target``."""
    able = {knob: outcome for knob, outcome in found.items() if outcome.attained >= target}
    if not able:
        knob, best = max(found.items(), key=lambda item: item[1].attained)
        return f"none ({best.cost:.1f} @ {100 * best.attained:.2f}, {knob:g})"
    knob, least = min(able.items(), key=lambda item: item[1].cost)
    return f"{least.cost:.1f} @ {100 * least.attained:.2f} ({knob:g}), {least.actions_per_hour:.1f}/h"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="+", metavar="CASE[:START_UP]")
    parser.add_argument("--policy", default="keda-rate", choices=list(baselines()))
    parser.add_argument("--knobs", type=float, nargs="*", default=[0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5])
    given = parser.parse_args(arguments)
    print(
        f"| case, start-up | {' | '.join(f'{100 * target:g} %' for target in TARGETS)} |\n{'|---' * 5}|",
        flush=True,
    )
    for asked in given.cases:
        name, _, seconds = asked.partition(":")
        for setting in settings_of(name, (float(seconds),) if seconds else ()):
            found = rival_outcomes(setting, given.policy, given.knobs)
            cells = " | ".join(cheapest(found, target) for target in TARGETS)
            print(f"| {setting.name}, {setting.start_up_seconds:.0f} s | {cells} |", flush=True)


if __name__ == "__main__":
    main()
