"""Simulated nodes: the node autoscaler launches them for pods, and gives empty ones back after a delay.

The node autoscaler works like a pod-driven provider: a pod that fits on no node, ready or coming, launches a node
of its pool. Nodes are described by times alone (launched, ready, empty since, gone), so that nothing must be
computed between two calls, and several simulated pools may call, each at its own time.

Known approximations: a node autoscaler never moves pods to empty a node (inference pods are commonly marked
``do-not-disrupt``); pods of several nodes are placed together; a pod that waits for a node takes room that became
free elsewhere when it is checked next.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from forebay.offline.simulation.nodes.capacity import Pod
from forebay.offline.simulation.nodes.gpu_supply import stocked_out_until
from forebay.offline.simulation.nodes.node import ForeignPods, Node, NodeRules, NodeScoring
from forebay.offline.simulation.nodes.node_records import LeadTimes, NodePoolRecord
from forebay.offline.simulation.simulation_options import StockOut

SOLD_OUT_SECONDS = 180.0
"""How long a refused launch is remembered, as Karpenter's providers remember a type that is sold out."""


class NodeFleet:
    """Nodes per node pool (a `PodCapacity`); a node pool without rules has no nodes and no limit."""

    def __init__(
        self,
        rules: Mapping[str, NodeRules],
        *,
        scoring: NodeScoring = NodeScoring.LEAST_ALLOCATED,
        stock_outs: Iterable[StockOut] = (),
        foreign: Iterable[ForeignPods] = (),
        seed: int = 0,
    ) -> None:
        self.version = 0
        self._rules = dict(rules)
        self._scoring = scoring
        self._stock_outs = tuple(stock_outs)
        self._chance = np.random.default_rng((seed, 1))
        self._nodes: dict[str, list[Node]] = {name: [] for name in rules}
        self._gone: dict[str, list[Node]] = {name: [] for name in rules}
        self._lead = {name: LeadTimes(rule.lead_time) for name, rule in rules.items()}
        self._refused: dict[str, float] = {}
        self._warm: dict[str, int] = {}
        self._coming_pods: list[tuple[float, Pod]] = []
        self._leaving_pods: list[tuple[float, Pod]] = []
        for name, rule in rules.items():
            for _ in range(rule.min_nodes):
                self._launch(name, 0.0, at_once=True)
        for pods in foreign:
            for _ in range(pods.count):
                pod = Pod(pods.node_pool, pods.gpus)
                self._coming_pods.append((pods.start_seconds, pod))
                self._leaving_pods.append((pods.end_seconds, pod))
        self._foreign(0.0)

    # Calls for pods -------------------------------------------------------------------------------------------

    def place(self, pod: Pod, now: float, *, at_once: bool = False) -> float | None:
        """Place ``pod`` on nodes, ready or coming, and launch missing ones; return when the pod can start."""
        name = pod.node_pool
        if name is None or name not in self._rules:
            return now
        self._foreign(now)
        self._settle(name, now)
        for gpus in self._parts(name, pod.gpus):
            node = (
                self._with_room(name, gpus, now)
                or self._on_its_way(name, gpus, now)
                or self._launch(name, now, at_once=at_once)
            )
            if node is None:
                _undo(pod.places)
                pod.places.clear()
                return None
            node.take(gpus)
            pod.places.append((node, gpus))
        return max(now, *(node.ready_seconds for node, _ in pod.places))

    def move(self, pod: Pod, now: float) -> bool:
        """Place ``pod``, which waits for a node, on ready nodes with room; return whether there were enough."""
        name = pod.node_pool
        if name is None or name not in self._rules:
            return False
        self._foreign(now)
        self._settle(name, now)
        found: list[tuple[Node, int]] = []
        for gpus in self._parts(name, pod.gpus):
            node = self._with_room(name, gpus, now)
            if node is None:
                _undo(found)
                return False
            node.take(gpus)
            found.append((node, gpus))
        self._unplace(pod, now)
        pod.places.extend(found)
        return True

    def remove(self, pod: Pod, when: float) -> None:
        """Take ``pod`` off its nodes."""
        self._unplace(pod, when)
        self.version += 1

    def next_change_seconds(self, now: float) -> float:
        """Return when the next stock-out ends or foreign pods leave."""
        ends = [out.end_seconds for out in self._stock_outs if out.end_seconds > now]
        leaves = [when for when, _ in self._leaving_pods if when > now]
        return min((*ends, *leaves), default=math.inf)

    def reclaim_seconds(self, pod: Pod) -> float:
        """Return when the first node of ``pod`` gets its spot notice."""
        return min((node.reclaim_seconds for node, _ in pod.places), default=math.inf)

    def notice_seconds(self, pod: Pod) -> float:
        """Return the time between the notice and the end of its node."""
        rules = self._rules.get(pod.node_pool or "")
        return rules.notice_seconds if rules is not None else 0.0

    def node_wait_seconds(self, node_pool: str | None, gpus: int, now: float) -> float:
        """Return the 90th percentile of one more pod's wait for a node; 0 where there is room."""
        if node_pool is None or node_pool not in self._rules:
            return 0.0
        self._settle(node_pool, now)
        largest = min(gpus, self._rules[node_pool].gpus_per_node)
        if self._with_room(node_pool, largest, now) is not None:
            return 0.0
        return self._lead[node_pool].p90_seconds

    def crowding(self, pod: Pod, others: list[Pod]) -> int:
        """Return how many of ``others`` share a node with ``pod``."""
        here = {id(node) for node, _ in pod.places}
        return sum(any(id(node) in here for node, _ in other.places) for other in others if other is not pod)

    def hold(self, warm: Mapping[str, int], now: float) -> None:
        """Hold so many empty nodes of each pool, as a buffer of the node autoscaler does."""
        self._warm = dict(warm)
        for name, count in warm.items():
            if name in self._rules:
                self._settle(name, now)
                while sum(node.pods == 0 for node in self._nodes[name]) < count:
                    if self._launch(name, now, at_once=False) is None:
                        break

    # State of the nodes ---------------------------------------------------------------------------------------

    def record(self, name: str, now: float) -> NodePoolRecord:
        """Return the nodes of one pool at ``now``, those that are gone included."""
        self._foreign(now)
        self._settle(name, now)
        refused = self._refused.get(name)
        return NodePoolRecord(
            rules=self._rules[name],
            nodes=tuple(self._nodes[name]),
            gone=tuple(self._gone[name]),
            lead=self._lead[name],
            refused_until_seconds=None if refused is None or refused <= now else refused,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the node pools."""
        return tuple(self._rules)

    # Inside ---------------------------------------------------------------------------------------------------

    def _parts(self, name: str, gpus: int) -> list[int]:
        """Return the GPUs that one replica asks for per node: whole nodes where it is larger than one."""
        whole, rest = divmod(gpus, self._rules[name].gpus_per_node)
        return [self._rules[name].gpus_per_node] * whole + ([rest] if rest else [])

    def _with_room(self, name: str, gpus: int, now: float) -> Node | None:
        able = [node for node in self._nodes[name] if node.free >= gpus and node.usable(now)]
        if not able:
            return None
        fullest = self._scoring is NodeScoring.MOST_ALLOCATED
        return min(able, key=lambda node: node.free if fullest else -node.free)

    def _on_its_way(self, name: str, gpus: int, now: float) -> Node | None:
        able = [node for node in self._nodes[name] if node.free >= gpus and node.coming(now)]
        return min(able, key=lambda node: node.ready_seconds, default=None)

    def _launch(self, name: str, now: float, *, at_once: bool) -> Node | None:
        rules = self._rules[name]
        if rules.max_nodes is not None and len(self._nodes[name]) >= rules.max_nodes:
            return None
        if not at_once and stocked_out_until(self._stock_outs, name, now) is not None:
            self._refused[name] = now + SOLD_OUT_SECONDS
            return None
        lead = 0.0 if at_once else rules.lead_time.draw_seconds(self._chance)
        node = Node(
            name=f"{name}-{len(self._nodes[name]) + len(self._gone[name])}",
            gpus=rules.gpus_per_node,
            launched_seconds=now,
            ready_seconds=now + lead,
            free=rules.gpus_per_node,
            empty_since_seconds=now + lead,
        )
        if rules.mean_seconds_between_reclaims is not None:
            life = float(self._chance.exponential(rules.mean_seconds_between_reclaims))
            node.reclaim_seconds = node.ready_seconds + life
        self._refused.pop(name, None)
        self._lead[name].add(launched_seconds=now, seconds=lead)
        self._nodes[name].append(node)
        return node

    def _unplace(self, pod: Pod, when: float) -> None:
        for node, gpus in pod.places:
            node.leave(gpus, when)
        pod.places.clear()

    def _settle(self, name: str, now: float) -> None:
        """Give back the nodes that were empty for long enough, or are reclaimed."""
        rules, alive = self._rules[name], self._nodes[name]
        going: list[Node] = []
        empty = sum(node.pods == 0 for node in alive)
        for node in alive:
            end = node.reclaim_seconds + rules.notice_seconds
            if node.pods == 0 and len(alive) - len(going) > rules.min_nodes and empty > self._warm.get(name, 0):
                end = min(end, node.empty_since_seconds + rules.consolidate_after_seconds)
            if end <= now:
                node.gone_seconds = end
                going.append(node)
                empty -= node.pods == 0
        if going:
            self._nodes[name] = [node for node in alive if node.alive(now)]
            self._gone[name].extend(going)
            self.version += 1

    def _foreign(self, now: float) -> None:
        """Start and end pods of other users."""
        for due in [entry for entry in self._coming_pods if entry[0] <= now]:
            when, pod = due
            if self._place_foreign(pod, when):
                self._coming_pods.remove(due)
        for due in [entry for entry in self._leaving_pods if entry[0] <= now]:
            self._leaving_pods.remove(due)
            self._coming_pods = [entry for entry in self._coming_pods if entry[1] is not due[1]]
            self.remove(due[1], due[0])

    def _place_foreign(self, pod: Pod, when: float) -> bool:
        name = pod.node_pool or ""
        if name not in self._rules:
            return True
        self._settle(name, when)
        node = self._with_room(name, pod.gpus, when) or self._launch(name, when, at_once=when <= 0.0)
        if node is None:
            return False
        node.take(pod.gpus)
        pod.places.append((node, pod.gpus))
        return True


def _undo(places: Iterable[tuple[Node, int]]) -> None:
    for node, gpus in places:
        node.undo(gpus)
