"""Trying a clairvoyant schedule of one pool in the simulator, and following it as a policy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.observation import FleetObservation
from forebay.flow.trace import IntArray
from forebay.offline.replay.loop.bill import bill
from forebay.offline.replay.loop.closed_loop import node_bills
from forebay.offline.replay.loop.policy import Targets
from forebay.offline.replay.loop.scenario import DRAIN_SECONDS, Scenario
from forebay.offline.replay.loop.score import verdicts
from forebay.offline.replay.oracle.schedule import GRID_SECONDS, RoleGrid
from forebay.offline.simulation import SimulatedPool

Need = dict[Role, IntArray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """What a schedule came to."""

    need: Need
    usd: float
    misses: IntArray
    """Servable requests that missed the SLO, by the interval in which they arrived."""
    servable: int

    @property
    def missed(self) -> int:
        """Return all misses."""
        return int(self.misses.sum())

    @property
    def attainment(self) -> float:
        """Return the share of servable requests that met the SLO."""
        return 1.0 - self.missed / self.servable if self.servable else 1.0


class TrialRunner:
    """Tries schedules of one pool and counts how often."""

    def __init__(self, scenario: Scenario, key: PoolKey, roles: Mapping[Role, RoleGrid]) -> None:
        self._scenario, self._key, self._roles = scenario, key, roles
        self.simulations = 0

    def attempt(self, need: Need) -> Trial:
        """Simulate ``need``, ordered just in time."""
        self.simulations += 1
        scenario, key = self._scenario, self._key
        intervals = len(next(iter(need.values())))
        plan = orders_of(self._roles, need)
        capacity = scenario.new_capacity()
        pool = SimulatedPool(
            scenario.fleet.pools[key],
            scenario.traces[key],
            initial=initial_of(plan),
            performance=scenario.performance[key],
            start_up=scenario.start_up[key],
            options=scenario.options,
            capacity=capacity,
        )
        asked = initial_of(plan)
        for interval in range(1, intervals):
            wanted = {name: int(order[interval]) for name, order in plan.items()}
            if wanted != asked:
                pool.run_until(interval * GRID_SECONDS)
                pool.scale(wanted)
                asked = wanted
        pool.run_until(max(pool.now_seconds, scenario.span_seconds))
        result = pool.finish(DRAIN_SECONDS)
        judged = verdicts(scenario, key, result)
        missed = judged.servable & ~judged.met
        arrived = (scenario.traces[key].arrival_seconds[missed] // GRID_SECONDS).astype(np.int64)
        return Trial(
            need={role: path.copy() for role, path in need.items()},
            usd=bill(scenario, {key: result.replica_seconds}, node_bills(capacity, result.until_seconds)).usd,
            misses=np.bincount(np.minimum(arrived, intervals - 1), minlength=intervals).astype(np.int64),
            servable=int(judged.servable.sum()),
        )


def orders_of(roles: Mapping[Role, RoleGrid], need: Need) -> dict[VariantKey, IntArray]:
    """Return the replica counts to ask for, per variant of any role."""
    plan: dict[VariantKey, IntArray] = {}
    for role, grid in roles.items():
        plan.update(grid.orders(need[role]))
    return plan


def initial_of(plan: Mapping[VariantKey, IntArray]) -> dict[VariantKey, int]:
    """Return the replicas that are ready at time 0: who knows the future has ordered them before."""
    return {name: int(order[0]) for name, order in plan.items()}


class Scheduled:
    """Follows schedules; a fleet policy that needs to see nothing."""

    interval_seconds = GRID_SECONDS

    def __init__(self, plans: Mapping[PoolKey, Mapping[VariantKey, IntArray]]) -> None:
        self._plans = plans

    def tick(self, seen: FleetObservation) -> Mapping[PoolKey, Targets]:
        """Return what the schedules ask for at this time."""
        interval = math.floor(seen.at_seconds / GRID_SECONDS + 1e-9)
        return {
            key: {name: int(order[min(interval, len(order) - 1)]) for name, order in plan.items()}
            for key, plan in self._plans.items()
        }
