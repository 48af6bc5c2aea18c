"""What is seen of one node pool: its nodes, what its provisioner has in hand and says, how far each node is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Cause(StrEnum):
    """Why a node cannot be had."""

    SOLD_OUT = "SoldOut"
    """The cloud has none."""
    LIMIT_REACHED = "LimitReached"
    """The provisioner may not buy more."""
    LAUNCH_FAILED = "LaunchFailed"
    """The cloud refuses for another reason: a quota, a wrong image."""
    OVERDUE = "Overdue"
    """Nobody said anything, and the deadline has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a provisioner said when it could not bring a node."""

    cause: Cause
    message: str
    at_seconds: float
    """Unix time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineClaim:
    """One machine that a provisioner has in hand (a NodeClaim, a Machine). Times are Unix seconds."""

    name: str
    created_seconds: float
    launched_seconds: float | None = None
    """When the machine was bought; ``None`` until then."""
    node: str | None = None
    """The node that it became."""
    leaving: bool = False
    trouble: str = ""
    """Why it cannot be bought, in the provisioner's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSight:
    """What the provisioner behind one node pool shows."""

    claims: tuple[MachineClaim, ...] = ()
    words: tuple[Word, ...] = ()
    asked: int | None = None
    """Nodes that the provider is asked for; ``None`` where it takes no number."""
    ceiling: int | None = None
    """Most nodes that may be asked for: beyond it the provisioner only keeps the number."""
    launchable: int | None = None
    """Most nodes that could be added, by the provisioner's own limits; ``None`` where it names none."""
    limit: str = ""
    """Which limit that is, in words."""
    problem: str = ""
    """Why this cannot be read or written, and what to do; "" if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSight:
    """One node of the pool, as the scheduler can use it. Times are Unix seconds."""

    name: str
    usable: bool
    """Ready, without a blocking taint, with GPUs that are allocatable."""
    leaving: bool
    """Takes no more pods: cordoned, or on its way out."""
    going: bool
    """Its provisioner removes it already, or its cloud takes it back."""
    gpus: int
    gpus_held: int
    created_seconds: float
    reclaimed: bool = False
    """Its cloud takes it back; its provisioner counts it until it is gone."""
    ready_seconds: float | None = None
    """Since when it is Ready."""

    @property
    def free_gpus(self) -> int:
        """GPUs that the scheduler can give away now."""
        return max(0, self.gpus - self.gpus_held) if self.usable else 0


class NodeState(StrEnum):
    """How far a node is, from the order to its end."""

    REQUESTED = "requested"
    """Asked for, not bought."""
    LAUNCHED = "launched"
    """Bought, and not in the cluster yet."""
    REGISTERED = "registered"
    """In the cluster, and without GPUs that the scheduler can use."""
    USABLE = "usable"
    DRAINING = "draining"
    """Takes no more pods, and goes."""
    STUCK = "stuck"
    """Registered for longer than a start may take, and not usable: no supply."""


@dataclass(frozen=True, slots=True)
class InState:
    """Nodes that are equally far."""

    nodes: int
    since_seconds: float | None
    """Since when the first of them is; ``None`` where nothing tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStates:
    """The nodes of one pool by state; a state that no node is in is absent."""

    by_state: Mapping[NodeState, InState] = field(default_factory=dict)

    def count(self, *states: NodeState) -> int:
        """Return the nodes in any of these states."""
        return sum(self.by_state[state].nodes for state in states if state in self.by_state)

    @property
    def coming(self) -> int:
        """Nodes that are bought and not usable yet."""
        return self.count(NodeState.LAUNCHED, NodeState.REGISTERED)

    @property
    def coming_since_seconds(self) -> float | None:
        """Since when the first of those is on its way; ``None`` where none is."""
        found = (self.by_state.get(state) for state in (NodeState.LAUNCHED, NodeState.REGISTERED))
        return min((item.since_seconds for item in found if item and item.since_seconds is not None), default=None)

    @property
    def paid(self) -> int:
        """Nodes that are on the bill: from the launch to the end."""
        return sum(state.nodes for name, state in self.by_state.items() if name is not NodeState.REQUESTED)


def node_states(
    nodes: Iterable[NodeSight], sight: ProviderSight, *, now_seconds: float, patience_seconds: float
) -> NodeStates:
    """Return how far each node of a pool is.

    Args:
        nodes: those in the cluster.
        sight: what the provisioner has in hand.
        now_seconds: Unix time.
        patience_seconds: how long a start may take.
    """
    nodes = list(nodes)
    found = [_of_node(node, now_seconds, patience_seconds) for node in nodes]
    known = {node.name for node in nodes}
    claims = [claim for claim in sight.claims if claim.node not in known]
    found += [_of_claim(claim, now_seconds, patience_seconds) for claim in claims if not claim.leaving]
    present = sum(state is not NodeState.DRAINING for state, _ in found)
    present += sum(node.leaving and (node.reclaimed or not node.going) for node in nodes)
    # A number was asked for, and the provisioner has not begun with all of them.
    missing = max(0, (sight.asked or 0) - present)
    found += [(NodeState.REQUESTED, None)] * missing
    return NodeStates(by_state={state: _together(state, found) for state in NodeState if _has(state, found)})


_Found = tuple[NodeState, float | None]


def _of_node(node: NodeSight, now_seconds: float, patience_seconds: float) -> _Found:
    if node.leaving:
        return NodeState.DRAINING, None
    if node.usable:
        return NodeState.USABLE, node.ready_seconds
    if now_seconds - node.created_seconds > patience_seconds:
        return NodeState.STUCK, node.created_seconds
    return NodeState.REGISTERED, node.created_seconds


def _of_claim(claim: MachineClaim, now_seconds: float, patience_seconds: float) -> _Found:
    if claim.launched_seconds is None:
        return NodeState.REQUESTED, claim.created_seconds
    if now_seconds - claim.launched_seconds > patience_seconds:
        return NodeState.STUCK, claim.launched_seconds
    return NodeState.LAUNCHED, claim.launched_seconds


def _has(state: NodeState, found: Iterable[_Found]) -> bool:
    return any(each is state for each, _ in found)


def _together(state: NodeState, found: Iterable[_Found]) -> InState:
    times = [since for each, since in found if each is state]
    return InState(len(times), min((since for since in times if since is not None), default=None))
