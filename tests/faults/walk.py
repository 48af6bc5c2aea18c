"""A random walk of faults: what may happen, how often, and what ends it."""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from forebay.actuation.kube import ApiError
from forebay.flow.observation import Problem
from tests.faults.invariants import Invariants
from tests.faults.plant import Plant
from tests.faults.workloads import Workload
from tests.unit.runtime.conftest import Clock

_WILD, _CALM = 0.06, 0.015
"""Share of rounds in which something happens."""
_LOAD = "load moves"
THEMES: dict[str, tuple[str, ...]] = {
    "everything": (),
    "supply": (
        "engines get stuck",
        "replicas crash",
        "replicas fall sick",
        "quota",
        "gates close",
        "node vanishes",
    ),
    "writers": (
        "manifest is applied",
        "GitOps reverts",
        "a person scales",
        "API server refuses",
        "API server is ill",
    ),
    "restarts": ("operator restarts", "metrics are wrong", "clock is set"),
    "rollouts": ("rollout", "broken rollout", "node vanishes", "operator restarts"),
}
"""What happens in a walk beside moves of the load; () is all there is. A seed's theme is its remainder by five."""


class Walk:
    """One walk. Its seed decides on the cluster and on all that happens."""

    def __init__(self, seed: int) -> None:
        """Set the plant up."""
        self.rng = np.random.default_rng(seed)
        theme, turn = list(THEMES)[seed % len(THEMES)], seed // len(THEMES) % 4
        self.often = _CALM if turn == 3 else _WILD
        kinds = (
            ("StatefulSet", "Deployment"),
            ("Deployment", "StatefulSet"),
            ("StatefulSet",),
            ("Deployment",) * 2,
        )
        types = ("a", "b")[: len(kinds[turn])]
        least = int(self.rng.integers(1, 4))
        contrary = theme == "supply" and turn == 1
        self.plant = Plant(Clock(), seed, least=least, types=types, kinds=kinds[turn], contrary=contrary)
        self.rules = Invariants(self.plant, quiet_since=self.plant.clock())
        self.rules.rates.append(self.plant.load.rate)
        self.rules.queues.append(0.0)
        self.told: deque[str] = deque(maxlen=25)
        self.heals: list[tuple[int, Callable[[], Any]]] = []
        """Rounds at which something that happened ends, and how."""
        self.happenings: dict[str, tuple[int, Callable[[], Any], Callable[[], Any] | None]] = {
            _LOAD: (8, self.load_moves, None),
            "metrics are wrong": (2, self.metrics_are_wrong, self.metrics_are_right),
            "clock is set": (1, self.clock_is_set, self.clock_is_set_right),
            "engines get stuck": (2, self.engines_get_stuck, self.engines_move),
            "replicas crash": (1, self.replicas_crash, None),
            "replicas fall sick": (3, self.replicas_fall_sick, self.replicas_are_well),
            "rollout": (2, self.rollout, None),
            "broken rollout": (3, self.broken_rollout, self.rollout_is_undone),
            "quota": (2, self.quota, self.no_quota),
            "gates close": (2, self.gates_close, self.gates_open),
            "manifest is applied": (2, self.manifest_is_applied, None),
            "GitOps reverts": (2, self.gitops_reverts, self.gitops_ignores),
            "a person scales": (1, self.person_scales, None),
            "node vanishes": (2, self.node_vanishes, self.node_comes),
            "API server refuses": (2, self.api_refuses, None),
            "API server is ill": (1, self.api_is_ill, self.api_is_well),
            "operator restarts": (2, self.operator_restarts, None),
        }
        """How often each happens beside the others, what it does, and what ends it."""
        self.happenings = {
            name: item
            for name, item in self.happenings.items()
            if not THEMES[theme] or name in (_LOAD, *THEMES[theme])
        }

    async def run(self, rounds: int) -> None:
        """Walk, and check the invariants in every round."""
        names = list(self.happenings)
        weights = np.array([weight for weight, _, _ in self.happenings.values()], dtype=float)
        for number in range(rounds):
            for item in [item for item in self.heals if item[0] == number]:
                self.heals.remove(item)
                self.note(number, item[1].__name__)
                item[1]()
            if self.rng.random() < self.often:
                await self.something_happens(number, str(self.rng.choice(names, p=weights / weights.sum())))
            await self.one_round(number)
        await self.plant.loop.close()

    async def something_happens(self, number: int, name: str) -> None:
        """Let one thing happen, and plan its end."""
        self.note(number, name)
        _, act, heal = self.happenings[name]
        result = act()
        if result is not None:
            await result
        if heal is not None:
            self.heals.append((number + int(self.rng.integers(4, 80)), heal))

    def note(self, number: int, what: str) -> None:
        """Note what happens; the quiet is over."""
        self.told.append(f"round {number}: {what}")
        self.rules.quiet_since = self.plant.clock()

    async def one_round(self, number: int) -> None:
        """Run a round, and look whether everything holds."""
        plant, cluster = self.plant, self.plant.cluster
        plant.pass_time()
        self.rules.pending = len(self.heals)
        self.rules.rates.append(plant.load.rate)
        self.rules.queues.append(plant.load.queue)
        ready = {name: each.ready() for name, each in cluster.workloads.items()}
        done, refusals = len(cluster.scaled), len(cluster.refuses)
        await plant.decide()
        writes = cluster.scaled[done:]
        for _, name, old, new in writes:
            self.told.append(f"round {number}: {name} {old} -> {new} (ready {ready}, rate {plant.load.rate:g})")
        self.rules.check_writes(writes)
        self.rules.check_round(refused=len(cluster.refuses) < refusals)

    # --- what happens --------------------------------------------------------------------------------------------

    def one(self) -> Workload:
        """Return one of the workloads."""
        found = list(self.plant.cluster.workloads.values())
        return found[int(self.rng.integers(len(found)))]

    def load_moves(self) -> None:
        self.plant.load.rate = float(self.rng.choice([0.5, 5.0, 20.0, 60.0, 100.0]))

    def metrics_are_wrong(self) -> None:
        kinds = [Problem.UNREACHABLE, Problem.DUPLICATE, Problem.IMPLAUSIBLE, Problem.NOT_A_NUMBER]
        self.plant.load.wrong = kinds[int(self.rng.integers(len(kinds)))]

    def metrics_are_right(self) -> None:
        self.plant.load.wrong = None

    def clock_is_set(self) -> None:
        self.plant.load.clock_offset = float(self.rng.choice([-3600.0, -300.0, 45.0, 3600.0]))

    def clock_is_set_right(self) -> None:
        self.plant.load.clock_offset = 0.0

    def engines_get_stuck(self) -> None:
        self.plant.load.out[self.one().name] = 1

    def engines_move(self) -> None:
        self.plant.load.out.clear()

    def replicas_crash(self) -> None:
        serving = [pod for each in self.plant.cluster.workloads.values() for pod in each.pods if pod.ready]
        for pod in serving[: int(self.rng.integers(1, 3))]:
            self.plant.cluster.crash(pod)

    def replicas_fall_sick(self) -> None:
        serving = [pod for pod in self.one().pods if pod.ready]
        for pod in serving[: int(self.rng.integers(1, 5))]:
            self.plant.cluster.crash(pod)
            pod.sick = True

    def replicas_are_well(self) -> None:
        for each in self.plant.cluster.workloads.values():
            for pod in each.pods:
                pod.sick = False

    def rollout(self, each: Workload | None = None) -> None:
        each = each or self.one()
        each.revision += 1
        each.surge, each.unavailable = ((1, 0), (0, 1))[int(self.rng.integers(2))]

    def broken_rollout(self) -> None:
        each = self.one()
        self.rollout(each)
        each.broken.add(each.revision)

    def rollout_is_undone(self) -> None:
        for each in self.plant.cluster.workloads.values():
            if each.revision in each.broken:
                each.revision += 1
                each.broken.clear()
                for pod in [pod for pod in each.pods if pod.ready is None and each.kind == "StatefulSet"]:
                    self.plant.cluster.delete(each, pod)  # a broken pod of a StatefulSet is replaced by hand

    def quota(self) -> None:
        each = self.one()
        each.most_pods = len(each.pods) + 1

    def no_quota(self) -> None:
        for each in self.plant.cluster.workloads.values():
            each.most_pods = None

    def gates_close(self) -> None:
        self.one().gates = True

    def gates_open(self) -> None:
        for each in self.plant.cluster.workloads.values():
            each.gates = False

    def manifest_is_applied(self) -> None:
        self.plant.cluster.scale(self.one(), int(self.rng.integers(0, 4)), "argocd-controller", by_scale=False)

    def gitops_reverts(self) -> None:
        self.one().manifest = int(self.rng.integers(1, 6))

    def gitops_ignores(self) -> None:
        for each in self.plant.cluster.workloads.values():
            each.manifest = None

    def person_scales(self) -> None:
        each, count = self.one(), int(self.rng.integers(0, 6))
        if each.manifest is None and count != each.replicas:
            self.plant.cluster.scale(each, count, "kubectl", by_scale=True)
            self.rules.persons[each.name] = self.plant.clock()

    def node_vanishes(self) -> None:
        names = list(self.plant.cluster.nodes)
        if len(names) > 2:
            self.plant.cluster.remove_node(names[int(self.rng.integers(len(names)))])

    def node_comes(self) -> None:
        pool = self.plant.types[int(self.rng.integers(len(self.plant.types)))]
        if list(self.plant.cluster.nodes.values()).count(pool) < 3:
            self.plant.cluster.add_node(pool)

    def api_refuses(self) -> None:
        status = int(self.rng.choice([409, 422, 429, 500]))
        count = int(self.rng.integers(1, 4))
        self.plant.cluster.refuses.extend(ApiError("refused", status=status) for _ in range(count))

    def api_is_ill(self) -> None:
        self.plant.cluster.is_ill = True

    def api_is_well(self) -> None:
        self.plant.cluster.is_ill = False

    async def operator_restarts(self) -> None:
        self.rules.restarted = self.plant.clock()
        await self.plant.restart()
