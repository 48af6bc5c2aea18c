"""Forebay in a replay, with its forecasts written down."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import Fleet, PoolKey, Role
from forebay.flow.forecast import DemandForecast, ForecastScore
from forebay.flow.observation import FleetObservation
from forebay.flow.trace import FloatArray
from forebay.offline.replay.loop.policy import Forebay, Targets
from forebay.offline.replay.loop.scenario import Scenario
from forebay.pipeline import FleetState

_START_UP_QUANTILE = 0.9
_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForecastCourse:
    """Forecasts of one role over time, each placed at the time that it was for."""

    for_seconds: FloatArray
    q50: FloatArray
    q90: FloatArray
    q99: FloatArray
    lead_time_seconds: float
    score: ForecastScore | None
    """As it stood at the end."""
    demoted_share: float
    """Share of the time in which the forecaster was demoted."""


class RecordedForebay(Forebay):
    """The same decisions; the forecast of every minute is kept."""

    def __init__(self, scenario: Scenario) -> None:
        fleet = _replayed(scenario)
        super().__init__(fleet, warm_state(scenario, fleet))
        self._forecasts: dict[tuple[PoolKey, Role], list[tuple[float, DemandForecast]]] = {}
        self._recorded = -_EVERY_SECONDS

    def tick(self, seen: FleetObservation) -> Mapping[PoolKey, Targets]:
        """Decide, and keep the forecasts once a minute."""
        wanted = super().tick(seen)
        if self.last is not None and seen.at_seconds - self._recorded >= _EVERY_SECONDS:
            self._recorded = seen.at_seconds
            for key, decision in self.last.pools.items():
                for role, forecast in decision.forecasts.items():
                    self._forecasts.setdefault((key, role), []).append((seen.at_seconds, forecast))
        return wanted

    def forecasts(self) -> dict[tuple[PoolKey, Role], ForecastCourse]:
        """Return what was kept."""
        return {name: _course(entries) for name, entries in self._forecasts.items()}


def _course(entries: list[tuple[float, DemandForecast]]) -> ForecastCourse:
    last = entries[-1][1]
    return ForecastCourse(
        for_seconds=np.array([at + forecast.lead_time_seconds for at, forecast in entries]),
        q50=np.array([forecast.at_horizon.q50 for _, forecast in entries]),
        q90=np.array([forecast.at_horizon.q90 for _, forecast in entries]),
        q99=np.array([forecast.at_horizon.q99 for _, forecast in entries]),
        lead_time_seconds=last.lead_time_seconds,
        score=last.score,
        demoted_share=float(np.mean([forecast.demoted for _, forecast in entries])),
    )


def warm_state(scenario: Scenario, fleet: Fleet) -> FleetState:
    """Return a state whose forecasters have seen the minutes that precede each trace."""
    state = FleetState()
    for key, trace in scenario.traces.items():
        if trace.history_requests_per_minute is None:
            continue
        leads = {s.quantile_seconds(_START_UP_QUANTILE) for s in scenario.start_up[key].values()}
        state.warm_start(
            fleet.pools[key],
            requests_per_minute=trace.history_requests_per_minute,
            end_seconds=0.0,
            lead_times_seconds=sorted(leads),
        )
    return state


def _replayed(scenario: Scenario) -> Fleet:
    """Return the fleet of the pools that have traffic."""
    fleet = scenario.fleet
    return Fleet(
        pools={key: fleet.pools[key] for key in scenario.traces},
        node_pools=fleet.node_pools,
        budget_usd_per_hour=fleet.budget_usd_per_hour,
        power_limit_watts=fleet.power_limit_watts,
    )
