"""Guards over what a lower count removes: the controller chooses the replica, and not always the overdue one."""

from forebay.flow.decision import Reason, ReasonCode
from forebay.pipeline.guard.context import Counts, GuardContext, guard_reason
from forebay.pipeline.remember.memory import Withdrawal
from forebay.pipeline.size.supply import Supply


def count_what_goes(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Turn the replicas that the plan wants to serve into targets, by what the controller would remove."""
    reasons, result = [], dict(counts)
    for variant in context.pool.variants:
        supply, wanted = context.supplies[variant.key], counts[variant.key]
        result[variant.key] = target = supply.target_for(wanted)
        if target == wanted:
            continue
        lost = supply.desired - supply.live
        message = (
            f"variant {variant.key}: {lost} of its {supply.desired} replicas do not serve and are not counted on"
        )
        reasons.append(guard_reason(ReasonCode.REPLICAS_LOST, message, variant.role, changed=True))
    return result, reasons


def keep_overdue_orders(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Say which variants are blocked; keep what is on order of them where no other variant takes its place."""
    reasons, result = [], dict(counts)
    for role in context.pool.roles:
        variants = context.pool.of_role(role)
        elsewhere = any(
            counts[v.key] > context.supplies[v.key].desired
            for v in variants
            if context.supplies[v.key].blocked is None
        )
        for variant in variants:
            supply = context.supplies[variant.key]
            if supply.blocked is None:
                continue
            withdrawn = supply.withdrawable > 0 and elsewhere
            if supply.live_at(result[variant.key]) >= supply.live:
                result[variant.key] = supply.kept if withdrawn else supply.desired
            message = f"variant {variant.key} is blocked ({supply.blocked}): {_advice(supply, withdrawn)}"
            reasons.append(guard_reason(ReasonCode.VARIANT_BLOCKED, message, role, changed=result != counts))
    return result, reasons


def hold_rollouts(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Release nothing of a workload in a rollout: its controller removes replicas that serve."""
    reasons, result = [], dict(counts)
    for variant in context.pool.variants:
        supply = context.supplies[variant.key]
        if supply.rollout is None or result[variant.key] >= supply.desired:
            continue
        result[variant.key] = supply.desired
        message = f"variant {variant.key} releases nothing: {supply.rollout}"
        reasons.append(guard_reason(ReasonCode.ROLLOUT_IN_PROGRESS, message, variant.role, changed=True))
    return result, reasons


def note_withdrawals(context: GuardContext, counts: Counts) -> None:
    """Remember what is withdrawn, so that the next rounds see whether the overdue replicas went."""
    for key, supply in context.supplies.items():
        if supply.blocked is not None and supply.withdrawable > 0 and counts[key] < supply.desired:
            context.memory.withdrawals[key] = Withdrawal(counts[key], supply.overdue, supply.ready)


def _advice(supply: Supply, withdrawn: bool) -> str:
    if withdrawn:
        return "what is overdue is withdrawn and another variant tried"
    if supply.kept_orders:
        return "a withdrawal removed replicas that served, so the others stay on order"
    return "nothing is added"
