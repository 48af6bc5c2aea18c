"""The Knative Pod Autoscaler: stable and panic windows.

https://knative.dev/docs/serving/autoscaling/kpa-specific/ and the defaults of its ``config-autoscaler``: tick
2 s, stable window 60 s, panic window 10 % of it, panic at 2x the ready pods, target utilisation 70 %, scale
up by at most 1000x and down to at least half of the ready pods at once, no decrease in panic, panic ends a
stable window after its cause; it starts in panic when there is more than one pod
(https://github.com/knative/serving/pull/4795). Averages are of totals over pods.

Two metrics, as Knative has them: concurrency (its default: requests running or waiting; a replica is good for
one prefill at a time, or for the batch that just meets the ITL objective) and requests per second.
"""

import math

from forebay.flow.fleet import Role
from forebay.offline.replay.baselines.common.role_by_role import by_knob
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.common.window import Window
from forebay.offline.replay.baselines.registry import Baseline, Knob

TICK_SECONDS = 2.0
STABLE_SECONDS = 60.0
PANIC_SECONDS = 6.0
PANIC_THRESHOLD = 2.0
_MOST_UP = 1000.0
_MOST_DOWN = 2.0
_ROUNDING = 1e-9


class KnativeKpa:
    """One PodAutoscaler over a load that is counted in full replicas."""

    def __init__(self, utilisation: float) -> None:
        self._utilisation = utilisation
        self._stable, self._panic = Window(STABLE_SECONDS), Window(PANIC_SECONDS)
        self._panic_since: float | None = None
        self._highest_in_panic = 0
        self._started = False

    @property
    def in_panic(self) -> bool:
        """Return whether replicas may not be taken away now."""
        return self._panic_since is not None

    def decide(self, at_seconds: float, load: float, ready: float) -> int:
        """Return the replicas for a load of ``load`` full replicas, of which ``ready`` can serve."""
        ready = max(1.0, ready)
        if not self._started:
            self._started = True
            if ready > 1.0:
                self._panic_since, self._highest_in_panic = at_seconds, round(ready)
        self._stable.add(at_seconds, load)
        self._panic.add(at_seconds, load)
        stable, panic = self._replicas(self._stable.mean()), self._replicas(self._panic.mean())
        self._watch(at_seconds, panic / ready >= PANIC_THRESHOLD)
        most, least = math.ceil(_MOST_UP * ready), math.floor(ready / _MOST_DOWN)
        stable, panic = (min(max(count, least), most) for count in (stable, panic))
        if not self.in_panic:
            return stable
        self._highest_in_panic = max(self._highest_in_panic, stable, panic)
        return self._highest_in_panic

    def _replicas(self, load: float) -> int:
        return math.ceil(load / self._utilisation - _ROUNDING)

    def _watch(self, at_seconds: float, over: bool) -> None:
        if over:
            self._panic_since = at_seconds
        elif self._panic_since is not None and at_seconds > self._panic_since + STABLE_SECONDS:
            self._panic_since, self._highest_in_panic = None, 0


class OnConcurrency:
    """Requests in flight."""

    def __init__(self, utilisation: float) -> None:
        self._kpa = KnativeKpa(utilisation)

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:  # noqa: ARG002
        """Return the replicas wanted."""
        at_once = 1.0 if seen.role is Role.PREFILL else seen.workload.batch
        return self._kpa.decide(seen.at_seconds, seen.busy + seen.waiting / at_once, seen.ready)


class OnRequestRate:
    """Requests per second."""

    def __init__(self, utilisation: float) -> None:
        self._kpa = KnativeKpa(utilisation)

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the replicas wanted."""
        rate = arrivals.per_second(seen.interval_seconds)
        return self._kpa.decide(seen.at_seconds, rate * seen.workload.seconds_per_request, seen.ready)


_KNOB = Knob(
    name="target utilisation", default=0.7, sweep=(0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2)
)
_SOURCE = "https://knative.dev/docs/serving/autoscaling/kpa-specific/"

BASELINES = (
    Baseline(
        name="knative-concurrency",
        title="Knative on concurrency",
        source=_SOURCE,
        knob=_KNOB,
        make=by_knob(OnConcurrency, TICK_SECONDS),
    ),
    Baseline(
        name="knative-rps",
        title="Knative on requests/s",
        source=_SOURCE,
        knob=_KNOB,
        make=by_knob(OnRequestRate, TICK_SECONDS),
    ),
)
