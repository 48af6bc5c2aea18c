"""What looks at the cluster remember between rounds, beside the caches."""

from dataclasses import dataclass, field

from forebay.actuation.targets import TargetRef
from forebay.runtime.cluster.leadtime import LeadTimeBook
from forebay.runtime.cluster.nodephases import NodePhases
from forebay.runtime.cluster.nodepools import BackOffs
from forebay.runtime.cluster.orders import UnbornReplicas
from forebay.runtime.cluster.writes import Writes
from forebay.runtime.watch.kinds import watched_kind
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.workloads import WorkloadRecord


@dataclass(slots=True)
class ClusterMemory:
    """The caches, lead times and their phases, back-offs, orders that no pod tells of, and our own writes.

    Args:
        store: the informer's caches.
        shortest_deadline_seconds: a starting replica is supply for at least this long.
        writes: what we wrote last.
    """

    store: Store
    shortest_deadline_seconds: float = 900.0
    writes: Writes = field(default_factory=Writes)
    book: LeadTimeBook = field(default_factory=LeadTimeBook)
    phases: NodePhases = field(default_factory=NodePhases)
    back_offs: BackOffs = field(default_factory=BackOffs)
    unborn: UnbornReplicas = field(default_factory=UnbornReplicas)
    other_workloads: dict[TargetRef, WorkloadRecord | str] = field(default_factory=dict)
    """Targets of kinds that are not watched, read before each look; a string says why one cannot be used."""

    def workload(self, target: TargetRef) -> WorkloadRecord | str:
        """Return what is known of a scale target, or a sentence that says why it cannot be used."""
        found = self.store.workloads.get(target) or self.other_workloads.get(target)
        if found is not None:
            return found
        kind = watched_kind(target.api_version, target.kind)
        if kind is not None and kind not in self.store.kinds:
            return f"{target.kind} {target.name} is not known: {self.store.without[kind]}."
        return f"{target.kind} {target.name} does not exist: create it."
