"""Schedules of a clairvoyant fleet: capacity needed per role on a grid of 30 s, and the orders that bring it.

A *need* is the number of reference replicas that must be ready in each interval. Orders follow from it alone:
with a start-up of L intervals, the order at interval k is the highest need of k ... k + L. That is the
cheapest order path under which the need is met when replicas are billed from their order, and what is then
ready (the lowest order of k - L ... k) may exceed the need where giving a replica back and ordering it again
would cost as much.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import PoolKey, Role, VariantKey
from forebay.flow.trace import FloatArray, IntArray, RequestTrace
from forebay.offline.replay.baselines.common.trace_work import lengths_of, work_share
from forebay.offline.replay.baselines.common.workload import Workload, workload
from forebay.offline.replay.baselines.registry import facts_of
from forebay.offline.replay.loop.scenario import Scenario

GRID_SECONDS = 30.0
_START_UP_QUANTILE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoleGrid:
    """One role on the grid: its work over time, and how reference replicas become replicas of variants."""

    role: Role
    erlangs: FloatArray
    """Work per interval, in busy reference replicas."""
    replicas: Mapping[VariantKey, IntArray]
    """Per variant: replicas by reference replicas needed (the index)."""
    lag: Mapping[VariantKey, int]
    """Per variant: intervals from order to ready."""
    usd: Mapping[VariantKey, float]
    """Per variant: dollars of one replica for one interval."""

    @property
    def most(self) -> int:
        """Return the largest need that can be asked for."""
        return min(len(table) for table in self.replicas.values()) - 1

    def orders(self, need: IntArray) -> dict[VariantKey, IntArray]:
        """Return the replica counts to ask for per variant, interval by interval."""
        return {name: _highest_ahead(table[need], self.lag[name]) for name, table in self.replicas.items()}

    def usd_per_interval(self, need: IntArray) -> FloatArray:
        """Return what the orders cost, by the interval in which they stand."""
        total = np.zeros(len(need))
        for name, order in self.orders(need).items():
            total += order * self.usd[name]
        return total

    def paid_for(self, need: IntArray) -> IntArray:
        """Return the need raised to what its orders bring anyway."""
        lag = max(self.lag.values())
        return _lowest_behind(_highest_ahead(need, lag), lag)


def grids(scenario: Scenario, key: PoolKey) -> dict[Role, RoleGrid]:
    """Return the roles of one pool on the grid, at the mean lengths of the whole trace."""
    facts, trace = facts_of(scenario, key), scenario.traces[key]
    intervals = max(1, math.ceil(scenario.span_seconds / GRID_SECONDS))
    lengths = lengths_of(trace)
    found: dict[Role, RoleGrid] = {}
    for role in facts.pool.roles:
        load = workload(facts, role, lengths)
        erlangs = _erlangs(trace, load, intervals, facts.pool.slo.itl_seconds)
        start_up = scenario.start_up[key]
        found[role] = RoleGrid(
            role=role,
            erlangs=erlangs,
            replicas=_tables(load),
            lag={
                v.key: math.ceil(start_up[v.key].quantile_seconds(_START_UP_QUANTILE) / GRID_SECONDS - 1e-9)
                for v in load.variants
            },
            usd={v.key: facts.usd_per_replica_hour[v.key] * GRID_SECONDS / 3600.0 for v in load.variants},
        )
    return found


def _tables(load: Workload) -> dict[VariantKey, IntArray]:
    capacity = sum(load.speed[v.key] * v.max_replicas for v in load.variants)
    filled = [load.fill(float(need)) for need in range(math.floor(capacity + 1e-9) + 1)]
    return {v.key: np.array([counts[v.key] for counts in filled], dtype=np.int64) for v in load.variants}


def _erlangs(trace: RequestTrace, load: Workload, intervals: int, itl_seconds: float) -> FloatArray:
    """Return the work per interval; decode work is spread over the time that the tokens take at the objective."""
    work = work_share(trace, load.role) * load.seconds_per_request
    arrived = trace.arrival_seconds
    lasts = np.zeros(len(trace)) if load.role is Role.PREFILL else trace.output_tokens * itl_seconds
    pieces = 1 + int(np.quantile(lasts, 0.95) // GRID_SECONDS) if len(trace) else 1
    total = np.zeros(intervals)
    for piece in range(pieces):
        then = ((arrived + lasts * (piece + 0.5) / pieces) // GRID_SECONDS).astype(np.int64)
        total += np.bincount(np.minimum(then, intervals - 1), weights=work / pieces, minlength=intervals)
    return total / GRID_SECONDS


def _highest_ahead(values: IntArray, lag: int) -> IntArray:
    """Return the maximum of each value and the ``lag`` values after it."""
    padded = np.concatenate((values, np.full(lag, values[-1])))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, lag + 1).max(axis=1))


def _lowest_behind(values: IntArray, lag: int) -> IntArray:
    """Return the minimum of each value and the ``lag`` values before it."""
    padded = np.concatenate((np.full(lag, values[0]), values))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, lag + 1).min(axis=1))
