"""AIBrix's PodAutoscaler: APA and KPA.

https://aibrix.readthedocs.io/latest/features/autoscaling/autoscaling.html, with the defaults of v0.7: resync
10 s, observation window 180 s, panic window 60 s, tolerances .1, at most x2 up and /2 down at once, panic at
2x, scale-in cool-down 300 s; the samples target a KV-cache use of .5. Prefill replicas keep no KV cache here:
their metric is the share of time in prefill.

Where that version's code departs from its documents, the documents are followed, to the product's favour: KPA
works on totals over pods, the scale-in window holds the highest recommendation, and replicas on their way are
not multiplied again (https://github.com/vllm-project/aibrix/pull/2671).
"""

import math

from forebay.flow.fleet import Role
from forebay.offline.replay.baselines.common.role_by_role import by_knob
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.common.window import Window
from forebay.offline.replay.baselines.registry import Baseline, Knob

RESYNC_SECONDS = 10.0
OBSERVE_SECONDS = 180.0
PANIC_SECONDS = 60.0
TOLERANCE = 0.1
_PANIC_THRESHOLD = 2.0
_MOST_UP = 2.0
_MOST_DOWN = 2.0
_SCALE_IN_SECONDS = 300.0
_ROUNDING = 1e-9


class PodAutoscaler:
    """What both strategies share: the metric, the limits on steps, the scale-in window."""

    def __init__(self, target: float) -> None:
        self._target = target
        self._stable = Window(OBSERVE_SECONDS)
        self._panic = Window(PANIC_SECONDS)
        self._recommended = Window(_SCALE_IN_SECONDS)

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:  # noqa: ARG002  it scrapes pods
        """Return the replicas wanted."""
        use = seen.busy if seen.role is Role.PREFILL else seen.kv_usage
        return self.decide(seen.at_seconds, total_use=use, ready=seen.ready, desired=round(seen.desired))

    def decide(self, at_seconds: float, *, total_use: float, ready: float, desired: int) -> int:
        """Return the replicas for a metric that sums up to ``total_use`` over ``ready`` pods."""
        ready = max(1.0, ready)
        self._observe(at_seconds, total_use, ready)
        wanted = self._recommend(ready, desired)
        limited = min(max(wanted, math.floor(ready / _MOST_DOWN)), math.ceil(ready * _MOST_UP))
        self._recommended.add(at_seconds, limited)
        if limited >= desired:
            return limited
        return min(desired, int(self._recommended.highest()))

    def _observe(self, at_seconds: float, total_use: float, ready: float) -> None:
        raise NotImplementedError

    def _recommend(self, ready: float, desired: int) -> int:
        raise NotImplementedError


class AibrixApa(PodAutoscaler):
    """Mean use per pod against the target, outside a tolerance."""

    def _observe(self, at_seconds: float, total_use: float, ready: float) -> None:
        self._stable.add(at_seconds, total_use / ready)

    def _recommend(self, ready: float, desired: int) -> int:
        ratio = self._stable.mean() / self._target
        if abs(ratio - 1.0) <= TOLERANCE:
            return desired
        return math.ceil(ready * ratio - _ROUNDING)


class AibrixKpa(PodAutoscaler):
    """Total use over the target, in the longer window, or in the shorter when that is twice as high."""

    def _observe(self, at_seconds: float, total_use: float, ready: float) -> None:  # noqa: ARG002
        self._stable.add(at_seconds, total_use)
        self._panic.add(at_seconds, total_use)

    def _recommend(self, ready: float, desired: int) -> int:  # noqa: ARG002
        stable, panic = self._stable.mean(), self._panic.mean()
        in_panic = panic > _PANIC_THRESHOLD * stable
        wanted = math.ceil((panic if in_panic else stable) / self._target - _ROUNDING)
        return max(wanted, desired) if in_panic else wanted


_KNOB = Knob(name="target use", default=0.5, sweep=(0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1))
_SOURCE = "https://aibrix.readthedocs.io/latest/features/autoscaling/autoscaling.html"

BASELINES = (
    Baseline(
        name="aibrix-apa",
        title="AIBrix APA",
        source=_SOURCE,
        knob=_KNOB,
        make=by_knob(AibrixApa, RESYNC_SECONDS),
    ),
    Baseline(
        name="aibrix-kpa",
        title="AIBrix KPA",
        source=_SOURCE,
        knob=_KNOB,
        make=by_knob(AibrixKpa, RESYNC_SECONDS),
    ),
)
