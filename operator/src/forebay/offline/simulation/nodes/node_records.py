"""The state of a node pool at one time: its nodes, their cost, their lead times."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from forebay.flow.fleet import PoolKey, VariantKey
from forebay.flow.observation import NodePoolObservation, PlacedNode
from forebay.offline.simulation.nodes.capacity import Pod
from forebay.offline.simulation.nodes.node import Node, NodeRules
from forebay.offline.simulation.simulation_options import StartUp

_FEWEST = 5
"""So many nodes must be measured before their percentile replaces the declared lead time."""
_MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedReplica:
    """One replica and the nodes that it holds GPUs of."""

    pool: PoolKey
    variant: VariantKey
    pod: Pod
    leaves: bool
    """It drains: it does not count any more, and holds its GPUs until it is empty."""


class LeadTimes:
    """Lead times of a pool's nodes: measured where enough have come, else as declared."""

    def __init__(self, declared: StartUp) -> None:
        self._declared = (declared.quantile_seconds(0.5), declared.quantile_seconds(0.9))
        self._seen: list[float] = []

    def add(self, *, launched_seconds: float, seconds: float) -> None:
        """Take the lead time of a node; nodes that exist at the beginning have none."""
        if launched_seconds > 0.0:
            self._seen.append(seconds)

    @property
    def p50_seconds(self) -> float:
        """Return the median."""
        return self._quantile(0.5, self._declared[0])

    @property
    def p90_seconds(self) -> float:
        """Return the 90th percentile."""
        return self._quantile(0.9, self._declared[1])

    def _quantile(self, share: float, declared: float) -> float:
        if len(self._seen) < _FEWEST:
            return declared
        recent = sorted(self._seen[-_MOST:])
        return recent[min(len(recent) - 1, int(share * len(recent)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePoolRecord:
    """The nodes of one pool at one time."""

    rules: NodeRules
    nodes: tuple[Node, ...]
    """Launched and not given back."""
    gone: tuple[Node, ...]
    lead: LeadTimes
    refused_until_seconds: float | None
    """The provisioner treats the type as sold out until this time."""

    def observed(self, name: str, now: float, replicas: Iterable[PlacedReplica] = ()) -> NodePoolObservation:
        """Return what the operator would see: nodes, their replicas, coming nodes, the provisioner's reports."""
        here = [node for node in self.nodes if not node.coming(now)]
        usable = [node for node in here if node.usable(now)]
        coming = [node for node in self.nodes if node.coming(now)]
        blocks = tuple(node.free for node in usable if node.free > 0)
        most = self.rules.max_nodes
        return NodePoolObservation(
            name=name,
            nodes=len(here),
            usable_gpus=sum(node.gpus for node in usable),
            free_gpus=sum(blocks),
            provisioning_nodes=len(coming),
            coming_gpus=sum(node.gpus for node in coming),
            launched_nodes=len(coming),
            launchable_nodes=None if most is None else max(0, most - len(self.nodes)),
            free_blocks=blocks,
            placement=_placement(usable, replicas),
            blocked_until_seconds=self.refused_until_seconds,
            blocked_reason="the provisioner says that the type is sold out" if self.refused_until_seconds else "",
            lead_time_p50_seconds=self.lead.p50_seconds,
            lead_time_p90_seconds=self.lead.p90_seconds,
        )

    def bill(self, until_seconds: float) -> "NodeBill":
        """Return what the nodes cost up to ``until_seconds``, by the node-second."""
        every = (*self.gone, *self.nodes)
        spans = [_billed_span(node, self.rules, until_seconds) for node in every]
        spans = [span for span in spans if span[1] > span[0]]
        launched = [node for node in every if 0.0 < node.launched_seconds <= until_seconds]
        unused = [node for node in launched if not node.used and node.gone_seconds <= until_seconds]
        return NodeBill(
            node_seconds=sum(end - start for start, end in spans),
            billed_node_seconds=_at_least(spans, self.rules.reserved_nodes, until_seconds),
            launched=len(launched),
            given_back_unused=len(unused),
        )


def _placement(usable: Iterable[Node], replicas: Iterable[PlacedReplica]) -> tuple[PlacedNode, ...]:
    """Return the usable nodes with the replicas that have all their GPUs there."""
    counts: dict[str, Counter[tuple[PoolKey, VariantKey]]] = defaultdict(Counter)
    known: Counter[str] = Counter()
    for replica in replicas:
        if len(replica.pod.places) == 1:
            ((node, gpus),) = replica.pod.places
            known[node.name] += gpus
            counts[node.name][replica.pool, replica.variant] += not replica.leaves
    return tuple(
        PlacedNode(
            name=node.name,
            free_gpus=node.free,
            replicas=+counts[node.name],
            others=node.gpus - node.free > known[node.name],
        )
        for node in usable
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBill:
    """The node-seconds and launches of one pool."""

    node_seconds: float
    """From launch until given back, minimum billing included."""
    billed_node_seconds: float
    """The same with reserved nodes, which are paid for in any case."""
    launched: int
    """Nodes launched after the start."""
    given_back_unused: int
    """Of these, nodes on which no replica ever started."""


def _billed_span(node: Node, rules: NodeRules, until: float) -> tuple[float, float]:
    end = max(node.gone_seconds, node.launched_seconds + rules.minimum_billed_seconds)
    return node.launched_seconds, min(end, until)


def _steps(spans: list[tuple[float, float]]) -> list[tuple[float, int]]:
    """Return the times at which the number of nodes changes, with the number from then on."""
    starts, ends = sorted(start for start, _ in spans), sorted(end for _, end in spans)
    return [(at, bisect_right(starts, at) - bisect_right(ends, at)) for at in sorted({*starts, *ends})]


def _at_least(spans: list[tuple[float, float]], reserved: int, until: float) -> float:
    """Return node-seconds where at least ``reserved`` nodes are paid for at any time."""
    if reserved <= 0:
        return sum(end - start for start, end in spans)
    total, before, count = 0.0, 0.0, 0
    for at, then in _steps(spans):
        total += (at - before) * max(count, reserved)
        before, count = at, then
    return total + (until - before) * max(count, reserved)
