"""NVIDIA Dynamo's Planner: throughput mode and load mode.

https://docs.nvidia.com/dynamo/latest/components/planner/ and the planner of release 1.6.

* ``dynamo-throughput``: every 180 s, requests of the last interval (the ``constant`` predictor; ARIMA is the
  default, but non-seasonal and one step ahead as well) over what an engine sustains back to back within the SLA,
  rounded up, by at most 8 replicas either way. No headroom and no queue in that capacity; the knob multiplies
  demand, which the product has no setting for.
* ``dynamo-load``: every 5 s, one replica more if any engine exceeds its threshold, one less if all are far below,
  none while a replica starts. The thresholds of the ``latency`` target: queued prefill tokens over .1 of a context
  length (down at 0), KV-cache use over .4 (down below .1). The knob divides the upper thresholds.
"""

import math

from forebay.flow.fleet import Role
from forebay.replay.baselines.common.pool import RoleByRole, RoleScaler
from forebay.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.replay.baselines.registry import Baseline, Facts, Knob
from forebay.replay.policy import PoolPolicy

THROUGHPUT_INTERVAL_SECONDS = 180.0
LOAD_INTERVAL_SECONDS = 5.0
MOST_REPLICAS_PER_TICK = 8
QUEUED_CONTEXTS_UP, QUEUED_CONTEXTS_DOWN = 0.1, 0.0
KV_UP, KV_DOWN = 0.4, 0.1
_ROUNDING = 1e-9


class Throughput:
    """Demand of the last interval over the capacity of an engine at saturation."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the replicas wanted."""
        demand = self._factor * arrivals.per_second(THROUGHPUT_INTERVAL_SECONDS)
        wanted = max(1, math.ceil(demand * seen.workload.seconds_per_request - _ROUNDING))
        now = round(seen.desired)
        return min(max(wanted, now - MOST_REPLICAS_PER_TICK), now + MOST_REPLICAS_PER_TICK)


class Load:
    """One replica at a time by queued tokens (prefill) or KV-cache use (decode)."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:  # noqa: ARG002  it listens to engines
        """Return the replicas wanted."""
        now = round(seen.desired)
        if seen.starting > 0.0 or seen.ready <= 0.0:
            return now
        over, under = self._prefill(seen) if seen.role is Role.PREFILL else self._decode(seen)
        if seen.role is Role.SERVE:
            queued_over, queued_under = self._prefill(seen)
            over, under = over or queued_over, under and queued_under
        if over:
            return now + 1
        return max(1, now - 1) if under else now

    def _prefill(self, seen: RoleSignals) -> tuple[bool, bool]:
        """Return whether the engines' queues are too long, and whether they are empty.

        The queue is counted in prompts of mean length per replica: the router spreads them evenly.
        """
        queued = seen.waiting / seen.ready
        return queued >= QUEUED_CONTEXTS_UP / self._factor, queued <= QUEUED_CONTEXTS_DOWN

    def _decode(self, seen: RoleSignals) -> tuple[bool, bool]:
        use = seen.kv_usage / seen.ready
        return use > KV_UP / self._factor, use < KV_DOWN


def throughput(facts: Facts, factor: float) -> PoolPolicy:
    """Return the predictive planner of one pool."""

    def scaler(_: Role) -> RoleScaler:
        return Throughput(factor)

    return RoleByRole(facts, scaler, interval_seconds=THROUGHPUT_INTERVAL_SECONDS)


def load(facts: Facts, factor: float) -> PoolPolicy:
    """Return the reactive planner of one pool."""

    def scaler(_: Role) -> RoleScaler:
        return Load(factor)

    return RoleByRole(facts, scaler, interval_seconds=LOAD_INTERVAL_SECONDS)


_SOURCE = "https://docs.nvidia.com/dynamo/latest/components/planner/"

BASELINES = (
    Baseline(
        name="dynamo-throughput",
        title="Dynamo planner, throughput mode",
        source=_SOURCE,
        knob=Knob(
            name="demand multiplier", default=1.0, sweep=(0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.5, 4.0, 6.0)
        ),
        make=throughput,
    ),
    Baseline(
        name="dynamo-load",
        title="Dynamo planner, load mode",
        source=_SOURCE,
        knob=Knob(name="threshold divisor", default=1.0, sweep=(0.5, 1.0, 2.0, 4.0, 8.0)),
        make=load,
    ),
)
