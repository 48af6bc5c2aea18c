"""The Kubernetes HPA on utilisation, on queue length, and on both.

Algorithm and defaults: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ (see
`common.hpa_rules`). Utilisation is a per-pod metric with a target of 80 %, the API's own default for CPU: the
share of time in prefill for prefill replicas; running sequences over the batch that just meets the ITL
objective for decode replicas; the higher of the two where a replica does both. Queue length is an external
metric with 4 waiting requests per replica, in the middle of the 3 to 5 that Google advises to start from
(https://cloud.google.com/kubernetes-engine/docs/best-practices/machine-learning/inference/autoscaling).

The same page says what the queue is for: throughput at the least cost where latency may reach what a full batch
gives; for lower latency it advises the batch size, which is ``hpa`` here. A queue says nothing while the fleet is
right, so the rule gives back what it needs. ``hpa-combined`` has both metrics in one HPA: the higher one counts.

How fresh the utilisation is decides more than the target: ``hpa`` reads it as guides do, as a Prometheus rate
over one minute; ``hpa-fresh`` is given the last 15 s exactly, fresher than scrapes are, as the best case of
its kind.
"""

from forebay.offline.replay.baselines.common.hpa_rules import SYNC_SECONDS, HpaRules, from_pods, from_total
from forebay.offline.replay.baselines.common.role_by_role import by_knob
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.common.window import Window
from forebay.offline.replay.baselines.registry import Baseline, Knob

_RATE_WINDOW_SECONDS = 60.0
_WAITING_PER_REPLICA = 4.0
_SOURCE = "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/"


class Hpa:
    """One HorizontalPodAutoscaler; what it measures is up to its subclasses."""

    def __init__(self, target: float) -> None:
        self._target = target
        self._rules: HpaRules | None = None

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:  # noqa: ARG002  an HPA sees pods, not arrivals
        """Return the replicas wanted."""
        if self._rules is None:
            self._rules = HpaRules(max(1, round(seen.desired)))
        return self._rules.apply(seen.at_seconds, self._recommend(seen, self._rules.replicas))

    def _recommend(self, seen: RoleSignals, replicas: int) -> int:
        raise NotImplementedError


class OnUtilisation(Hpa):
    """Mean use of the ready replicas, over a window, against a target."""

    def __init__(self, target: float, window_seconds: float) -> None:
        super().__init__(target)
        self._use = Window(window_seconds)

    def _recommend(self, seen: RoleSignals, replicas: int) -> int:
        if seen.ready <= 0.0:
            return replicas
        self._use.add(seen.at_seconds, seen.occupancy)
        return from_pods(
            replicas=replicas,
            ready=seen.ready,
            starting=seen.starting,
            mean_use=self._use.mean(),
            target=self._target,
        )


class OnQueue(Hpa):
    """Waiting requests against a number per replica."""

    def _recommend(self, seen: RoleSignals, replicas: int) -> int:
        return from_total(replicas=replicas, total=seen.waiting, per_replica=self._target)


class OnBoth(OnUtilisation):
    """Utilisation and queue length: the higher recommendation counts, as in any HPA with two metrics."""

    def _recommend(self, seen: RoleSignals, replicas: int) -> int:
        queue = from_total(replicas=replicas, total=seen.waiting, per_replica=_WAITING_PER_REPLICA)
        return max(super()._recommend(seen, replicas), queue)


_UTILISATION = Knob(
    name="target utilisation",
    default=0.8,
    sweep=(0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2),
)

BASELINES = (
    Baseline(
        name="hpa",
        title="Kubernetes HPA on utilisation",
        source=_SOURCE,
        knob=_UTILISATION,
        make=by_knob(lambda target: OnUtilisation(target, _RATE_WINDOW_SECONDS), SYNC_SECONDS),
    ),
    Baseline(
        name="hpa-fresh",
        title="Kubernetes HPA on utilisation, measured without delay",
        source=_SOURCE,
        knob=_UTILISATION,
        make=by_knob(lambda target: OnUtilisation(target, SYNC_SECONDS), SYNC_SECONDS),
    ),
    Baseline(
        name="hpa-queue",
        title="Kubernetes HPA on queue length",
        source="https://cloud.google.com/kubernetes-engine/docs/best-practices/machine-learning/inference/autoscaling",
        knob=Knob(
            name="waiting requests per replica",
            default=_WAITING_PER_REPLICA,
            sweep=(16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.2),
        ),
        make=by_knob(OnQueue, SYNC_SECONDS),
    ),
    Baseline(
        name="hpa-combined",
        title="Kubernetes HPA on utilisation and queue length",
        source="https://cloud.google.com/kubernetes-engine/docs/best-practices/machine-learning/inference/autoscaling",
        knob=_UTILISATION,
        make=by_knob(lambda target: OnBoth(target, _RATE_WINDOW_SECONDS), SYNC_SECONDS),
    ),
)
