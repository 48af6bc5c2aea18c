"""One round over the fleet: observe -> forecast -> size -> plan -> guard, as a function of values."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from forebay.flow.decision import (
    FleetDecision,
    PoolDecision,
    Reason,
    ReasonCode,
    Step,
    VariantDecision,
    WindowAttainment,
)
from forebay.flow.fleet import Fleet, Pool, PoolKey, Variant, VariantKey
from forebay.flow.observation import FleetObservation, PoolObservation
from forebay.flow.plan import FleetPlan
from forebay.flow.roles import ROLES, Phase
from forebay.pipeline.guard.context import GuardContext
from forebay.pipeline.guard.guards import guarded
from forebay.pipeline.guard.parking import freed
from forebay.pipeline.guard.quota import within_quotas
from forebay.pipeline.guard.record import actions_in_last_hour, in_last_hour, note_changes
from forebay.pipeline.guard.removals import note_withdrawals
from forebay.pipeline.plan.allocation import Allocation, allocate
from forebay.pipeline.plan.plan_reasons import alternatives, plan_reasons
from forebay.pipeline.plan.warm_nodes import warm_nodes
from forebay.pipeline.prices import pool_usd_per_hour, usd_of, watts_of
from forebay.pipeline.remember.fleet_state import FleetState
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.remember.turns import Turns
from forebay.pipeline.size.pool_basis import PoolBasis, compute_curves, pool_basis
from forebay.pipeline.size.pool_draft import PoolDraft, pool_draft

_AT_ONCE = 250
"""Pools whose curves are computed together: enough for large arrays, few enough for a large fleet's memory."""


def decide(fleet: Fleet, observed: FleetObservation, state: FleetState, *, jobs: int = 1) -> FleetDecision:
    """Decide the replicas of every variant of every pool for this round.

    Pure but for ``state``, which it updates: the time is ``observed.at_seconds``. A pool whose telemetry is
    missing, or whose own data make a step fail, holds what it has and says so; the others are not affected. Pools
    that are no longer in ``fleet`` are forgotten.

    At the end, up to ``jobs`` pieces of the forecasters' heavy work that are due (about a second each) are done; 0
    leaves them to the caller (``FleetState.next_job``).
    """
    for key in set(state.keys()) - set(fleet.pools):
        state.drop(key)
    decided: dict[PoolKey, PoolDecision] = {}
    drafts: dict[PoolKey, PoolDraft] = {}
    said: dict[PoolKey, list[Reason]] = {}
    turns = Turns()
    keys = sorted(fleet.pools)
    for first in range(0, len(keys), _AT_ONCE):
        for key, outcome in _draft(fleet, observed, state, turns, keys[first : first + _AT_ONCE]).items():
            if isinstance(outcome, PoolDecision):
                decided[key] = outcome
            else:
                drafts[key], said[key] = outcome
    plans = _plans(fleet, observed, decided, drafts)
    warm = _warm(fleet, observed, drafts, plans.binding[0], state, turns)
    while drafts:  # what is finished is let go: a fleet's drafts take as much as its decisions
        key, draft = drafts.popitem()
        memory = state.memory(draft.pool)
        try:
            decided[key] = _finish(fleet, observed, draft, *plans.of(draft), memory, said[key])
        except Exception as error:  # noqa: BLE001 - one pool's bad data must not take the others down
            reasons = [*said[key], _failure(Step.GUARD, error)]
            decided[key] = _held(fleet, observed, draft.pool, draft.basis.observed, memory, reasons)
    state.work(jobs)
    return FleetDecision(
        at_seconds=observed.at_seconds,
        pools=within_quotas(fleet, {key: decided[key] for key in sorted(decided)}),
        emptying=_emptying(plans.binding[0].plan),
        warm_nodes={name: count for name, count in warm.items() if count},
    )


