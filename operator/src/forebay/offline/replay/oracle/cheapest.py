"""The clairvoyant oracle: the cheapest schedule found that meets the objective, knowing all traffic beforehand.

Same simulator, same start-up, same billing, same queue order as every policy; only its first fleet is its
own, because it knew before the start what would come. Method: (1) for a ladder of margins over the known
work, simulate the whole trace, and per window of five minutes take the margin that is cheapest at one common
price per miss, the price found by bisection so that the misses just meet the target; (2) local search: one
replica less (or more) on many separate segments at once, each kept if it pays at the price, the price steered
so that the misses stay at the target; (3) the rest of the allowed misses is spent on the best removals.

What it returns is an upper bound of the optimum: it was simulated and meets the target, but a cheaper
schedule may exist. Where nodes are simulated, a schedule is billed by its nodes; the search itself weighs replicas
by their share of a node and orders them as if each needed a new one. `Oracle.statement` says how hard it looked
and how much the last part of the search still gained. Pools are searched one by one; GPUs that pools
compete for are not shared out between them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.trace import IntArray
from forebay.offline.replay.loop.closed_loop import PolicyRun, run
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.oracle.local_search import LocalSearch
from forebay.offline.replay.oracle.schedule import GRID_SECONDS, RoleGrid, grids
from forebay.offline.replay.oracle.trial import Need, Scheduled, Trial, TrialRunner, initial_of, orders_of

NAME = "oracle"
_WINDOW_INTERVALS = 10
_RICHEST = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard to look."""

    margins: tuple[float, ...]
    """Ladder of margins over the work, in square roots of it, ascending."""
    bisections: int
    rounds: int
    """Rounds of local search; each costs about one simulation."""
    seed: int = 0


FAST = Effort(margins=(0.0, 0.4, 0.8, 1.2, 1.7, 2.3, 3.0, 4.5, 7.0), bisections=8, rounds=27)
"""At most 60 simulations per pool: for a replay that someone waits for."""
THOROUGH = Effort(
    margins=(-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0, 5.5, 8.0),
    bisections=12,
    rounds=400,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Oracle:
    """The schedule found, run like any policy."""

    run: PolicyRun
    simulations: int
    last_gain: float
    """Share by which the last third of the search still lowered the cost."""
    met: bool
    """False: no schedule that was tried reaches the target (the initial fleet is too small, or limits bind)."""

    @property
    def statement(self) -> str:
        """Return in words how close to the optimum this is known to be."""
        if not self.met:
            return f"none of {self.simulations} simulated schedules reaches the target; this one missed least"
        return (
            f"cheapest of {self.simulations} simulated schedules that meets the target, an upper bound of the "
            f"optimum; the last third of the search lowered its cost by {100 * self.last_gain:.1f} %"
        )


def oracle(
    scenario: Scenario, effort: Effort = FAST, *, progress: Callable[[float], None] | None = None
) -> Oracle:
    """Search a schedule per pool and run them together."""
    plans: dict[PoolKey, Mapping[VariantKey, IntArray]] = {}
    simulations, met, before, after = 0, True, 0.0, 0.0
    for number, key in enumerate(scenario.traces):
        roles = grids(scenario, key)
        laboratory = TrialRunner(scenario, key, roles)
        search = LocalSearch(laboratory, roles, target=scenario.fleet.pools[key].slo.target, seed=effort.seed)
        search.start(*_ladder(laboratory, roles, search.allowed, effort))
        for done in range(effort.rounds):
            search.round(done / effort.rounds)
            if progress is not None:
                progress((number + done / effort.rounds) / len(scenario.traces))
        best = search.finish()
        met = met and best.missed <= search.allowed(best)
        plans[key] = orders_of(roles, best.need)
        simulations += laboratory.simulations
        before += search.usd_after_two_thirds
        after += best.usd
    begun = replace(scenario, initial={key: initial_of(plan) for key, plan in plans.items()})
    followed = run(begun, Scheduled(plans), name=NAME)
    return Oracle(
        run=followed,
        simulations=simulations,
        last_gain=max(0.0, 1.0 - after / before) if before > 0.0 else 0.0,
        met=met,
    )


def _ladder(
    laboratory: TrialRunner, roles: Mapping[Role, RoleGrid], allowed: Callable[[Trial], float], effort: Effort
) -> tuple[list[Trial], float]:
    """Return the combined trials of the bisection, the most generous fleet first, and the price it ended at."""
    rich = {role: generous(grid) for role, grid in roles.items()}
    richest = laboratory.attempt(rich)
    rungs = {role: _rungs(laboratory, grid, rich, richest, effort) for role, grid in roles.items()}
    trials = [richest]
    low, high = 1e-6, 1e3
    for _ in range(effort.bisections):
        price = float(np.sqrt(low * high))
        trial = laboratory.attempt({role: _cheapest(rungs[role], roles[role], price) for role in roles})
        trials.append(trial)
        if trial.missed <= allowed(trial):
            high = price
        else:
            low = price
    return trials, float(np.sqrt(low * high))


def margin(grid: RoleGrid, square_roots: float) -> IntArray:
    """Return the need of a role: its work and ``square_roots`` of it, at least one replica."""
    need = np.ceil(grid.erlangs + square_roots * np.sqrt(grid.erlangs) - 1e-9).astype(np.int64)
    return _within(grid, need)


def _within(grid: RoleGrid, need: IntArray) -> IntArray:
    return np.clip(need, min(1, grid.most), grid.most).astype(np.int64)


def generous(grid: RoleGrid) -> IntArray:
    """Return a need at which only the start-up of the first replicas should cost misses."""
    padded = np.pad(grid.erlangs, 2, mode="edge")
    busiest = np.lib.stride_tricks.sliding_window_view(padded, 5).max(axis=1)
    need = np.ceil(2.0 * busiest + _RICHEST * np.sqrt(busiest)).astype(np.int64)
    return _within(grid, need)


def _rungs(
    laboratory: TrialRunner, grid: RoleGrid, rich: Need, richest: Trial, effort: Effort
) -> list[tuple[IntArray, IntArray]]:
    """Return need and misses per margin, the other roles generous."""
    found = [
        (need, laboratory.attempt({**rich, grid.role: need}).misses)
        for need in (margin(grid, step) for step in effort.margins)
    ]
    return [*found, (rich[grid.role], richest.misses)]


def _cheapest(rungs: list[tuple[IntArray, IntArray]], grid: RoleGrid, usd_per_miss: float) -> IntArray:
    """Return, window by window, the need of the rung that is cheapest at this price."""
    length = len(rungs[0][0])
    windows = np.arange(0, length, _WINDOW_INTERVALS)
    costs = np.array(
        [np.add.reduceat(grid.usd_per_interval(need) + usd_per_miss * misses, windows) for need, misses in rungs]
    )
    choice = np.repeat(costs.argmin(axis=0), _WINDOW_INTERVALS)[:length]
    needs: IntArray = np.array([need for need, _ in rungs], dtype=np.int64)
    picked: IntArray = needs[choice, np.arange(length)]
    return picked


__all__ = ["FAST", "GRID_SECONDS", "THOROUGH", "Effort", "Oracle", "oracle"]
