"""Node pools as the scheduler can use them: usable and free GPUs, and whether growth is blocked."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from forebay.actuation.providers.chunks import PLACEHOLDER_LABEL
from forebay.actuation.providers.port import Situation
from forebay.actuation.providers.sight import Cause, NodeSight, NodeState, ProviderSight, Word, node_states
from forebay.flow.observation import NodePoolObservation, Note, StartingReplica
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.roster import NodePoolEntry
from forebay.runtime.watch.records import GPU_RESOURCES, NodeRecord, PodRecord

WAITING_FOR_NODE = "WaitingForNode"
"""Code of the note that replicas wait for a node that is expected."""
_FIRST_BACK_OFF_SECONDS = 300.0
_LONGEST_BACK_OFF_SECONDS = 1800.0


def gpus_held(
    pods: Iterable[PodRecord], resource: str, placeholders: frozenset[tuple[str, str]] = frozenset()
) -> Counter[str]:
    """Return the GPUs that pods hold per node; a terminating pod holds its GPUs until it is gone.

    Args:
        pods: of the cluster.
        resource: name of the GPUs.
        placeholders: namespaces and node pools whose placeholders hold nothing: any real pod takes their place.
    """
    held: Counter[str] = Counter()
    usual = resource in GPU_RESOURCES
    for pod in pods:
        gpus = pod.gpus if usual else pod.other_devices.get(resource, 0)
        if pod.node is None or not gpus:
            continue
        if placeholders and (pod.namespace, pod.labels.get(PLACEHOLDER_LABEL, "")) in placeholders:
            continue
        held[pod.node] += gpus
    return held


class Holders:
    """GPUs that pods hold per node, counted once per resource and look.

    Args:
        pods: returns the pods of the cluster.
        entries: node pools, of which some have placeholders.
    """

    def __init__(self, pods: Callable[[], Iterable[PodRecord]], entries: Iterable[NodePoolEntry]) -> None:
        self._pods = pods
        self._placeholders = frozenset(
            (given.namespace, entry.node_pool.name)
            for entry in entries
            if (given := entry.binding.provider.placeholder) is not None
        )
        self._held: dict[str, Counter[str]] = {}

    def of(self, resource: str) -> Counter[str]:
        """Return the GPUs of one resource that pods hold, by node."""
        if resource not in self._held:
            self._held[resource] = gpus_held(self._pods(), resource, self._placeholders)
        return self._held[resource]


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
    last: Word | None = None
    """The last failure, which outlives the back-off."""
    _delay_seconds: float = _FIRST_BACK_OFF_SECONDS
    _heard_seconds: float = 0.0
    """Unix time of the newest word that was heard."""

    def failed(self, now_seconds: float, reason: str) -> None:
        """Take note that capacity did not arrive by its deadline; one failure per back-off counts."""
        if self.blocked(now_seconds):
            return
        self.until_seconds = now_seconds + self._delay_seconds
        self.reason = reason
        self._delay_seconds = min(_LONGEST_BACK_OFF_SECONDS, 2 * self._delay_seconds)

    def hear(self, word: Word, now_seconds: float) -> None:
        """Take note of what a provisioner said; the same word counts once, an old one for what is left of it."""
        if word.at_seconds <= self._heard_seconds:
            return
        self._heard_seconds = word.at_seconds
        self.last = word
        if not self.blocked(now_seconds) and word.at_seconds + self._delay_seconds > now_seconds:
            self.failed(word.at_seconds, word.message)

    def hear_all(self, sight: ProviderSight, now_seconds: float) -> None:
        """Take note of all that the provisioner of a node pool says, and of nodes that it could buy since."""
        for word in sorted(sight.words, key=lambda word: word.at_seconds):
            self.hear(word, now_seconds)
        bought = max((claim.launched_seconds or 0.0 for claim in sight.claims), default=0.0)
        if self.until_seconds is not None and bought > self._heard_seconds:
            self.succeeded()

    def overdue(self, message: str, now_seconds: float) -> None:
        """Take note that nodes did not come by their deadline, and that nobody said why."""
        if not self.blocked(now_seconds):
            self.last = Word(cause=Cause.OVERDUE, message=message, at_seconds=now_seconds)
            self._heard_seconds = max(self._heard_seconds, now_seconds)
            self.failed(now_seconds, message)

    def recall(self, *, until_seconds: float, reason: str) -> None:
        """Take back what an earlier process wrote into the status."""
        self.until_seconds, self.reason = until_seconds, reason
        self._heard_seconds = until_seconds - self._delay_seconds

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


def see_nodes(
    members: Iterable[NodeRecord],
    held: Mapping[str, int],
    sight: ProviderSight,
    *,
    resource: str,
    back_off: BackOff,
    now_seconds: float,
    patience_seconds: float,
) -> Situation:
    """Return the situation of one node pool.

    Args:
        members: its nodes.
        held: GPUs that pods hold, by node.
        sight: what its provisioner shows.
        resource: name of its GPUs.
        back_off: of the node pool.
        now_seconds: Unix time.
        patience_seconds: how long the start of a node may take.
    """
    nodes = tuple(
        NodeSight(
            name=node.name,
            usable=node.usable_for(resource),
            leaving=node.cordoned or node.going,
            going=node.going,
            reclaimed=node.reclaimed,
            gpus=node.allocatable(resource),
            gpus_held=held.get(node.name, 0),
            created_seconds=node.created_seconds,
            ready_seconds=node.ready_seconds,
        )
        for node in members
    )
    return Situation(
        at_seconds=now_seconds,
        nodes=nodes,
        states=node_states(nodes, sight, now_seconds=now_seconds, patience_seconds=patience_seconds),
        sight=sight,
        blocked=back_off.blocked(now_seconds),
    )


def observe_node_pool(
    name: str, situation: Situation, *, gpus_per_node: int, lead_time: LeadTimeQuantiles, back_off: BackOff
) -> NodePoolObservation:
    """Return the supply of one node pool."""
    states, sight = situation.states, situation.sight
    usable = [node for node in situation.nodes if node.usable]
    blocked = back_off.blocked(situation.at_seconds)
    return NodePoolObservation(
        name=name,
        nodes=len(situation.nodes),
        usable_gpus=sum(node.gpus for node in usable),
        free_gpus=sum(node.free_gpus for node in usable),
        provisioning_nodes=states.coming,
        coming_gpus=states.coming * gpus_per_node,
        launched_nodes=states.count(NodeState.LAUNCHED),
        coming_since_seconds=states.coming_since_seconds,
        launchable_nodes=sight.launchable,
        free_blocks=tuple(sorted((node.free_gpus for node in usable if node.free_gpus), reverse=True)),
        blocked_until_seconds=back_off.until_seconds if blocked else None,
        blocked_reason=back_off.reason if blocked else sight.limit,
        lead_time_p50_seconds=lead_time.p50_seconds,
        lead_time_p90_seconds=lead_time.p90_seconds,
    )


def waiting_notes(starting: Iterable[StartingReplica], node_pool: NodePoolObservation | None) -> list[Note]:
    """Return what replicas that the scheduler cannot place wait for, as far as the node pool tells.

    Times of day, and no ages: a sentence that changes in every round would be written in every round.
    """
    waiting = sum(replica.unschedulable for replica in starting)
    if not waiting or node_pool is None:
        return []
    told = f"{waiting} replicas wait for a node of pool {node_pool.name}"
    if node_pool.blocked_reason:
        return [Note("NoNodeToBeHad", f"{told}: {node_pool.blocked_reason}")]
    usual = f"usually {max(1.0, node_pool.lead_time_p50_seconds / 60):.0f} min"
    if node_pool.coming_since_seconds is None:
        return [Note(WAITING_FOR_NODE, f"{told}; none is on its way yet ({usual}).")]
    since = datetime.fromtimestamp(node_pool.coming_since_seconds, tz=UTC)
    return [Note(WAITING_FOR_NODE, f"{told}, on its way since {since:%H:%M:%S} UTC ({usual}).")]
