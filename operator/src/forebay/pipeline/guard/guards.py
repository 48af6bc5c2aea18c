"""What stands between a plan and an order: small functions, each of which may change counts and says so."""

from collections.abc import Iterable

from forebay.flow.decision import Reason, ReasonCode
from forebay.flow.fleet import Role, VariantKey
from forebay.pipeline.guard.context import Counts, Guard, GuardContext, guard_reason
from forebay.pipeline.guard.parking import take_back_parked
from forebay.pipeline.guard.record import in_last_hour
from forebay.pipeline.guard.removals import count_what_goes, hold_rollouts, keep_overdue_orders
from forebay.pipeline.plan.ratio import lacking


def leave_frozen(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Leave targets alone that are missing or written by somebody else."""
    reasons, result = [], dict(counts)
    for variant in context.pool.variants:
        supply = context.supplies[variant.key]
        if supply.frozen is None:
            continue
        changed = result[variant.key] != supply.desired
        result[variant.key] = supply.desired
        message = f"variant {variant.key} is left alone: {supply.frozen}"
        reasons.append(guard_reason(ReasonCode.LEFT_ALONE, message, variant.role, changed=changed))
    return result, reasons


def never_release_held(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Release nothing of a held role, whatever the plan says; overdue orders are no capacity."""
    reasons, result = [], dict(counts)
    for role in (role for role in context.pool.roles if role in context.held):
        for variant in context.pool.of_role(role):
            supply = context.supplies[variant.key]
            result[variant.key] = max(result[variant.key], supply.kept)
        if result != counts:
            message = f"{role.value}: the plan would have released capacity that must be held"
            reasons.append(guard_reason(ReasonCode.RELEASE_HELD, message, role, changed=True))
    return result, reasons


def one_direction(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """While one variant of a role grows, none shrinks: what replaces capacity comes first."""
    reasons, result = [], dict(counts)
    for role in context.pool.roles:
        variants = context.pool.of_role(role)
        grows = [v.key for v in variants if result[v.key] > context.supplies[v.key].desired]
        shrinks = [v.key for v in variants if result[v.key] < context.supplies[v.key].kept]
        if not grows or not shrinks:
            continue
        for name in shrinks:
            result[name] = context.supplies[name].kept
        message = f"{role.value}: {_names(grows)} grows, so {_names(shrinks)} does not shrink in this round"
        reasons.append(guard_reason(ReasonCode.ONE_DIRECTION, message, role, changed=True))
    return result, reasons


def make_before_break(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Release nothing that serves for the sake of what is only starting."""
    reasons, result = [], dict(counts)
    for role, needed in context.release_need.items():
        variants = context.pool.of_role(role)
        supplies = {v.key: context.supplies[v.key] for v in variants}
        if all(supply.live <= supply.ready for supply in supplies.values()):
            continue
        ready = sum(context.speed[name] * supply.ready for name, supply in supplies.items())
        kept = _keep_ready(context, result, role, min(ready, needed))
        if kept:
            message = f"{role.value}: {_names(kept)} serves on until what is starting is ready"
            reasons.append(guard_reason(ReasonCode.MAKE_BEFORE_BREAK, message, role, changed=True))
    return result, reasons


def _keep_ready(context: GuardContext, result: Counts, role: Role, needed: float) -> list[VariantKey]:
    """Take back releases until ``needed`` reference replicas stay ready; return the variants that stay."""
    kept = []
    variants, supplies, speed = context.pool.of_role(role), context.supplies, context.speed
    stays = sum(speed[v.key] * supplies[v.key].ready_at(result[v.key]) for v in variants)
    for variant in variants:
        supply, before = supplies[variant.key], result[variant.key]
        while result[variant.key] < supply.desired and speed[variant.key] > 0 and stays < needed - 1e-9:
            now = supply.ready_at(result[variant.key])
            result[variant.key] += 1
            stays += speed[variant.key] * (supply.ready_at(result[variant.key]) - now)
        if result[variant.key] > before:
            kept.append(variant.key)
    return kept


def explore_with_care(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Add nothing on a guess: a role of unknown capacity grows only while requests queue, by doubling at most."""
    reasons, result = [], dict(counts)
    for role in (role for role in context.pool.roles if role in context.unknown):
        current = context.current(role)
        allowed = max(1, 2 * current) if role in context.queued else current
        if not _limited(context, result, role, allowed - current, direction=1):
            continue
        message = f"{role.value}: capacity per replica is not known yet, so at most {allowed} replicas are ordered"
        reasons.append(guard_reason(ReasonCode.CAPACITY_UNKNOWN, message, role, changed=True))
    return result, reasons


def keep_ratio(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Keep prefill and decode within the pool's band: raise the deficient role, never lower the other.

    Where limits kept the pool from what it would buy, they go before the band, which the plan has weighed already.
    """
    found = lacking(context.pool, counts)
    if found is None:
        return counts, []
    role, wanted = found
    if context.limited:
        message = (
            f"{role.value} would need {wanted} for the prefill:decode band, which the fleet's limits do not allow"
        )
        return counts, [guard_reason(ReasonCode.RATIO_BAND, message, role, changed=False)]
    result = _raised(context, counts, role, wanted)
    reached = sum(result[v.key] for v in context.pool.of_role(role))
    limit = "" if reached >= wanted else f", of which limits allow {reached}"
    message = f"{role.value} is raised to {wanted}{limit}, to stay within the prefill:decode band"
    return result, [guard_reason(ReasonCode.RATIO_BAND, message, role, changed=result != counts)]


def _raised(context: GuardContext, counts: Counts, role: Role, wanted: int) -> Counts:
    result = dict(counts)
    missing = wanted - sum(counts[v.key] for v in context.pool.of_role(role))
    for variant in context.pool.of_role(role):
        supply = context.supplies[variant.key]
        if supply.blocked is None and supply.frozen is None:
            added = min(missing, max(0, variant.max_replicas - result[variant.key]))
            result[variant.key] += added
            missing -= added
    return result


def limit_steps(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Move no role by more than the policy's step in one round."""
    settings = context.pool.settings
    reasons, result = [], dict(counts)
    for role in context.pool.roles:
        up = _limited(context, result, role, settings.max_scale_out_step, direction=1)
        down = _limited(context, result, role, settings.max_scale_in_step, direction=-1)
        if up or down:
            step = settings.max_scale_out_step if up else settings.max_scale_in_step
            message = f"{role.value} moves by {step} replicas at most in one round"
            reasons.append(guard_reason(ReasonCode.STEP_LIMIT, message, role, changed=True))
    return result, reasons


def _limited(context: GuardContext, result: Counts, role: Role, step: int | None, *, direction: int) -> bool:
    """Cut moves in ``direction`` to ``step`` replicas in all; later variants first."""
    if step is None:
        return False
    variants = context.pool.of_role(role)
    moves = {v.key: direction * (result[v.key] - context.supplies[v.key].desired) for v in variants}
    surplus = sum(max(0, move) for move in moves.values()) - step
    cut_any = surplus > 0
    for variant in reversed(variants):
        cut = min(max(surplus, 0), max(0, moves[variant.key]))
        result[variant.key] -= direction * cut
        surplus -= cut
    return cut_any


def limit_actions(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Spend no more scaling actions per hour than the policy grants; a standing queue is always answered."""
    allowed = context.pool.settings.actions_per_hour
    if allowed is None:
        return counts, []
    reasons, result = [], dict(counts)
    for role in context.pool.roles:
        spent = in_last_hour(context.memory.actions.get(role, []), context.at_seconds)
        moves = {v.key: result[v.key] - context.supplies[v.key].desired for v in context.pool.of_role(role)}
        if len(spent) < allowed or not any(moves.values()):
            continue
        if sum(moves.values()) > 0 and role in context.queued:
            continue
        result.update({name: context.supplies[name].desired for name in moves})
        message = f"{role.value} has used its {allowed} scaling actions of the last hour"
        reasons.append(guard_reason(ReasonCode.ACTION_BUDGET_SPENT, message, role, changed=True))
    return result, reasons


def pause_scale_out(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Add nothing where the user paused scale-out."""
    if not context.pool.settings.pause_scale_out:
        return counts, []
    result = {name: min(count, context.supplies[name].desired) for name, count in counts.items()}
    if result == counts:
        return counts, []
    return result, [
        guard_reason(ReasonCode.SCALE_OUT_PAUSED, "scale-out is paused (spec.pause)", None, changed=True)
    ]


def within_limits(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Keep every variant between its own minimum and maximum: the last word."""
    reasons, result = [], dict(counts)
    for variant in context.pool.variants:
        wanted = counts[variant.key]
        allowed = min(max(wanted, variant.min_replicas), variant.max_replicas)
        if allowed != wanted:
            result[variant.key] = allowed
            limit = "minReplicas" if allowed > wanted else "maxReplicas"
            message = f"variant {variant.key}: {wanted} replicas wanted, {limit} is {allowed}"
            code = ReasonCode.MIN_REPLICAS if allowed > wanted else ReasonCode.MAX_REPLICAS
            reasons.append(guard_reason(code, message, variant.role, changed=True))
    return result, reasons


def _names(variants: Iterable[VariantKey]) -> str:
    return ", ".join(map(str, variants))


GUARDS: tuple[Guard, ...] = (
    count_what_goes,
    keep_overdue_orders,
    never_release_held,
    take_back_parked,
    one_direction,
    make_before_break,
    explore_with_care,
    keep_ratio,
    limit_steps,
    limit_actions,
    hold_rollouts,
    pause_scale_out,
    leave_frozen,
    within_limits,
)


def guarded(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Pass ``counts`` through all guards in order and collect what they say."""
    said: list[Reason] = []
    for guard in GUARDS:
        counts, reasons = guard(context, counts)
        said.extend(reasons)
    return counts, said
