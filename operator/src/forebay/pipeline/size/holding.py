"""Why a role may not release now: each rule looks at one thing and gives its reason, or nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from forebay.flow.decision import Reason, ReasonCode, Step
from forebay.flow.settings import PolicySettings
from forebay.pipeline.size.pool_basis import PoolBasis
from forebay.pipeline.size.role_draft import RoleSize

_GUARD_LEAD_TIMES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseContext:
    """What the rules look at."""

    pool: PoolBasis
    role: RoleSize

    @property
    def settings(self) -> PolicySettings:
        """Return how the pool is scaled."""
        return self.pool.pool.settings


ReleaseRule = Callable[[ReleaseContext], Reason | None]


def after_restart(context: ReleaseContext) -> Reason | None:
    """Hold for some minutes or two lead times after the first round: windows fill, replicas may be starting."""
    started = context.pool.memory.started_seconds
    lead = context.pool.memory.leads.get(context.role.basis.role, 0.0)
    guard = max(context.settings.restart_guard_seconds, _GUARD_LEAD_TIMES * lead)
    now = context.pool.observed.at_seconds
    age = now - (now if started is None else started)
    if age >= guard:
        return None
    return _hold(
        context,
        ReasonCode.AFTER_RESTART,
        f"nothing is released for {guard - age:.0f} s more after the start",
        left=guard - age,
    )


def past_to_come(context: ReleaseContext) -> Reason | None:
    """Hold while the pool's history waits to be read: it may know of a peak that is near."""
    if not context.pool.memory.awaits_past:
        return None
    return _hold(context, ReasonCode.HISTORY_PENDING, "nothing is released until the pool's history has been read")


def queue_stands(context: ReleaseContext) -> Reason | None:
    """Hold while a queue stands, so that the pool does not cancel the replicas that would drain it."""
    if not context.role.backlog.hold:
        return None
    return _hold(
        context, ReasonCode.QUEUE_STANDS, "requests are queueing; nothing is released until the queue is gone"
    )


def capacity_unknown(context: ReleaseContext) -> Reason | None:
    """Hold while nobody knows what a replica sustains."""
    if context.role.basis.capacity_known:
        return None
    return _hold(
        context, ReasonCode.CAPACITY_UNKNOWN, "capacity per replica is not known yet; nothing is released"
    )


def release_paused(context: ReleaseContext) -> Reason | None:
    """Hold where the user paused scale-in."""
    if not context.settings.pause_scale_in:
        return None
    return _hold(context, ReasonCode.SCALE_IN_PAUSED, "scale-in is paused (spec.pause)")


def _hold(context: ReleaseContext, code: ReasonCode, message: str, **numbers: float) -> Reason:
    return Reason(step=Step.GUARD, code=code, message=message, numbers=numbers, role=context.role.basis.role)


RULES: tuple[ReleaseRule, ...] = (after_restart, past_to_come, queue_stands, capacity_unknown, release_paused)


def release_reasons(context: ReleaseContext) -> list[Reason]:
    """Return every reason why the role may not release now."""
    return [reason for reason in (rule(context) for rule in RULES) if reason is not None]