def _warm(
    fleet: Fleet,
    observed: FleetObservation,
    drafts: Mapping[PoolKey, PoolDraft],
    allocation: Allocation,
    state: FleetState,
    turns: Turns,
) -> dict[str, int]:
    """Return the free nodes to hold; where that fails, those that were held."""
    acting = {key: draft for key, draft in drafts.items() if key in allocation.counts}
    planned = allocation.plan.nodes if allocation.plan is not None else {}
    try:
        return warm_nodes(
            fleet, observed, acting, allocation.counts, planned, state.warm, turns, _blind(fleet, drafts, state)
        )
    except Exception:  # noqa: BLE001 - warm nodes must not keep replicas from being decided on
        return {name: state.warm.held.get(name, pool.warm_min) for name, pool in fleet.node_pools.items()}


def _blind(fleet: Fleet, drafts: Collection[PoolKey], state: FleetState) -> frozenset[str]:
    """Return the node pools of pools that were sized before and cannot be now: these hold what they have."""
    unsized = (pool for key, pool in fleet.pools.items() if key not in drafts and pool.acts)
    return frozenset(
        variant.node_pool
        for pool in unsized
        if state.memory(pool).window.end_seconds is not None
        for variant in pool.variants
        if variant.node_pool is not None
    )


def _emptying(plan: FleetPlan | None) -> frozenset[str]:
    """Return the nodes that a plan empties; those that are on their way have no name yet."""
    planned = plan.nodes.values() if plan is not None else ()
    return frozenset(name for nodes in planned for name in nodes.emptied if name)


def _draft(
    fleet: Fleet,
    observed: FleetObservation,
    state: FleetState,
    turns: Turns,
    keys: Iterable[PoolKey],
) -> dict[PoolKey, tuple[PoolDraft, list[Reason]] | PoolDecision]:
    """Size some pools: the draft of each with what there is to say, or the decision to hold where it must."""
    outcomes: dict[PoolKey, tuple[PoolDraft, list[Reason]] | PoolDecision] = {}
    bases: dict[PoolKey, PoolBasis] = {}
    for key in keys:
        pool, seen = fleet.pools[key], observed.pools.get(key)
        try:
            found = pool_basis(fleet, observed, pool, seen, state, turns)
        except Exception as error:  # noqa: BLE001 - one pool's bad data must not take the others down
            found = [_failure(Step.SIZE, error)]
        if isinstance(found, PoolBasis):
            bases[key] = found
        else:
            outcomes[key] = _held(fleet, observed, pool, seen, state.memory(pool), found)
    curves, failed = compute_curves(bases)
    for key, basis in bases.items():
        if key not in failed:
            try:
                outcomes[key] = pool_draft(basis, curves)
            except Exception as error:  # noqa: BLE001 - as above
                failed[key] = error
    for key, why in failed.items():
        basis = bases[key]
        reasons = [_failure(Step.SIZE, why)]
        outcomes[key] = _held(fleet, observed, basis.pool, basis.observed, basis.memory, reasons)
    return outcomes


@dataclass(frozen=True, slots=True)
class _Plans:
    """The plan of the pools that act, and one of all pools that advises the others; each with why it failed."""

    binding: tuple[Allocation, Reason | None]
    advice: tuple[Allocation, Reason | None]

    def of(self, draft: PoolDraft) -> tuple[Allocation, Reason | None]:
        """Return the plan that counts for one pool."""
        return self.binding if draft.pool.acts else self.advice


def _plans(
    fleet: Fleet,
    observed: FleetObservation,
    held: Mapping[PoolKey, PoolDecision],
    drafts: Mapping[PoolKey, PoolDraft],
) -> _Plans:
    """Plan the pools that act beside what the others have; then all pools, to say what the others should have."""
    kept = [
        (variant, each.desired)
        for key, decision in held.items()
        for variant, each in zip(fleet.pools[key].variants, decision.variants, strict=True)
    ]
    acting = {key: draft for key, draft in drafts.items() if draft.pool.acts}
    nothing: tuple[Allocation, Reason | None] = (Allocation({}, None), None)
    if len(acting) == len(drafts):
        return _Plans(_allocate(_beside(fleet, kept), observed, drafts), nothing)
    advice = _allocate(_beside(fleet, kept), observed, drafts)
    kept += [
        (variant, draft.basis.supplies[variant.key].desired)
        for key, draft in drafts.items()
        if key not in acting
        for variant in draft.pool.variants
    ]
    binding = _allocate(_beside(fleet, kept), observed, acting) if acting else nothing
    return _Plans(binding, advice)


