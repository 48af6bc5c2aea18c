"""Random walks of faults over the operator's real loop: whatever happens, some things never do.

Each walk runs rounds against the small cluster and lets something happen now and then: load moves, good and broken
rollouts begin, quotas and gates close, manifests are applied again, people scale, nodes vanish, Prometheus falls
silent, the API server refuses writes, the operator restarts. A failure prints the walk's seed and its last events.
``FOREBAY_WALK_ROUNDS`` makes the walks longer.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from forebay.actuation.kube import ApiError
from tests.faults.cluster import Deployment
from tests.faults.plant import CAPACITY, ROUND_SECONDS, Plant
from tests.unit.runtime.conftest import Clock

ROUNDS = int(os.environ.get("FOREBAY_WALK_ROUNDS", "500"))
SEEDS = range(20)


class Walk:
    """One walk: what may happen, and what must hold after every round."""

    def __init__(self, seed: int) -> None:
        """Set the plant up."""
        self.rng = np.random.default_rng(seed)
        types = ("a", "b") if seed % 3 else ("a",)
        self.plant = Plant(Clock(), seed, least=int(self.rng.integers(1, 4)), types=types)
        self.told: deque[str] = deque(maxlen=25)
        self.below = 0
        self.rates: deque[float] = deque([self.plant.load.rate], maxlen=4)
        """Of the minute over which the operator averages: what has just risen, it cannot know."""
        self.queues: deque[float] = deque([0.0], maxlen=3)
        self.fresh_rounds = 0
        self.reversals: deque[tuple[float, str, int]] = deque()
        self.quiet_since = self.healed = self.plant.clock.now
        self.heals: list[tuple[int, Callable[[], Any]]] = []
        """Rounds at which something that happened ends, and how."""
        self.happenings: dict[str, tuple[int, Callable[[], Any], Callable[[], Any] | None]] = {
            "load moves": (8, self.load_moves, None),
            "Prometheus falls silent": (2, self.prometheus_falls_silent, self.prometheus_answers),
            "rollout": (2, self.rollout, None),
            "broken rollout": (3, self.broken_rollout, self.rollout_is_undone),
            "quota": (2, self.quota, self.no_quota),
            "gates close": (2, self.gates_close, self.gates_open),
            "manifest is applied": (2, self.manifest_is_applied, None),
            "a person scales": (1, self.person_scales, None),
            "node vanishes": (2, self.node_vanishes, self.node_comes),
            "API server refuses": (2, self.api_refuses, None),
            "operator restarts": (2, self.operator_restarts, None),
        }
        """How often each happens beside the others, what it does, and what ends it."""

    async def run(self, rounds: int) -> None:
        """Walk."""
        names = list(self.happenings)
        weights = np.array([weight for weight, _, _ in self.happenings.values()], dtype=float)
        for number in range(rounds):
            for _, heal in [item for item in self.heals if item[0] == number]:
                self.told.append(f"round {number}: {heal.__name__}")
                heal()
                self.healed = self.plant.clock.now
            if self.rng.random() < 0.06:
                await self.something_happens(number, str(self.rng.choice(names, p=weights / weights.sum())))
            await self.one_round(number)
        await self.plant.loop.close()

    async def something_happens(self, number: int, name: str) -> None:
        """Let one thing happen, and plan its end."""
        self.told.append(f"round {number}: {name}")
        self.quiet_since = self.plant.clock.now
        _, act, heal = self.happenings[name]
        result = act()
        if result is not None:
            await result
        if heal is not None:
            self.heals.append((number + int(self.rng.integers(4, 80)), heal))

    async def one_round(self, number: int) -> None:
        """Run a round, and look whether everything holds."""
        plant, cluster = self.plant, self.plant.cluster
        before = len(cluster.scaled)
        healthy = {name: each.ready() for name, each in cluster.deployments.items()}
        self.rates.append(plant.load.rate)
        await plant.step()
        self.queues.append(plant.load.queue)
        for at, name, old, new in cluster.scaled[before:]:
            self.told.append(
                f"round {number}: {name} {old} -> {new} (ready {healthy}, rate {plant.load.rate:.0f})"
            )
            self.check_write(cluster.deployments[name], at, old, new)
        self.check_minimum()
        self.check_told()
        self.fresh_rounds = 0 if plant.load.blind else self.fresh_rounds + 1

    # --- what must hold ------------------------------------------------------------------------------------------

    def check_write(self, deployment: Deployment, at: float, old: int, new: int) -> None:
        """No write while blind but up to the minimum; no Ready replica goes while it is needed; no flapping."""
        least = self.least(deployment)
        if self.plant.load.blind:
            assert new >= old, "a release while blind"
            assert new == least, "an order while blind"
        if new < old:
            left = self.ready_after(deployment, new)
            needed = min(self.plant.ready(), int(np.ceil(min(self.rates) / CAPACITY)))
            assert left >= needed, f"{left} Ready replicas are left of {needed} that the load needs"
            assert left >= self.plant.ready() or not all(self.queues), "a release while requests queue"
            assert new >= least, "a target below its minimum"
        self.reversals.append((at, deployment.name, 1 if new > old else -1))
        recent = [way for seen, name, way in self.reversals if name == deployment.name and at - seen <= 600.0]
        turns = sum(first != second for first, second in itertools.pairwise(recent))
        if at - self.quiet_since > 1200.0 and not self.healed_lately(at):
            assert turns <= 2, f"{turns} changes of direction within ten minutes in which nothing happened"

    def healed_lately(self, at: float) -> bool:
        """Whether something ended within the last twenty minutes."""
        return at - self.healed < 1200.0

    def check_minimum(self) -> None:
        """No target is below its minimum for more than two rounds that could have mended it."""
        low = [
            each
            for each in self.plant.cluster.deployments.values()
            if each.replicas < self.least(each) and not self.given_up(each)
        ]
        self.below = self.below + 1 if low and not self.plant.cluster.refuses else 0
        assert self.below <= 2, f"below the minimum for {self.below} rounds: {low}"

    def check_told(self) -> None:
        """What is overdue, stuck or refused stands in the status."""
        conditions = {item["type"]: item for item in self.plant.status().get("conditions") or ()}
        if not conditions:
            return
        stuck = any(
            each.broken and any(pod.revision in each.broken for pod in each.pods) and each.ready() < each.replicas
            for each in self.plant.cluster.deployments.values()
        )
        if stuck and self.plant.clock.now - self.quiet_since > 600.0:
            bad = [name for name, item in conditions.items() if _is_bad(name, item)]
            assert bad, "a broken rollout that no condition tells of"

    def least(self, deployment: Deployment) -> int:
        """Return the pool's minimum for a Deployment."""
        return self.plant.least if deployment.name == self.plant.types[0] else 0

    def ready_after(self, deployment: Deployment, replicas: int) -> int:
        """Return the Ready replicas of the pool once a Deployment's controller has followed a lower count."""
        others = (each for each in self.plant.cluster.deployments.values() if each is not deployment)
        return self.plant.cluster.after_removal(deployment, replicas) + sum(each.ready() for each in others)

    def given_up(self, deployment: Deployment) -> bool:
        """Whether a person's decision stands, or the pool says that another writer has the target."""
        conflicted = {item["type"]: item["status"] for item in self.plant.status().get("conditions") or ()}
        return (deployment.by_scale and deployment.manager != "forebay") or conflicted.get("Conflicted") == "True"

    # --- what happens --------------------------------------------------------------------------------------------

    def one(self) -> Deployment:
        """Return one of the Deployments."""
        found = list(self.plant.cluster.deployments.values())
        return found[int(self.rng.integers(len(found)))]

    def load_moves(self) -> None:
        self.plant.load.rate = float(self.rng.choice([0.5, 5.0, 20.0, 60.0, 100.0]))

    def prometheus_falls_silent(self) -> None:
        self.plant.load.blind = True

    def prometheus_answers(self) -> None:
        self.plant.load.blind = False

    def rollout(self, each: Deployment | None = None) -> None:
        each = each or self.one()
        each.revision += 1
        each.surge, each.unavailable = ((1, 0), (0, 1))[int(self.rng.integers(2))]

    def broken_rollout(self) -> None:
        each = self.one()
        self.rollout(each)
        each.broken.add(each.revision)

    def rollout_is_undone(self) -> None:
        for each in self.plant.cluster.deployments.values():
            if each.revision in each.broken:
                each.revision += 1
                each.broken.clear()

    def quota(self) -> None:
        each = self.one()
        each.most_pods = len(each.pods) + 1

    def no_quota(self) -> None:
        for each in self.plant.cluster.deployments.values():
            each.most_pods = None

    def gates_close(self) -> None:
        self.one().gates = True

    def gates_open(self) -> None:
        for each in self.plant.cluster.deployments.values():
            each.gates = False

    def manifest_is_applied(self) -> None:
        self.plant.cluster.scale(self.one(), int(self.rng.integers(0, 4)), "argocd-controller", by_scale=False)

    def person_scales(self) -> None:
        self.plant.cluster.scale(self.one(), int(self.rng.integers(0, 6)), "kubectl", by_scale=True)

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

    async def operator_restarts(self) -> None:
        await self.plant.restart()


def _is_bad(name: str, condition: Any) -> bool:
    good = "False" if name in {"Conflicted", "ScalingLimited"} else "True"
    return bool(condition["status"] != good)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_walk_of_faults(seed: int) -> None:
    walk = Walk(seed)
    try:
        await walk.run(ROUNDS)
    except AssertionError as error:
        ends = "\n".join(walk.told)
        raise AssertionError(f"seed {seed}: {error}; what happened last:\n{ends}") from error


def test_the_walks_are_long_enough() -> None:
    assert ROUNDS * len(SEEDS) >= 10_000
    assert ROUND_SECONDS == 15.0
