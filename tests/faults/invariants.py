"""What must hold whatever happens. Each rule has a letter by which mutants.py says what breaks it.

B  blind, nothing is released, and nothing ordered but up to the minimum
M  no target is set below its minimum, nor stays there for more than two rounds that could have mended it
C  Ready replicas stay that the load needs, and all of them while requests queue
R  nothing of a workload between two revisions is released
W  a release that took what served, and left what never came, is the last of its kind
S  after a start nothing that serves is released for five minutes
G  a manifest that comes back again and again is given up
P  what a person set through /scale is left alone for ten minutes
F  ten quiet minutes see no more than two changes of direction
Q  twenty quiet minutes end a queue, where more replicas can be had
E  forty quiet minutes leave no more than twice the replicas that the load needs
T  what is stuck, refused or left alone stands in the status
"""

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.plant import CAPACITY, Plant
from tests.faults.workloads import GPUS_PER_NODE, Workload

_RESTART_SECONDS = 285.0
_PERSON_SECONDS = 590.0
_REVERSION_SECONDS = 1200.0
_MOST_CORRECTIONS = 8
_SPARE = 2


@dataclass
class Invariants:
    """The rules, and what they remember of earlier rounds."""

    plant: Plant
    quiet_since: float
    """When something last happened or ended."""
    pending: int = 0
    """Things that happened and have not ended."""
    restarted: float = -math.inf
    persons: dict[str, float] = field(default_factory=dict)
    """When a person last set each workload's count."""
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=4))
    """Of the minute over which the operator averages: what has just risen, it cannot know."""
    queues: deque[float] = field(default_factory=lambda: deque(maxlen=3))
    below: int = 0
    _moves: deque[tuple[float, str, int]] = field(default_factory=deque)
    _corrections: deque[tuple[float, str]] = field(default_factory=deque)
    _taken: set[str] = field(default_factory=set)
    """Workloads of which a release took what served while it had replicas that never came."""

    # --- one write -----------------------------------------------------------------------------------------------

    def check_writes(self, writes: Sequence[tuple[float, str, int, int]]) -> None:
        """Check what one round wrote."""
        for at, name, old, new in writes:
            workload = self.plant.cluster.workloads[name]
            self._blind(workload, old, new)
            self._person(workload, at)
            self._manifest(workload, at)
            assert new >= self.least(workload), "M: a target below its minimum"
            if new < old:
                assert len(workload.revisions) <= 1, f"R: {old} -> {new} in a rollout"
                self._capacity(workload, old, new)
                self._start(workload, at, new)
            self._flapping(at, name, 1 if new > old else -1)

    def _blind(self, workload: Workload, old: int, new: int) -> None:
        if self.plant.load.blind:
            assert new >= old, "B: a release while blind"
            assert new == self.least(workload), "B: an order while blind"

    def _capacity(self, workload: Workload, old: int, new: int) -> None:
        left = sum(each.ready_at(each.replicas) for each in self.plant.cluster.workloads.values())
        needed = min(self.ready(), math.ceil(min(self.rates) / CAPACITY))
        waiting = [pod for pod in workload.pods if pod.ready is None]
        takes = workload.ready_at(new) < workload.ready()
        if workload.contrary and waiting and takes and workload.name not in self._taken:
            self._taken.add(workload.name)  # nobody can know it before it has happened once
            return
        letter = "W" if workload.name in self._taken and waiting else "C"
        assert left >= needed, f"{letter}: {old} -> {new} leaves {left} Ready replicas of {needed} needed"
        if all(self.queues):
            assert left >= self.ready(), f"{letter}: {old} -> {new} while requests queue"

    def _start(self, workload: Workload, at: float, new: int) -> None:
        if at - self.restarted < _RESTART_SECONDS:
            assert workload.ready_at(new) >= workload.ready(), "S: a release just after a start"

    def _manifest(self, workload: Workload, at: float) -> None:
        if workload.manifest is None:
            return
        self._corrections.append((at, workload.name))
        while at - self._corrections[0][0] > _REVERSION_SECONDS:
            self._corrections.popleft()
        times = sum(name == workload.name for _, name in self._corrections)
        assert times <= _MOST_CORRECTIONS, f"G: {times} corrections of a manifest within twenty minutes"

    def _person(self, workload: Workload, at: float) -> None:
        since = at - self.persons.get(workload.name, -math.inf)
        if workload.manifest is None and self.plant.load.clock_offset == 0.0:
            assert since > _PERSON_SECONDS, f"P: a write {since:.0f} s after a person's"

    def _flapping(self, at: float, name: str, way: int) -> None:
        self._moves.append((at, name, way))
        while at - self._moves[0][0] > 600.0:
            self._moves.popleft()
        ways = [way for _, moved, way in self._moves if moved == name]
        turns = sum(first != second for first, second in itertools.pairwise(ways))
        if self.quiet(at) > 1200.0:
            assert turns <= 2, f"F: {turns} changes of direction within ten minutes in which nothing happened"

    # --- one round -----------------------------------------------------------------------------------------------

    def check_round(self, *, refused: bool) -> None:
        """Check how things stand after a round."""
        for workload in self.plant.cluster.workloads.values():
            if all(pod.ready is not None for pod in workload.pods):
                self._taken.discard(workload.name)
        self._minimum()
        conditions = {item["type"]: item for item in self.plant.status().get("conditions") or ()}
        if conditions and not self.plant.cluster.is_ill:
            self._told(conditions, refused=refused)
        if not self.pending and not self.plant.load.blind:
            self._served()
            self._cheap()

    def _minimum(self) -> None:
        low = [
            each
            for each in self.plant.cluster.workloads.values()
            if each.replicas < self.least(each) and not self._left_alone(each)
        ]
        hindered = self.plant.cluster.refuses or self.plant.cluster.is_ill
        self.below = self.below + 1 if low and not hindered else 0
        assert self.below <= 2, f"M: below the minimum for {self.below} rounds: {low}"

    def _told(self, conditions: Mapping[str, Mapping[str, str]], *, refused: bool) -> None:
        bad = [name for name, item in conditions.items() if _is_bad(name, item)]
        stuck = any(
            each.broken & each.revisions and each.ready() < each.replicas
            for each in self.plant.cluster.workloads.values()
        )
        if stuck and self.quiet(self.plant.clock()) > 600.0:
            assert bad, "T: a broken rollout that no condition tells of"
        if refused:
            assert conditions["ScalingLimited"]["reason"] == "WriteFailed", "T: a refused write that is not told"
        if any(self.plant.load.out.values()) and not self.plant.load.blind:
            assert "EngineStuck" in conditions["MetricsFresh"]["message"], "T: stuck engines are not told"

    def _served(self) -> None:
        if self.quiet(self.plant.clock()) < 1200.0 or not self._can_serve():
            return
        assert self.plant.load.queue == 0.0, f"Q: {self.plant.load.queue:.0f} requests wait after twenty minutes"

    def _can_serve(self) -> bool:
        """Whether free GPUs and limits allow for the load with some room."""
        most = 0
        for each in self.plant.cluster.workloads.values():
            gpus = GPUS_PER_NODE * list(self.plant.cluster.nodes.values()).count(each.node_pool)
            out = self.plant.load.out.get(each.name, 0)
            stands = self._left_alone(each) or each.contrary
            most += max(0, (each.ready() if stands else min(gpus, self.plant.most)) - out)
        return (most - 1) * CAPACITY * 0.8 > self.plant.load.rate

    def _cheap(self) -> None:
        if self.quiet(self.plant.clock()) < 2400.0 or self.plant.load.queue:
            return
        workloads = self.plant.cluster.workloads.values()
        if any(self._left_alone(each) for each in workloads):
            return
        needed = math.ceil(self.plant.load.rate / CAPACITY) + sum(map(self.least, workloads))
        have = sum(each.replicas for each in workloads)
        assert have <= 2 * needed + _SPARE, f"E: {have} replicas where {needed} are needed"

    # --- what they ask -------------------------------------------------------------------------------------------

    def quiet(self, at: float) -> float:
        """Return for how long nothing has happened."""
        return at - self.quiet_since

    def ready(self) -> int:
        """Return all Ready replicas."""
        return sum(each.ready() for each in self.plant.cluster.workloads.values())

    def least(self, workload: Workload) -> int:
        """Return the pool's minimum for a workload."""
        return self.plant.least if workload.name == self.plant.types[0] else 0

    def _left_alone(self, workload: Workload) -> bool:
        """Whether a person's decision stands, or a manifest that comes back too often was given up."""
        conditions = {item["type"]: item for item in self.plant.status().get("conditions") or ()}
        given_up = conditions.get("Conflicted", {}).get("reason") == "RevertedTooOften"
        return given_up or (workload.by_scale and workload.manager != "forebay")


def _is_bad(name: str, condition: Mapping[str, str]) -> bool:
    good = "False" if name in {"Conflicted", "ScalingLimited"} else "True"
    return bool(condition["status"] != good)
