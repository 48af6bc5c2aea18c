"""Workloads of the small cluster, and what their controllers do with their pods.

A Deployment is reconciled as kube-controller-manager does it: rolling updates with surge, proportional scaling of
two revisions, removal in the order of a ReplicaSet. A StatefulSet replaces its pods from the highest ordinal down,
one at a time, and removes the highest ordinal whatever its state. A contrary workload stands for a controller that
removes what serves first, which no rule of its kind tells.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

GPUS_PER_NODE = 4


@dataclass(eq=False)
class Pod:
    """One pod of a workload."""

    name: str
    revision: int
    created: float
    ordinal: int = 0
    scheduled: float | None = None
    ready: float | None = None
    failed: float | None = None
    """When it was Ready for the last time, of one that is not."""
    restarts: int = 0
    node: str | None = None
    gated: bool = False
    sick: bool = False
    """Its GPU fails: it does not get Ready again."""


@dataclass(eq=False)
class Workload:
    """A Deployment or a StatefulSet, and what is wrong with it."""

    name: str
    node_pool: str
    replicas: int
    kind: str = "Deployment"
    contrary: bool = False
    manager: str = "kubectl-client-side-apply"
    by_scale: bool = False
    revision: int = 1
    broken: set[int] = field(default_factory=set)
    surge: int = 1
    unavailable: int = 0
    most_pods: int | None = None
    """A quota."""
    gates: bool = False
    manifest: int | None = None
    """What a GitOps tool sets the count back to as often as it looks."""
    pods: list[Pod] = field(default_factory=list)
    failing_since: float | None = None

    @property
    def revisions(self) -> set[int]:
        """Return the revisions of the pods."""
        return {pod.revision for pod in self.pods}

    def ready(self) -> int:
        """Return how many pods are Ready."""
        return sum(pod.ready is not None for pod in self.pods)

    def surplus(self, replicas: int) -> list[Pod]:
        """Return the pods that go at a count."""
        if self.contrary:
            over = max(0, len(self.pods) - replicas)
            return sorted(self.pods, key=lambda pod: pod.ready is None)[:over]
        if self.kind == "StatefulSet":
            return [pod for pod in self.pods if pod.ordinal >= replicas]
        return self._surplus_of_replica_sets(replicas)

    def ready_at(self, replicas: int) -> int:
        """Return the Ready pods that are left once the controller has followed a lower count."""
        return self.ready() - sum(pod.ready is not None for pod in self.surplus(replicas))

    def reconcile(self, now: float, name: Callable[[], str]) -> list[Pod]:
        """Do what the controller does once; return the pods that it removes."""
        removed = self.surplus(self.replicas)
        for pod in removed:
            self.pods.remove(pod)
        self._create(now, name)
        replaced = self._replaced_ordinals() if self.kind == "StatefulSet" else self._replaced_by_replica_sets()
        for pod in replaced:
            self.pods.remove(pod)
        return [*removed, *replaced]

    def _surplus_of_replica_sets(self, replicas: int) -> list[Pod]:
        """Of two revisions each gives up its share, the larger one first."""
        old = [pod for pod in self.pods if pod.revision != self.revision]
        new = [pod for pod in self.pods if pod.revision == self.revision]
        over = len(self.pods) - replicas - (self.surge if old else 0)
        if over <= 0:
            return []
        going: list[Pod] = []
        for group in sorted((old, new), key=len, reverse=True):
            share = min(len(group), over - len(going), -(-over * len(group) // len(self.pods)))
            going.extend(sorted(group, key=_removal_order)[:share])
        return going

    def _create(self, now: float, name: Callable[[], str]) -> None:
        old = [pod for pod in self.pods if pod.revision != self.revision]
        ordered = self.kind == "StatefulSet"
        most = self.replicas + (self.surge if old and not ordered else 0)
        refused = False
        while len(self.pods) < most and (ordered or len(self.pods) - len(old) < self.replicas):
            if self.most_pods is not None and len(self.pods) >= self.most_pods:
                refused = True
                break
            taken = {pod.ordinal for pod in self.pods}
            ordinal = next(number for number in range(most) if number not in taken) if ordered else 0
            pod_name = f"{self.name}-{ordinal}" if ordered else name()
            self.pods.append(Pod(pod_name, self.revision, now, ordinal, gated=self.gates))
        self.failing_since = (self.failing_since or now) if refused else None

    def _replaced_by_replica_sets(self) -> list[Pod]:
        going: list[Pod] = []
        ready = self.ready()
        for pod in sorted((pod for pod in self.pods if pod.revision != self.revision), key=_removal_order):
            if pod.ready is None:
                going.append(pod)
            elif ready > self.replicas - self.unavailable:
                going.append(pod)
                ready -= 1
        return going

    def _replaced_ordinals(self) -> list[Pod]:
        for pod in sorted(self.pods, key=lambda pod: -pod.ordinal):
            if pod.revision != self.revision:
                return [pod]
            if pod.ready is None:
                return []
        return []


def _removal_order(pod: Pod) -> tuple[bool, bool, float]:
    """Sort the pods that a ReplicaSet removes first to the front: unassigned, not Ready, youngest."""
    return pod.node is not None, pod.ready is not None, -pod.created
