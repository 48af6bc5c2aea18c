"""A pool whose roles are scaled each by its own autoscaler, as one HPA or ScaledObject per workload does."""

from collections.abc import Callable, Mapping
from typing import Protocol

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.observation import PoolObservation
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals, SignalReader
from forebay.offline.replay.baselines.registry import PoolFacts


class RoleScaler(Protocol):
    """An autoscaler of one workload."""

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the reference replicas wanted now."""
        ...


class RoleByRole:
    """A pool policy of one independent `RoleScaler` per role."""

    def __init__(self, facts: PoolFacts, make: Callable[[Role], RoleScaler], *, interval_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self._reader = SignalReader(facts)
        self._scalers = {role: make(role) for role in facts.pool.roles}

    def tick(self, seen: PoolObservation) -> Mapping[VariantKey, int]:
        """Ask every role's autoscaler; without traffic figures keep what there is."""
        signals = self._reader.read(seen)
        if seen.traffic is None:
            return {}
        wanted: dict[VariantKey, int] = {}
        for role, scaler in self._scalers.items():
            signal = signals[role]
            wanted.update(signal.workload.fill(scaler.tick(signal, self._reader.arrivals)))
        return wanted
