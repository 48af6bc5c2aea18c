"""Parked replicas: taken back into traffic when they are missed, and let go when nobody did."""

from forebay.flow.decision import Reason, ReasonCode
from forebay.flow.fleet import Variant
from forebay.flow.observation import ParkedReplica
from forebay.pipeline.guard.context import Counts, GuardContext, guard_reason

_MISSED_BURN_RATE = 2.0
"""A pool that spends its error budget this fast misses what it parked; on average it spends it at a rate of 1."""
_RECENT = "1h"


def take_back_parked(context: GuardContext, counts: Counts) -> tuple[Counts, list[Reason]]:
    """Take all parked replicas of a role back where requests queue before it: they serve within a second."""
    reasons, result = [], dict(counts)
    for role in (role for role in context.pool.roles if role in context.queued):
        back = 0
        for variant in context.pool.of_role(role):
            supply = context.supplies[variant.key]
            if supply.parked and supply.frozen is None:
                most = min(variant.max_replicas, supply.desired + len(supply.parked))
                back += max(0, most - max(result[variant.key], supply.desired))
                result[variant.key] = max(result[variant.key], most)
        if back:
            message = f"{role.value}: requests queue, so {back} parked replicas take traffic again"
            reasons.append(guard_reason(ReasonCode.PARKED, message, role, changed=True))
    return result, reasons


def freed(context: GuardContext, variant: Variant, wanted: int) -> tuple[str, ...]:
    """Return the parked replicas of a variant that go now.

    One goes when it has been out of traffic for the window, the pool meets its objective without it, and it
    holds no request. One that still holds some, or does not tell, goes when its patience ends. Nothing goes that
    is held, wanted back, or beside replicas that are not Ready, which Kubernetes would remove in its place; when
    the patience ends, only those that are on their way keep it.
    """
    supply, settings = context.supplies[variant.key], context.pool.settings
    must_stay = variant.role in context.held or supply.rollout is not None or supply.frozen is not None
    if not supply.parked or must_stay or wanted > supply.desired or supply.live > supply.ready:
        return ()
    window = context.memory.windows_at(context.at_seconds).get(_RECENT)
    burn = None if window is None else window.burn_rate(context.pool.slo.target)
    missed = burn is not None and burn > _MISSED_BURN_RATE
    settled = supply.ready == supply.desired

    def goes(replica: ParkedReplica) -> bool:
        age = context.at_seconds - replica.since_seconds
        if age >= settings.park_patience_seconds:
            return True
        return age >= settings.park_seconds and replica.requests == 0.0 and settled and not missed

    return tuple(replica.name for replica in supply.parked if goes(replica))
