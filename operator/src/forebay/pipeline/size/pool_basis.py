"""What one pool is sized from, and the curves of misses that its roles ask for."""

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.decision import Reason, ReasonCode, Step
from forebay.flow.fleet import Fleet, Pool, PoolKey, Role, VariantKey
from forebay.flow.observation import FleetObservation, PoolObservation
from forebay.pipeline.remember.absorb import absorb
from forebay.pipeline.remember.fleet_state import FleetState
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.remember.turns import Turns
from forebay.pipeline.size.engines_out import without_engines_out
from forebay.pipeline.size.role_basis import RoleBasis, role_bases
from forebay.pipeline.size.supply import Supply, beside_free_gpus, supply_of
from forebay.pipeline.size.telemetry_trust import nothing_new_was_due, untrusted_telemetry
from forebay.sizing.curve import CurveAsk, Curves, miss_curves


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBasis:
    """One pool before its curves are computed."""

    pool: Pool
    observed: PoolObservation
    memory: PoolMemory
    supplies: Mapping[VariantKey, Supply]
    roles: Mapping[Role, RoleBasis]
    lost: Reason | None
    """Why what was observed is too little to release anything."""
    reasons: tuple[Reason, ...]

    @property
    def asks(self) -> list[CurveAsk]:
        """Return the curves to compute."""
        return [ask for basis in self.roles.values() for ask in basis.curves.asks]


def pool_basis(
    fleet: Fleet,
    observed: FleetObservation,
    pool: Pool,
    seen: PoolObservation | None,
    state: FleetState,
    turns: Turns,
) -> PoolBasis | list[Reason]:
    """Take in what was observed of one pool; where it must hold, the reasons."""
    if seen is None:
        return [
            Reason(
                step=Step.OBSERVE,
                code=ReasonCode.NOT_OBSERVED,
                message="capacity is held: the pool was not observed",
            )
        ]
    memory = state.memory(pool)
    lost = untrusted_telemetry(seen, memory)
    absorb(pool, seen, memory)
    if lost is not None and memory.started_seconds is not None:
        # The minutes after a start fill windows: those without telemetry do not count.
        memory.started_seconds = min(seen.at_seconds, memory.started_seconds + memory.elapsed_seconds)
    if memory.window.end_seconds is None or (seen.traffic is None and not nothing_new_was_due(seen, memory)):
        return [lost] if lost else [_no_rate()]
    supplies = _supplies(observed, pool, seen, memory)
    roles, reasons = role_bases(fleet, pool, seen, memory, supplies, turns)
    return PoolBasis(
        pool=pool,
        observed=seen,
        memory=memory,
        supplies=supplies,
        roles=roles,
        lost=lost,
        reasons=tuple(reasons),
    )


def compute_curves(bases: Mapping[PoolKey, PoolBasis]) -> tuple[dict[int, Curves], dict[PoolKey, Exception]]:
    """Return all curves that ``bases`` ask for, by the asks' id, and the pools whose own data allow none."""
    asks = [ask for basis in bases.values() for ask in basis.asks]
    try:
        return _by_id(asks), {}
    except ValueError:  # somebody's numbers are none: find out whose
        found: dict[int, Curves] = {}
        failed: dict[PoolKey, Exception] = {}
        for key, basis in bases.items():
            try:
                found |= _by_id(basis.asks)
            except ValueError as error:
                failed[key] = error
        return found, failed


def _by_id(asks: list[CurveAsk]) -> dict[int, Curves]:
    return dict(zip(map(id, asks), miss_curves(asks), strict=True))


def _no_rate() -> Reason:
    return Reason(
        step=Step.OBSERVE, code=ReasonCode.TOO_FEW, message="capacity is held until arrivals were counted once"
    )


def _supplies(
    observed: FleetObservation, pool: Pool, seen: PoolObservation, memory: PoolMemory
) -> dict[VariantKey, Supply]:
    supplies = {
        variant.key: supply_of(
            variant,
            seen.variant(variant.key),
            observed.node_pools.get(variant.node_pool or ""),
            memory,
            observed.at_seconds,
            alone=len(pool.of_role(variant.role)) == 1,
        )
        for variant in pool.variants
    }
    supplies = {
        key: without_engines_out(supply, seen.variant(key), memory, observed.at_seconds)
        for key, supply in supplies.items()
    }
    return beside_free_gpus(pool, seen, supplies, observed.node_pools)
