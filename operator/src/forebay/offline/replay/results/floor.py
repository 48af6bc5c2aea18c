"""The physical floor: what the work alone costs, with every replica always full and none ever starting.

No schedule can be cheaper while it serves every request on the cheapest GPU type of its role: prefill replicas are
busy all the time, decode replicas always run the batch whose ITL just meets the objective. Queues, integers and
start-up come on top, so the oracle is well above it; the gap is what the shape of the traffic costs.
"""

from dataclasses import dataclass

from forebay.offline.replay.baselines.common.trace_work import lengths_of
from forebay.offline.replay.baselines.common.workload import workload
from forebay.offline.replay.baselines.registry import facts_of
from forebay.offline.replay.loop.scenario import Scenario

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Floor:
    """The work of a scenario at full use."""

    replica_hours: float
    """Of the cheapest variant of each role."""
    usd: float


def floor(scenario: Scenario) -> Floor:
    """Return the physical floor of ``scenario``."""
    hours = usd = 0.0
    for key, trace in scenario.traces.items():
        if len(trace) == 0:
            continue
        facts, lengths = facts_of(scenario, key), lengths_of(trace)
        for role in facts.pool.roles:
            load = workload(facts, role, lengths)
            work = len(trace) * load.seconds_per_request / _SECONDS_PER_HOUR
            hours += work
            usd += work * facts.usd_per_replica_hour[load.reference.key]
    return Floor(hours, usd)
