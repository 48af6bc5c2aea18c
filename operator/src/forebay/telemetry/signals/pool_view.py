"""One pool's corner of a round: its readings, and what is remembered of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.flow.fleet import Role
from forebay.flow.observation import Freshness, Problem
from forebay.flow.roles import ROLES
from forebay.telemetry.query.dialect import Dialect
from forebay.telemetry.query.figures import SlowFigures
from forebay.telemetry.query.grouping import GroupId, Place, PoolPlace, SharedQueries
from forebay.telemetry.query.readings import NEWEST, Readings
from forebay.telemetry.signals.arrivals import Ledger, NewSeriesFilter
from forebay.telemetry.signals.balance import FlowBalance
from forebay.telemetry.source import WorkloadTarget

ENTRY = tuple(row.role for row in ROLES.values() if row.fed_by is None)
"""Where requests enter."""
EXIT = tuple(row.role for row in ROLES.values() if row.feeds is None)
"""Where they end."""


@dataclass(slots=True)
class GroupRound:
    """What one group's round brought."""

    group: SharedQueries
    readings: Readings
    new_series: NewSeriesFilter
    slow: SlowFigures = field(default_factory=SlowFigures)
    lengths_are_new: bool = False


@dataclass(slots=True)
class SignalMemory:
    """What is remembered of one pool between rounds."""

    ledger: Ledger = field(default_factory=Ledger)
    source: str = ""
    newest_given_out: float | None = None
    """Time of the sample behind the arrivals that were given out last."""
    mean_prompt_tokens: float | None = None
    newest_seconds: dict[Place, float] = field(default_factory=dict)
    balance: FlowBalance = field(default_factory=FlowBalance)
    too_many_since: dict[Place, float] = field(default_factory=dict)
    """Since when more replicas report at a place than exist."""
    decode_delay_seconds: float | None = None
    """Mean TTFT that decode engines observe, where it comes on top of that of prefill."""


@dataclass(slots=True)
class PoolView:
    """What one pool can see of a round, and the notes on its signals."""

    place: PoolPlace
    rounds: Mapping[GroupId, GroupRound]
    memory: SignalMemory
    stuck_seconds: int = 0
    """For how long nothing moved in what is called stuck."""
    freshness: list[Freshness] = field(default_factory=list)
    implausible: str = ""
    """Why the numbers of the engines where requests enter cannot be; empty: they can."""

    def note(self, signal: str, problem: Problem | None, detail: str = "", age: float | None = None) -> None:
        """Note how far a signal can be trusted."""
        self.freshness.append(Freshness(signal=signal, age_seconds=age, problem=problem, detail=detail))

    def of_roles(self, roles: tuple[Role, ...]) -> list[tuple[WorkloadTarget, Place]]:
        """Return the workloads of some roles."""
        return [
            (workload, self.place.workloads[workload.variant])
            for workload in self.place.target.workloads
            if workload.role in roles
        ]

    def round(self, place: Place) -> GroupRound:
        """Return the round of a place's group."""
        return self.rounds[place.group]

    def readings(self, place: Place) -> Readings:
        """Return the readings of a place's group."""
        return self.rounds[place.group].readings

    def dialect(self, place: Place) -> Dialect:
        """Return the dialect of a place's group."""
        return self.rounds[place.group].group.dialect

    def age(self, place: Place, end_seconds: int) -> float | None:
        """Return the age of the newest sample, remembered over rounds."""
        row = self.readings(place).row(NEWEST, place.key)
        if row is not None and not math.isnan(row[-1]):
            self.memory.newest_seconds[place] = row[-1]
        newest = self.memory.newest_seconds.get(place)
        return None if newest is None else max(0.0, end_seconds - newest)
