"""NVIDIA Dynamo's Planner: throughput mode, load mode, and both for an SLA.

https://docs.nvidia.com/dynamo/latest/components/planner/ and the planner of release 1.6.

* ``dynamo-throughput``: every 180 s, requests of the last interval (the ``constant`` predictor; ARIMA is the
  default, but non-seasonal and one step ahead as well) over what an engine sustains back to back within the SLA,
  rounded up, by at most 8 replicas either way. No headroom and no queue in that capacity; the knob multiplies
  demand, which the product has no setting for.
* ``dynamo-load``: every 5 s, one replica more if any engine exceeds its threshold, one less if all are far below,
  none while a replica starts. The thresholds of the ``latency`` target: queued prefill tokens over .1 of a context
  length (down at 0), KV-cache use over .4 (down below .1). The knob divides the upper thresholds.
* ``dynamo-sla``: the ``sla`` target, which is the one that knows the objectives and so the one to compare with:
  the throughput loop sets a floor, the load loop moves above it. One replica more if the engines' estimated TTFT
  (queue drained, then the own prefill) or ITL exceeds its objective; one less if on one engine fewer what the
  queue adds to TTFT stays below 80 % of what the objective leaves for it, or ITL below 80 % of the objective, and
  the KV cache has room. The router spreads requests evenly: "any engine" and "all engines" are the same here.
"""

import math

from forebay.flow.fleet import Role, Slo
from forebay.offline.replay.baselines.common.role_by_role import by_knob, per_role
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.registry import Baseline, Knob

THROUGHPUT_INTERVAL_SECONDS = 180.0
LOAD_INTERVAL_SECONDS = 5.0
MOST_REPLICAS_PER_TICK = 8
SENSITIVITY = 0.8
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


class Sla:
    """Both loops: a floor by throughput, one replica at a time above it by estimated latency."""

    def __init__(self, factor: float, slo: Slo) -> None:
        self._factor = factor
        self._slo = slo
        self._floor: int | None = None
        self._floored_seconds = 0.0

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the replicas wanted."""
        now = round(seen.desired)
        if seen.at_seconds - self._floored_seconds >= THROUGHPUT_INTERVAL_SECONDS:
            self._floored_seconds = seen.at_seconds
            demand = self._factor * arrivals.per_second(THROUGHPUT_INTERVAL_SECONDS)
            needed = max(1, math.ceil(demand * seen.workload.seconds_per_request - _ROUNDING))
            self._floor = min(needed, now + MOST_REPLICAS_PER_TICK)
        if self._floor is None:
            return now
        if seen.starting > 0.0 or seen.ready <= 0.0:
            return max(now, self._floor)
        if not self._within(seen, seen.ready, 1.0):
            return max(now + 1, self._floor)
        fewer = seen.ready - 1.0
        return max(now - 1 if fewer > 0.0 and self._within(seen, fewer, SENSITIVITY) else now, self._floor)

    def _within(self, seen: RoleSignals, engines: float, share: float) -> bool:
        """Return whether ``engines`` keep the present load within ``share`` of the objectives."""
        prefill = seen.role is Role.DECODE or self._ttft_within(seen, engines, share)
        return prefill and (seen.role is Role.PREFILL or self._itl_within(seen, engines, share))

    def _ttft_within(self, seen: RoleSignals, engines: float, share: float) -> bool:
        own = seen.workload.work[seen.workload.reference.key].prefill_seconds
        return seen.waiting * own / engines <= share * (self._slo.ttft_seconds - own)

    def _itl_within(self, seen: RoleSignals, engines: float, share: float) -> bool:
        work = seen.workload.work[seen.workload.reference.key]
        batch = (seen.running + seen.waiting) / engines
        step = work.step_base_seconds + work.step_seconds_per_sequence * batch
        return step <= share * self._slo.itl_seconds and seen.kv_usage / engines <= 1.0


_SOURCE = "https://docs.nvidia.com/dynamo/latest/components/planner/"
_MULTIPLIER = Knob(
    name="demand multiplier", default=1.0, sweep=(0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.5, 4.0, 6.0)
)

BASELINES = (
    Baseline(
        name="dynamo-throughput",
        title="Dynamo planner, throughput mode",
        source=_SOURCE,
        knob=_MULTIPLIER,
        make=by_knob(Throughput, THROUGHPUT_INTERVAL_SECONDS),
    ),
    Baseline(
        name="dynamo-sla",
        title="Dynamo planner, both loops for an SLA",
        source=_SOURCE,
        knob=_MULTIPLIER,
        make=per_role(lambda facts, _, factor: Sla(factor, facts.pool.slo), LOAD_INTERVAL_SECONDS),
    ),
    Baseline(
        name="dynamo-load",
        title="Dynamo planner, load mode",
        source=_SOURCE,
        knob=Knob(name="threshold divisor", default=1.0, sweep=(0.5, 1.0, 2.0, 4.0, 8.0)),
        make=by_knob(Load, LOAD_INTERVAL_SECONDS),
    ),
)
