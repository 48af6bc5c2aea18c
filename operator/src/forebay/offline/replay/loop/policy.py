"""What a replay compares: policies, which see what an operator sees and answer with replica counts."""

from collections.abc import Callable, Mapping
from typing import Protocol

from forebay.flow.decision import FleetDecision
from forebay.flow.fleet import Fleet, Pool, PoolKey, VariantKey
from forebay.flow.observation import FleetObservation, PoolObservation
from forebay.pipeline import FleetState, decide

Targets = Mapping[VariantKey, int]
"""Replicas wanted per variant; variants that are not named keep what they have."""


class ReplayPolicy(Protocol):
    """Anything that scales a fleet. One instance sees one run, from its start to its end."""

    interval_seconds: float
    """Time between two calls of `tick`."""

    def tick(self, seen: FleetObservation) -> Mapping[PoolKey, Targets]:
        """Return the replicas wanted now, from what could be seen up to ``seen.at_seconds``."""
        ...


class PoolPolicy(Protocol):
    """Anything that scales one pool without looking at the others: what HPA, KEDA and their like do."""

    interval_seconds: float

    def tick(self, seen: PoolObservation) -> Targets:
        """Return the replicas wanted now."""
        ...


class PoolByPool:
    """A fleet policy of one independent `PoolPolicy` per pool."""

    def __init__(self, fleet: Fleet, make: Callable[[Pool], PoolPolicy]) -> None:
        self._policies = {key: make(pool) for key, pool in fleet.pools.items()}
        self.interval_seconds = min(policy.interval_seconds for policy in self._policies.values())

    def tick(self, seen: FleetObservation) -> Mapping[PoolKey, Targets]:
        """Ask every pool's policy."""
        return {key: self._policies[key].tick(pool) for key, pool in seen.pools.items()}


class Forebay:
    """The operator's own decision code, called exactly as the operator calls it."""

    def __init__(self, fleet: Fleet, state: FleetState | None = None) -> None:
        self._fleet = fleet
        self._state = state or FleetState()
        self.interval_seconds = min(pool.settings.interval_seconds for pool in fleet.pools.values())
        self.last: FleetDecision | None = None
        """The decision of the latest tick, with its reasons."""

    def tick(self, seen: FleetObservation) -> Mapping[PoolKey, Targets]:
        """Decide for the whole fleet."""
        self.last = decide(self._fleet, seen, self._state)
        return {
            key: {variant.key: variant.desired for variant in decision.variants}
            for key, decision in self.last.pools.items()
        }
