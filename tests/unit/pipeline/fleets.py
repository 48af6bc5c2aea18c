"""Pools and observations for the pipeline's tests: a little world with steady engines and Poisson arrivals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forebay.flow.decision import FleetDecision, PoolDecision
from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, Role, Slo, Variant
from forebay.flow.observation import (
    EngineSample,
    FleetObservation,
    Freshness,
    NodePoolObservation,
    PoolObservation,
    StartingReplica,
    Traffic,
    VariantObservation,
)
from forebay.flow.performance import Performance
from forebay.pipeline import FleetState, decide

KEY = PoolKey("serving", "chat")
ROUND = 15.0
PERFORMANCE = Performance(
    prefill_base_seconds=0.010,
    prefill_seconds_per_token=1 / 25_000,
    decode_base_seconds=0.008,
    decode_seconds_per_sequence=0.00006,
    decode_seconds_per_kv_token=22e-9,
    max_batch=256,
    kv_capacity_tokens=400_000,
)
SLO = Slo(ttft_seconds=0.5, itl_seconds=0.025, target=0.99)
INPUT, OUTPUT = 1200.0, 200.0


def variant(role: Role, name: str | None = None, **changes: object) -> Variant:
    values: dict[str, object] = {"max_replicas": 60, "performance": PERFORMANCE, **changes}
    return Variant(name=name or role.value, role=role, **values)  # type: ignore[arg-type]


def split_pool(key: PoolKey = KEY, variants: Sequence[Variant] = (), **changes: object) -> Pool:
    both = tuple(variants) or (variant(Role.PREFILL), variant(Role.DECODE))
    return Pool(key=key, slo=SLO, variants=both, **changes)  # type: ignore[arg-type]


@dataclass
class World:
    """Pools whose replicas are whatever was last decided, ready at once unless told otherwise."""

    fleet: Fleet
    rates: dict[PoolKey, float]
    state: FleetState = field(default_factory=FleetState)
    clock: float = 0.0
    replicas: dict[PoolKey, dict[str, int]] = field(default_factory=dict)
    waiting: dict[PoolKey, float] = field(default_factory=dict)
    starting: dict[tuple[PoolKey, str], tuple[StartingReplica, ...]] = field(default_factory=dict)
    blind: set[PoolKey] = field(default_factory=set)
    freshness: tuple[Freshness, ...] = ()
    node_pools: dict[str, NodePoolObservation] = field(default_factory=dict)
    true: dict[str, Performance] = field(default_factory=dict)
    noise: bool = True
    lead: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        for key, pool in self.fleet.pools.items():
            self.replicas.setdefault(key, {v.name: 3 for v in pool.variants})

    def observe(self) -> FleetObservation:
        self.clock += ROUND
        pools = {key: self._pool(pool) for key, pool in self.fleet.pools.items()}
        return FleetObservation(at_seconds=self.clock, pools=pools, node_pools=self.node_pools)

    def step(self) -> dict[PoolKey, PoolDecision]:
        return dict(self.step_fleet().pools)

    def step_fleet(self) -> FleetDecision:
        decision = decide(self.fleet, self.observe(), self.state)
        for key, pool in decision.pools.items():
            self.replicas[key] = {v.name: v.desired for v in pool.variants}
        return decision

    def run(self, rounds: int) -> PoolDecision:
        for _ in range(rounds - 1):
            self.step()
        return next(iter(self.step().values()))

    def _pool(self, pool: Pool) -> PoolObservation:
        rate = self.rates[pool.key]
        slots = self.rng.poisson(rate * 5.0, 3) if self.noise else np.full(3, rate * 5.0)
        traffic = Traffic(
            start_seconds=self.clock - ROUND,
            end_seconds=self.clock,
            arrivals=float(slots.sum()),
            slot_counts=tuple(float(c) for c in slots),
            input_tokens=float(slots.sum()) * INPUT,
            cached_input_tokens=0.0,
        )
        return PoolObservation(
            key=pool.key,
            at_seconds=self.clock,
            traffic=None if pool.key in self.blind else traffic,
            variants=tuple(self._variant(pool.key, v, rate) for v in pool.variants),
            waiting_prefill=self.waiting.get(pool.key, 0.0),
            waiting_decode=0.0,
            finished=rate * ROUND,
            missed=0.0,
            freshness=self.freshness,
        )

    def _variant(self, key: PoolKey, v: Variant, rate: float) -> VariantObservation:
        desired = self.replicas[key][v.name]
        starting = self.starting.get((key, v.name), ())
        return VariantObservation(
            name=v.name,
            role=v.role,
            desired=desired,
            ready=max(0, desired - len(starting)),
            starting=starting,
            engine=engine(v, rate, desired - len(starting), self.true.get(v.name)) if desired else None,
            lead_time_seconds=v.start_up_seconds or self.lead,
        )


def engine(v: Variant, rate: float, ready: int, true: Performance | None = None) -> EngineSample:
    """Return what ``ready`` engines that serve ``rate`` requests per second report (profile, or ``true``)."""
    count = rate * ROUND
    claimed = v.performance if isinstance(v.performance, Performance) else PERFORMANCE
    performance = true or claimed
    if v.role is Role.PREFILL:
        return EngineSample(
            interval_seconds=ROUND,
            prefills=count,
            prefill_tokens=count * INPUT,
            prefill_seconds=count * performance.prefill_seconds(INPUT),
        )
    running = rate * OUTPUT * 0.01
    batch = running / max(ready, 1)
    return EngineSample(
        interval_seconds=ROUND,
        finished=count,
        output_tokens=count * OUTPUT,
        itl_seconds=performance.decode_step_seconds(batch, batch * 1300.0),
        running=running,
        kv_tokens=running * 1300.0,
    )


def world(pool: Pool | None = None, rate: float = 20.0, **changes: object) -> World:
    pool = pool or split_pool()
    return World(fleet=Fleet(pools={pool.key: pool}, node_pools={}), rates={pool.key: rate}, **changes)  # type: ignore[arg-type]


def fleet_world(
    pools: Mapping[PoolKey, Pool],
    rates: Mapping[PoolKey, float],
    types: Mapping[str, NodePool] | None = None,
    **changes: object,
) -> World:
    limits = {name: changes.pop(name) for name in ("budget_usd_per_hour", "power_limit_watts") if name in changes}
    fleet = Fleet(pools=dict(pools), node_pools=dict(types or {}), **limits)  # type: ignore[arg-type]
    return World(fleet=fleet, rates=dict(rates), **changes)  # type: ignore[arg-type]


def counts(decision: PoolDecision) -> dict[str, int]:
    return {v.name: v.desired for v in decision.variants}


def codes(decision: PoolDecision) -> list[str]:
    return [reason.code for reason in decision.reasons]