def _beside(fleet: Fleet, kept: Collection[tuple[Variant, int]]) -> Fleet:
    """Return the fleet with what is left of its limits beside replicas that stay as they are."""
    return replace(
        fleet,
        budget_usd_per_hour=_less(fleet.budget_usd_per_hour, usd_of(fleet, kept)),
        power_limit_watts=_less(fleet.power_limit_watts, watts_of(fleet, kept)),
    )


def _less(limit: float | None, used: float) -> float | None:
    return None if limit is None else max(0.0, limit - used)


def _failure(step: Step, error: Exception) -> Reason:
    message = f"capacity is held, because the {step} step failed: {type(error).__name__}: {error}"
    return Reason(step=step, code=ReasonCode.STEP_FAILED, message=message)


def _allocate(
    fleet: Fleet, observed: FleetObservation, drafts: Mapping[PoolKey, PoolDraft]
) -> tuple[Allocation, Reason | None]:
    """Plan all pools; if the plan fails, each pool keeps what it has."""
    try:
        return allocate(fleet, observed, drafts), None
    except Exception as error:  # noqa: BLE001 - the last good counts stay
        counts = {
            key: {name: s.desired for name, s in draft.basis.supplies.items()} for key, draft in drafts.items()
        }
        return Allocation(counts, None), _failure(Step.PLAN, error)


def _finish(
    fleet: Fleet,
    observed: FleetObservation,
    draft: PoolDraft,
    allocation: Allocation,
    failure: Reason | None,
    memory: PoolMemory,
    said: list[Reason],
) -> PoolDecision:
    """Guard one pool's plan and write its decision."""
    pool = draft.pool
    planned = {
        v.key: allocation.counts[pool.key].get(v.key, draft.basis.supplies[v.key].desired) for v in pool.variants
    }
    # Then what the pool would keep for its queue goes to others that come first.
    limited = allocation.plan is not None and pool.key in allocation.plan.limited_by
    context = GuardContext(
        pool=pool,
        memory=memory,
        supplies=draft.basis.supplies,
        held=draft.held - draft.yielding if limited else draft.held,
        queued=frozenset(role for role, sized in draft.roles.items() if sized.size.backlog.hold),
        unknown=frozenset(role for role, sized in draft.roles.items() if not sized.basis.capacity_known),
        release_need={role: min(sized.wanted, float(sized.size.present)) for role, sized in draft.roles.items()},
        speed={name: speed for sized in draft.roles.values() for name, speed in sized.basis.speed.items()},
        limited=limited,
        at_seconds=observed.at_seconds,
    )
    note_changes(context)
    counts, guard_reasons = guarded(context, planned)
    note_withdrawals(context, counts)
    memory.desired = dict(counts)
    plan_said = [failure] if failure is not None else plan_reasons(draft, allocation.plan)
    rate = next(iter(draft.roles.values())).basis.rate
    lengths = memory.current_lengths
    return PoolDecision(
        key=pool.key,
        at_seconds=observed.at_seconds,
        variants=_variant_decisions(context, counts),
        reasons=(*said, *plan_said, *guard_reasons),
        alternatives=alternatives(fleet, draft, counts),
        held=len(draft.held) == len(draft.roles),
        demand_requests_per_second=rate,
        input_tokens_per_second=rate * lengths.input_tokens if memory.lengths.input_tokens is not None else None,
        output_tokens_per_second=rate * lengths.output_tokens
        if memory.lengths.output_tokens is not None
        else None,
        forecasts={
            role: sized.basis.forecast for role, sized in draft.roles.items() if sized.basis.forecast is not None
        },
        slo_attainment=memory.budget.attainment,
        slo_counts=memory.budget.counts,
        error_budget_left=memory.budget.left(pool.slo.target),
        windows=_windows(pool, memory, observed.at_seconds),
        actions_last_hour=actions_in_last_hour(memory, observed.at_seconds),
        cancelled_last_hour=len(in_last_hour(memory.cancelled, observed.at_seconds)),
        usd_per_hour=pool_usd_per_hour(fleet, pool, counts),
        capacity_source={
            name: b.source for sized in draft.roles.values() for name, b in sized.basis.believed.items()
        },
        capacity_correction=_corrections(draft),
        routing={} if allocation.plan is None else allocation.plan.routing.get(pool.key, {}),
        routes=() if allocation.plan is None else allocation.plan.routes.get(pool.key, ()),
        unserved_share=_unserved_share(draft, counts),
    )


