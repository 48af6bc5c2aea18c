"""A pool whose roles are scaled each by its own autoscaler, as one HPA or ScaledObject per workload does."""

from collections.abc import Callable, Mapping
from typing import Protocol

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.observation import PoolObservation
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals, SignalReader
from forebay.offline.replay.baselines.registry import PoolFacts
from forebay.offline.replay.loop.policy import PoolPolicy


class RoleScaler(Protocol):
    """An autoscaler of one workload."""

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the reference replicas wanted now."""
        ...


MakeScaler = Callable[[PoolFacts, Role, float], RoleScaler]
"""Build the autoscaler of one role at a setting of the knob."""


def per_role(make: MakeScaler, interval_seconds: float) -> Callable[[PoolFacts, float], PoolPolicy]:
    """Return what builds a pool policy of one independent autoscaler per role."""

    def policy(facts: PoolFacts, knob: float) -> PoolPolicy:
        scalers = {role: make(facts, role, knob) for role in facts.pool.roles}
        return _RoleByRole(facts, scalers, interval_seconds)

    return policy


def by_knob(
    make: Callable[[float], RoleScaler], interval_seconds: float
) -> Callable[[PoolFacts, float], PoolPolicy]:
    """Return the same for an autoscaler that is built from the setting of the knob alone."""

    def scaler(_facts: PoolFacts, _role: Role, knob: float) -> RoleScaler:
        return make(knob)

    return per_role(scaler, interval_seconds)


class _RoleByRole:
    """A pool policy of one `RoleScaler` per role."""

    def __init__(self, facts: PoolFacts, scalers: Mapping[Role, RoleScaler], interval_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self._reader = SignalReader(facts)
        self._scalers = scalers

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
