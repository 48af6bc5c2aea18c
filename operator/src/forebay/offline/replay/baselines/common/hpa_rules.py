"""The arithmetic of the Kubernetes HorizontalPodAutoscaler (autoscaling/v2), with its defaults.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ ("Algorithm details", "Configurable
scaling behavior"): tolerance .1; not-ready pods count as unused when scaling out; scale-out by at most 100 % or
4 pods per 15 s, whichever is more, without stabilisation; scale-in by up to 100 % per 15 s to the highest
recommendation of the last 300 s. KEDA scales above zero with these same rules: it renders an HPA.
"""

import math
from collections import deque
from dataclasses import dataclass

from forebay.offline.replay.baselines.common.window import Window

TOLERANCE = 0.1
SCALE_IN_WINDOW_SECONDS = 300.0
SYNC_SECONDS = 15.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """Limits on steps: ``spec.behavior`` of an HPA. The defaults are Kubernetes' own."""

    out_pods: int = 4
    out_share: float = 1.0
    """Of the replicas at the period's start; the larger of the two limits counts (``selectPolicy: Max``)."""
    out_period_seconds: float = 15.0
    in_pods: int | None = None
    """``None``: all at once, as 100 % per 15 s comes to."""
    in_period_seconds: float = 15.0


DEFAULT_BEHAVIOR = Behavior()


class HpaRules:
    """From a recommendation to the replica count: stabilisation and the limits on steps."""

    def __init__(self, replicas: int, *, least: int = 1, behavior: Behavior = DEFAULT_BEHAVIOR) -> None:
        self.replicas = replicas
        """What the workload asks for now."""
        self._least = least
        self._behavior = behavior
        self._recommended = Window(SCALE_IN_WINDOW_SECONDS)
        self._steps: deque[tuple[float, int]] = deque()
        self._started = False

    def apply(self, at_seconds: float, recommended: int) -> int:
        """Take a recommendation and return the replica count that follows."""
        if not self._started:
            self._recommended.add(at_seconds, self.replicas)
            self._started = True
        self._recommended.add(at_seconds, recommended)
        self._forget(at_seconds)
        calm = min(self.replicas, int(self._recommended.highest()))
        wanted = max(self._least, recommended if recommended > self.replicas else calm)
        limited = max(min(wanted, self._highest(at_seconds)), self._lowest(at_seconds))
        if limited != self.replicas:
            self._steps.append((at_seconds, limited - self.replicas))
        self.replicas = limited
        return limited

    def _highest(self, at_seconds: float) -> int:
        behavior = self._behavior
        before = self.replicas - self._moved(at_seconds - behavior.out_period_seconds, out=True)
        limit = max(before + behavior.out_pods, _ceil(before * (1.0 + behavior.out_share)))
        return max(limit, self.replicas)

    def _lowest(self, at_seconds: float) -> int:
        behavior = self._behavior
        if behavior.in_pods is None:
            return 0
        before = self.replicas - self._moved(at_seconds - behavior.in_period_seconds, out=False)
        return min(max(0, before - behavior.in_pods), self.replicas)

    def _moved(self, since_seconds: float, *, out: bool) -> int:
        """Return the replicas added (or, negative, taken away) after ``since_seconds``."""
        return sum(step for at, step in self._steps if at > since_seconds and (step > 0) == out)

    def _forget(self, at_seconds: float) -> None:
        longest = max(self._behavior.out_period_seconds, self._behavior.in_period_seconds)
        while self._steps and self._steps[0][0] <= at_seconds - longest:
            self._steps.popleft()


def _ceil(value: float) -> int:
    return math.ceil(value - _ROUNDING)
