"""A replay in a few seconds, for a demo or a first look: one pool, one trace, a handful of policies."""

from collections.abc import Sequence

from forebay.flow.trace import RequestTrace
from forebay.offline.replay.inputs.build import build_scenario
from forebay.offline.replay.inputs.nodes import NodeOptions
from forebay.offline.replay.inputs.resource_files import LoadedFleet
from forebay.offline.replay.inputs.traffic_of_pools import assign_traces
from forebay.offline.replay.jobs.job import jobs_for, policies_named
from forebay.offline.replay.jobs.workers import run_jobs
from forebay.offline.replay.results.output import Replay, against_oracle
from forebay.offline.replay.results.table import to_table
from forebay.offline.simulation import SimulationOptions

QUICK_POLICIES = ("forebay", "hpa", "keda-rate", "dynamo-throughput", "static-peak")


def quick_table(
    loaded: LoadedFleet,
    trace: RequestTrace,
    *,
    policies: Sequence[str] = QUICK_POLICIES,
    seed: int = 0,
) -> str:
    """Return the table of a replay of ``trace`` on the only pool of ``loaded`` and its nodes, run in this process.

    Raises:
        BuildError: a variant has no profile, or the pool can never meet its objectives.
        UnknownPolicyError: a policy is not known.
    """
    scenario = build_scenario(
        loaded.fleet,
        assign_traces(loaded.fleet, [(None, trace)]),
        name=trace.name,
        options=SimulationOptions(seed=seed),
        lead_time_by_node_pool=loaded.lead_times,
        nodes=NodeOptions(),
    )
    jobs = jobs_for(policies_named(policies), sweep=False)
    outcomes = [outcome for _, outcome in run_jobs(scenario, jobs)]
    return to_table(
        Replay(scenario=scenario, outcomes=against_oracle(outcomes), command="forebay replay", seed=seed)
    )
