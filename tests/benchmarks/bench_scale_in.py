"""What a scale-in costs users: replicas that go at once, and replicas that are parked first.

``python -m tests.benchmarks.bench_scale_in``: the default replay's pool and generated day from 06:00, with answers
so long that they stream for minutes. A replica that is removed has 30 s to end what it holds, as Kubernetes gives
a pod by default; what it still holds then begins again elsewhere, which its client sees as a failed request.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from forebay.offline.replay.inputs.prepare import ReplayRequest, prepare
from forebay.offline.replay.jobs.job import FOREBAY, jobs_for, policies_named
from forebay.offline.replay.jobs.workers import run_jobs
from forebay.offline.replay.loop.scenario import Scenario

HOUR_SECONDS = 3600.0
GRACE_SECONDS = 30.0
LONGEST_ANSWER_TOKENS = 12_000
OTHERS = ("hpa", "keda-rate")


def long_answers(scenario: Scenario, factor: float) -> Scenario:
    """Return the scenario with answers that are longer by a factor."""
    traces = {
        key: replace(
            trace,
            output_tokens=np.minimum(trace.output_tokens * factor, LONGEST_ANSWER_TOKENS).astype(np.int64),
        )
        for key, trace in scenario.traces.items()
    }
    return replace(scenario, traces=traces)


def with_options(scenario: Scenario, **changes: object) -> Scenario:
    """Return the scenario under other rules."""
    return replace(scenario, options=replace(scenario.options, **changes))  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", nargs="*", default=list(OTHERS), metavar="NAME")
    parser.add_argument("--hours", type=float, default=18.0)
    parser.add_argument("--factor", type=float, default=8.0, help="by which answers are longer")
    parser.add_argument("--rate", type=float, default=3.0, help="requests per second on average")
    given = parser.parse_args(arguments)
    until = 6 * HOUR_SECONDS + given.hours * HOUR_SECONDS
    wanted = ReplayRequest(
        start_seconds=6 * HOUR_SECONDS, end_seconds=until, requests_per_second=given.rate, nodes=None
    )
    scenario = long_answers(prepare(wanted).scenario, given.factor)
    tokens = np.concatenate([trace.output_tokens for trace in scenario.traces.values()])
    print(
        f"{scenario.requests:,} requests of {np.mean(tokens):,.0f} tokens (99 %: {np.quantile(tokens, 0.99):,.0f})"
    )
    print("| policy | released replicas | cut off | SLO met in % | GPU-hours | taken back | actions an hour |")
    print("|---" * 7 + "|")
    at_once = with_options(scenario, grace_seconds=GRACE_SECONDS)
    runs = [
        (FOREBAY, "are parked first", with_options(at_once, parks=True)),
        *((name, "go at once", at_once) for name in (FOREBAY, *given.others)),
    ]
    for name, words, scene in runs:
        ((_, outcome),) = run_jobs(scene, jobs_for(policies_named([name]), sweep=False))
        score = outcome.score
        print(
            f"| {name} | {words} | {score.cut_off:,} | {100 * score.slo_attainment:.2f} | {score.gpu_hours:.1f} |"
            f" {score.taken_back} | {score.scale_actions_per_hour:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