def _windows(pool: Pool, memory: PoolMemory, at_seconds: float) -> dict[str, WindowAttainment]:
    found = {}
    for name, window in memory.windows_at(at_seconds).items():
        attainment, rate = window.attainment, window.burn_rate(pool.slo.target)
        if attainment is not None and rate is not None:
            found[name] = WindowAttainment(attainment=attainment, burn_rate=rate)
    return found


def _corrections(draft: PoolDraft) -> dict[VariantKey, dict[Phase, float]]:
    found: dict[VariantKey, dict[Phase, float]] = {}
    for role, sized in draft.roles.items():
        for key, belief in sized.basis.believed.items():
            factors = {Phase.PREFILL: belief.correction.prefill, Phase.DECODE: belief.correction.decode}
            found[key] = {phase: factors[phase] for phase in ROLES[role].phases}
    return found


def _unserved_share(draft: PoolDraft, counts: Mapping[VariantKey, int]) -> float:
    """Return the share of expected work beyond all replicas at full use, in the role that lacks most."""
    worst = 0.0
    for role, sized in draft.roles.items():
        capacity = sum(sized.basis.speed[v.key] * counts[v.key] for v in draft.pool.of_role(role))
        if sized.size.order.erlangs > capacity:
            worst = max(worst, 1.0 - capacity / sized.size.order.erlangs)
    return worst


def _variant_decisions(context: GuardContext, counts: Mapping[VariantKey, int]) -> tuple[VariantDecision, ...]:
    return tuple(
        VariantDecision(
            name=v.name,
            role=v.role,
            current=context.supplies[v.key].desired,
            desired=counts[v.key],
            freed=freed(context, v, counts[v.key]),
        )
        for v in context.pool.variants
    )


def _held(
    fleet: Fleet,
    observed: FleetObservation,
    pool: Pool,
    seen: PoolObservation | None,
    memory: PoolMemory,
    reasons: list[Reason],
) -> PoolDecision:
    """Return the decision to keep what there is, within the user's own limits."""
    current = {}
    for variant in pool.variants:
        sight = seen.variant(variant.key) if seen is not None else None
        current[variant.key] = sight.desired if sight else memory.desired.get(variant.key, variant.min_replicas)
    counts = {v.key: min(max(current[v.key], v.min_replicas), v.max_replicas) for v in pool.variants}
    return PoolDecision(
        key=pool.key,
        at_seconds=observed.at_seconds,
        variants=tuple(
            VariantDecision(name=v.name, role=v.role, current=current[v.key], desired=counts[v.key])
            for v in pool.variants
        ),
        reasons=tuple(reasons),
        held=True,
        slo_attainment=memory.budget.attainment,
        slo_counts=memory.budget.counts,
        error_budget_left=memory.budget.left(pool.slo.target),
        windows=_windows(pool, memory, observed.at_seconds),
        actions_last_hour=actions_in_last_hour(memory, observed.at_seconds),
        cancelled_last_hour=len(in_last_hour(memory.cancelled, observed.at_seconds)),
        usd_per_hour=pool_usd_per_hour(fleet, pool, counts),
    )
