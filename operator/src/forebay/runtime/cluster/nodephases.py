"""How long each step of a node takes: bought, in the cluster, usable. It tells which of them is slow."""

from collections import defaultdict, deque
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from forebay.actuation.providers.port import Situation
from forebay.actuation.providers.sight import MachineClaim, NodeSight
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles

LAUNCH, REGISTER, USABLE = "launch", "register", "usable"
"""From the order to the purchase, to the node in the cluster, to GPUs that the scheduler can use."""
_MOST = 50
_LONGEST_SECONDS = 3600.0
"""A node that needed longer was not on its way all the time: it was Ready before, and is so again."""


@dataclass(slots=True)
class NodePhases:
    """The last durations of each step, by node pool. Each node teaches once, when it is first seen usable."""

    _seconds: dict[str, dict[str, deque[float]]] = field(
        default_factory=partial(defaultdict, partial(defaultdict, partial(deque, maxlen=_MOST)))
    )
    _known: dict[str, set[str]] = field(default_factory=partial(defaultdict, set))
    _awaited: dict[str, set[str]] = field(default_factory=partial(defaultdict, set))
    """Nodes that were seen before they were usable: a node may be Ready long before its GPUs are there."""

    def see(self, name: str, situation: Situation) -> None:
        """Look at the nodes of one pool."""
        claims = {claim.node: claim for claim in situation.sight.claims if claim.node}
        known, awaited = self._known[name], self._awaited[name]
        alive = {node.name for node in situation.nodes}
        known &= alive
        awaited &= alive
        for node in situation.nodes:
            if node.name in known or node.leaving:
                continue
            if not node.usable:
                awaited.add(node.name)
                continue
            known.add(node.name)
            usable_seconds = situation.at_seconds if node.name in awaited else node.ready_seconds
            for phase, seconds in _durations(node, claims.get(node.name), usable_seconds):
                if 0.0 <= seconds <= _LONGEST_SECONDS:
                    self._seconds[name][phase].append(seconds)

    def keep_only(self, names: Container[str]) -> None:
        """Forget node pools that are gone."""
        for by_name in (self._seconds, self._known, self._awaited):
            for name in [name for name in by_name if name not in names]:
                del by_name[name]

    def quantiles(self, name: str) -> Mapping[str, LeadTimeQuantiles]:
        """Return what each step took; a step that was never seen is absent."""
        found = self._seconds.get(name, {})
        return {phase: _quantiles(found[phase]) for phase in (LAUNCH, REGISTER, USABLE) if found.get(phase)}


def _durations(
    node: NodeSight, claim: MachineClaim | None, usable_seconds: float | None
) -> Iterator[tuple[str, float]]:
    if claim is not None and claim.launched_seconds is not None:
        yield LAUNCH, claim.launched_seconds - claim.created_seconds
        yield REGISTER, node.created_seconds - claim.launched_seconds
    if usable_seconds is not None:
        yield USABLE, usable_seconds - node.created_seconds


def _quantiles(seconds: deque[float]) -> LeadTimeQuantiles:
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return LeadTimeQuantiles(p50_seconds=at(0.5), p90_seconds=at(0.9), p99_seconds=at(0.99), observed=len(ordered))
