"""The arithmetic of the Kubernetes HorizontalPodAutoscaler (autoscaling/v2), with its defaults.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ ("Algorithm details", "Configurable
scaling behavior"): tolerance .1; not-ready pods count as unused when scaling out; scale-out by at most 100 % or
4 pods per 15 s, whichever is more, without stabilisation; scale-in by up to 100 % per 15 s to the highest
recommendation of the last 300 s. KEDA scales above zero with these same rules: it renders an HPA.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from forebay.replay.baselines.common.window import Window

TOLERANCE = 0.1
SCALE_IN_WINDOW_SECONDS = 300.0
SYNC_SECONDS = 15.0
_SCALE_OUT_PERIOD_SECONDS = 15.0
_SCALE_OUT_SHARE = 1.0
_SCALE_OUT_PODS = 4
_ROUNDING = 1e-9


def from_pods(*, replicas: int, ready: float, starting: float, mean_use: float, target: float) -> int:
    """Return the replicas that bring the mean use of pods to ``target`` (Resource and Pods metrics).

    Args:
        replicas: what the workload asks for now.
        ready: pods that report.
        starting: pods that do not yet; they count as unused when the others ask for more.
        mean_use: mean of the metric over ready pods.
        target: wanted mean.
    """
    ratio = mean_use / target
    if not (ratio > 1.0 and starting > 0.0):
        return replicas if abs(1.0 - ratio) <= TOLERANCE else _ceil(ratio * ready)
    with_starting = ratio * ready / (ready + starting)
    if with_starting < 1.0 or with_starting - 1.0 <= TOLERANCE:
        return replicas
    return max(replicas, _ceil(with_starting * (ready + starting)))


def from_total(*, replicas: int, total: float, per_replica: float) -> int:
    """Return the replicas that share ``total`` at ``per_replica`` each (External metrics with AverageValue)."""
    ratio = total / (per_replica * max(replicas, 1))
    return replicas if abs(1.0 - ratio) <= TOLERANCE else _ceil(total / per_replica)


@dataclass(slots=True)
class HpaRules:
    """From a recommendation to the replica count: stabilisation and the limits on steps."""

    replicas: int
    """What the workload asks for now."""
    least: int = 1
    _recommended: Window = field(default_factory=lambda: Window(SCALE_IN_WINDOW_SECONDS))
    _added: deque[tuple[float, int]] = field(default_factory=deque)
    _started: bool = False

    def apply(self, at_seconds: float, recommended: int) -> int:
        """Take a recommendation and return the replica count that follows."""
        if not self._started:
            self._recommended.add(at_seconds, self.replicas)
            self._started = True
        self._recommended.add(at_seconds, recommended)
        highest = int(self._recommended.highest())
        wanted = max(self.least, recommended if recommended > self.replicas else min(self.replicas, highest))
        while self._added and self._added[0][0] <= at_seconds - _SCALE_OUT_PERIOD_SECONDS:
            self._added.popleft()
        if wanted > self.replicas:
            wanted = min(wanted, self._limit())
            self._added.append((at_seconds, wanted - self.replicas))
        self.replicas = wanted
        return wanted

    def _limit(self) -> int:
        before = self.replicas - sum(count for _, count in self._added)
        limit = max(before + _SCALE_OUT_PODS, _ceil(before * (1.0 + _SCALE_OUT_SHARE)))
        return max(limit, self.replicas)


def _ceil(value: float) -> int:
    return math.ceil(value - _ROUNDING)
