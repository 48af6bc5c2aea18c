"""Node pools as the scheduler can use them: usable and free GPUs, and whether growth is blocked."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from forebay.flow.observation import NodePoolObservation
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.watch.records import NodeRecord, PodRecord

_FIRST_BACK_OFF_SECONDS = 300.0
_LONGEST_BACK_OFF_SECONDS = 1800.0


def gpus_held(pods: Iterable[PodRecord]) -> Counter[str]:
    """Return the GPUs that pods hold per node; a terminating pod holds its GPUs until it is gone."""
    held: Counter[str] = Counter()
    for pod in pods:
        if pod.node is not None and pod.gpus:
            held[pod.node] += pod.gpus
    return held


def matches(node: NodeRecord, selector: Mapping[str, str]) -> bool:
    """Whether a node belongs to the pool with this selector; an empty selector has no nodes."""
    return bool(selector) and all(node.labels.get(key) == value for key, value in selector.items())


@dataclass(slots=True)
class BackOff:
    """When a node pool that did not deliver is asked again: after 5 minutes, then twice as long, up to 30.

    The ceiling is Cluster Autoscaler's own for a node group that failed to grow.
    """

    until_seconds: float | None = None
    reason: str = ""
    _delay_seconds: float = _FIRST_BACK_OFF_SECONDS

    def failed(self, now_seconds: float, reason: str) -> None:
        """Take note that capacity did not arrive by its deadline; one failure per back-off counts."""
        if self.blocked(now_seconds):
            return
        self.until_seconds = now_seconds + self._delay_seconds
        self.reason = reason
        self._delay_seconds = min(_LONGEST_BACK_OFF_SECONDS, 2 * self._delay_seconds)

    def succeeded(self) -> None:
        """Take note that a new node delivered."""
        self.until_seconds, self.reason, self._delay_seconds = None, "", _FIRST_BACK_OFF_SECONDS

    def blocked(self, now_seconds: float) -> bool:
        """Whether the pool is not asked now."""
        return self.until_seconds is not None and now_seconds < self.until_seconds


@dataclass(slots=True)
class BackOffs:
    """The back-off of each node pool."""

    _by_name: dict[str, BackOff] = field(default_factory=dict)

    def of(self, name: str) -> BackOff:
        """Return the back-off of one node pool."""
        return self._by_name.setdefault(name, BackOff())

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget node pools that are gone."""
        kept = set(names)
        self._by_name = {name: value for name, value in self._by_name.items() if name in kept}


def observe_node_pool(
    name: str,
    members: Iterable[NodeRecord],
    held: Mapping[str, int],
    *,
    lead_time: LeadTimeQuantiles,
    back_off: BackOff,
    now_seconds: float,
) -> NodePoolObservation:
    """Return the supply of one node pool.

    ``members`` are its nodes, ``held`` the GPUs that pods hold per node. A node that is neither cordoned nor
    usable is on its way.
    """
    nodes = list(members)
    usable = [node for node in nodes if node.usable]
    free = [max(0, node.gpus - held.get(node.name, 0)) for node in usable]
    blocked = back_off.blocked(now_seconds)
    return NodePoolObservation(
        name=name,
        nodes=len(nodes),
        usable_gpus=sum(node.gpus for node in usable),
        free_gpus=sum(free),
        provisioning_nodes=sum(not node.usable and not node.cordoned for node in nodes),
        free_blocks=tuple(sorted((gpus for gpus in free if gpus), reverse=True)),
        blocked_until_seconds=back_off.until_seconds if blocked else None,
        blocked_reason=back_off.reason if blocked else "",
        lead_time_p50_seconds=lead_time.p50_seconds,
        lead_time_p90_seconds=lead_time.p90_seconds,
    )
