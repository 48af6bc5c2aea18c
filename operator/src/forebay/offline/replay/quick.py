"""A replay in a few seconds, for a demo or a first look: one pool, one trace, a handful of policies."""

from collections.abc import Sequence

from forebay.flow.fleet import Fleet
from forebay.flow.trace import RequestTrace
from forebay.offline.replay.build import assign_traces, build_scenario
from forebay.offline.replay.jobs import jobs_for, policies_named
from forebay.offline.replay.output import Replay, against_oracle
from forebay.offline.replay.parallel import run_jobs
from forebay.offline.replay.table import to_table
from forebay.offline.simulation import SimulationOptions

QUICK_POLICIES = ("forebay", "hpa", "keda-rate", "dynamo-throughput", "static-peak")


def quick_table(
    fleet: Fleet,
    trace: RequestTrace,
    *,
    start_up_seconds: float,
    policies: Sequence[str] = QUICK_POLICIES,
    seed: int = 0,
) -> str:
    """Return the table of a replay of ``trace`` on the only pool of ``fleet``, run in this process.

    Raises:
        BuildError: a variant has no profile, or the pool can never meet its objectives.
        UnknownPolicyError: a policy is not known.
    """
    scenario = build_scenario(
        fleet,
        assign_traces(fleet, [(None, trace)]),
        name=trace.name,
        options=SimulationOptions(seed=seed),
        start_up_seconds=start_up_seconds,
    )
    jobs = jobs_for(policies_named(policies), sweep=False)
    outcomes = [outcome for _, outcome in run_jobs(scenario, jobs)]
    return to_table(
        Replay(scenario=scenario, outcomes=against_oracle(outcomes), command="forebay replay", seed=seed)
    )
