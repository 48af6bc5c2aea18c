"""A GPU type that sells out during the morning ramp: Forebay beside others, with and without the shortage.

``python -m tests.benchmarks.bench_stock_out``: the default replay's pool and generated day from 06:00 to 10:00,
prefill and decode on H100 and H200 nodes. From 07:00 to 08:30 no further GPU of one type can be had; what is held
is kept. Nobody is told: Forebay finds out from replicas that do not come by their deadline. The others choose no
GPU type: as everywhere in the replay they fill the cheapest one first, up to its maximum.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from forebay.offline.replay.inputs.prepare import ReplayRequest, prepare
from forebay.offline.replay.jobs.job import FOREBAY, jobs_for, policies_named
from forebay.offline.replay.jobs.outcome import Outcome
from forebay.offline.replay.jobs.workers import run_jobs
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.simulation import StockOut

HOUR_SECONDS = 3600.0
POLICIES = (FOREBAY, "static-peak", "reactive", "hpa", "keda-rate", "heteroscale", "dynamo-throughput")
TYPES = ("h100", "h200")


def outcomes(scenario: Scenario, names: Sequence[str]) -> dict[str, Outcome]:
    """Run the policies at their defaults."""
    jobs = jobs_for(policies_named(names), sweep=False)
    return {jobs[number].policy: outcome for number, outcome in run_jobs(scenario, jobs)}


def cell(outcome: Outcome) -> str:
    """Return attainment, the worst ten minutes and the cost."""
    score = outcome.score
    text = f"{100 * score.slo_attainment:.2f} ({100 * score.worst_window_attainment:.0f}) @ {score.cost_usd:.0f} $"
    return f"**{text}**" if score.meets_target else text


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), metavar="NAME")
    names = parser.parse_args(arguments).policies
    plenty = prepare(ReplayRequest(start_seconds=6 * HOUR_SECONDS, end_seconds=10 * HOUR_SECONDS)).scenario
    found = {"nothing": outcomes(plenty, names)}
    for kind in TYPES:
        out = StockOut(node_pool=kind, start_seconds=HOUR_SECONDS, end_seconds=2.5 * HOUR_SECONDS)
        found[kind] = outcomes(replace(plenty, stock_outs=(out,)), names)
    print(f"SLO met in % (worst ten minutes) @ cost, {plenty.requests:,} requests; bold: the target is met")
    print("| policy | " + " | ".join(f"{kind} sold out" for kind in found) + " |")
    print("|---" * (1 + len(found)) + "|")
    for name in names:
        print(f"| {name} | " + " | ".join(cell(found[kind][name]) for kind in found) + " |")


if __name__ == "__main__":
    main()
