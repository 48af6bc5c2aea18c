"""Target utilisation on measured work: the plainest rule that works, and the yardstick for the others.

Replicas = work that arrived in the last minute over the target utilisation, the highest answer of the last five
minutes counts. This is what a careful user builds from a Prometheus recording rule ("requests per second times the
measured seconds per request") behind an HPA with its default five-minute scale-in window:
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/. The target of .7 is what Knative and
many guides start from.
"""

from forebay.offline.replay.baselines.common.role_by_role import by_knob
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.common.window import Window
from forebay.offline.replay.baselines.registry import Baseline, Knob

_RATE_WINDOW_SECONDS = 60.0
_HOLD_SECONDS = 300.0
_INTERVAL_SECONDS = 30.0


class Reactive:
    """One workload: measured work over the target utilisation, held for five minutes."""

    def __init__(self, utilisation: float) -> None:
        self._utilisation = utilisation
        self._answers: Window | None = None

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the replicas wanted."""
        erlangs = arrivals.per_second(_RATE_WINDOW_SECONDS) * seen.workload.seconds_per_request
        if self._answers is None:  # an HPA's first recommendation is what it finds
            self._answers = Window(_HOLD_SECONDS)
            self._answers.add(seen.at_seconds, seen.desired)
        self._answers.add(seen.at_seconds, erlangs / self._utilisation)
        return self._answers.highest()


BASELINES = (
    Baseline(
        name="reactive",
        title="Target utilisation on measured work",
        source="https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/",
        knob=Knob(
            name="target utilisation",
            default=0.7,
            sweep=(0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2),
        ),
        make=by_knob(Reactive, _INTERVAL_SECONDS),
    ),
)
