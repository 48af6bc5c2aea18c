"""Why a role may not release now: each rule looks at one thing and gives its reason, or nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forebay.flow.decision import Reason
from forebay.flow.fleet import Pool
from forebay.flow.observation import PoolObservation, Problem
from forebay.pipeline.memory import PoolMemory
from forebay.pipeline.need import RoleDraft

QUEUE_STANDS = "QueueStands"
"""The one reason to hold that yields to pools of higher priority when GPUs run out."""

_ALWAYS_TELLING = frozenset(
    {Problem.STALE, Problem.NOT_A_NUMBER, Problem.DUPLICATE, Problem.PARTIAL, Problem.UNREACHABLE}
)
_OLDEST_TRAFFIC_SECONDS = 90.0
_GUARD_LEAD_TIMES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseContext:
    """What the rules look at."""

    pool: Pool
    observed: PoolObservation
    memory: PoolMemory
    draft: RoleDraft


ReleaseRule = Callable[[ReleaseContext], Reason | None]


def after_restart(context: ReleaseContext) -> Reason | None:
    """Hold for some minutes or two lead times after the first round: windows fill, replicas may be starting."""
    started = context.memory.started_seconds
    lead = context.memory.leads.get(context.draft.role, 0.0)
    guard = max(context.pool.settings.restart_guard_seconds, _GUARD_LEAD_TIMES * lead)
    age = context.observed.at_seconds - (context.observed.at_seconds if started is None else started)
    if age >= guard:
        return None
    return _hold(
        context,
        "AfterRestart",
        f"nothing is released for {guard - age:.0f} s more after the start",
        left=guard - age,
    )


def past_to_come(context: ReleaseContext) -> Reason | None:
    """Hold while the pool's history waits to be read: it may know of a peak that is near."""
    if not context.memory.awaits_past:
        return None
    return _hold(context, "HistoryPending", "nothing is released until the pool's history has been read")


def queue_stands(context: ReleaseContext) -> Reason | None:
    """Hold while a queue stands, so that the pool does not cancel the replicas that would drain it."""
    if not context.draft.backlog.hold:
        return None
    return _hold(context, QUEUE_STANDS, "requests are queueing; nothing is released until the queue is gone")


def capacity_unknown(context: ReleaseContext) -> Reason | None:
    """Hold while nobody knows what a replica sustains."""
    if context.draft.capacity_known:
        return None
    return _hold(context, "CapacityUnknown", "capacity per replica is not known yet; nothing is released")


def release_paused(context: ReleaseContext) -> Reason | None:
    """Hold where the user paused scale-in."""
    if not context.pool.settings.pause_scale_in:
        return None
    return _hold(context, "ScaleInPaused", "scale-in is paused (spec.pause)")


def _hold(context: ReleaseContext, code: str, message: str, **numbers: float) -> Reason:
    return Reason(step="guard", code=code, message=message, numbers=numbers, role=context.draft.role)


RULES: tuple[ReleaseRule, ...] = (after_restart, past_to_come, queue_stands, capacity_unknown, release_paused)


def untrusted_telemetry(observed: PoolObservation, memory: PoolMemory) -> Reason | None:
    """Return why what was observed is too little to release anything, or ``None``. Remembers what was once seen.

    A signal that this pool never had is optional; one that it had and lost is missing.
    """
    lost = []
    for freshness in observed.freshness:
        if freshness.problem is None:
            memory.signals_seen.add(freshness.signal)
        elif freshness.problem is not Problem.TOO_FEW and (
            freshness.problem in _ALWAYS_TELLING or freshness.signal in memory.signals_seen
        ):
            detail = f": {freshness.detail}" if freshness.detail else ""
            lost.append(f"{freshness.signal} is {freshness.problem.value}{detail}")
    missing = _missing_arrivals(observed, memory)
    if missing is not None:
        lost.insert(0, missing)
    if not lost:
        return None
    message = "capacity is held, because " + "; ".join(lost[:4])
    return Reason(step="observe", code="TelemetryMissing", message=message, numbers=_ages(observed))


def _missing_arrivals(observed: PoolObservation, memory: PoolMemory) -> str | None:
    """Return why arrivals are not known well enough, or ``None``.

    A round in which no new sample was due (scrapes may be rarer than rounds) goes on with the last one.
    """
    if observed.traffic is not None:
        age = observed.at_seconds - observed.traffic.end_seconds
        return f"arrivals are {age:.0f} s old" if age > _OLDEST_TRAFFIC_SECONDS else None
    return None if nothing_new_was_due(observed, memory) else "arrivals are unknown"


def nothing_new_was_due(observed: PoolObservation, memory: PoolMemory) -> bool:
    """Return whether arrivals are only missing because the source had no new sample since a recent round."""
    newest = memory.window.end_seconds
    too_few = any(f.signal == "arrivals" and f.problem is Problem.TOO_FEW for f in observed.freshness)
    return too_few and newest is not None and observed.at_seconds - newest <= _OLDEST_TRAFFIC_SECONDS


def _ages(observed: PoolObservation) -> Mapping[str, float]:
    ages = [freshness.age_seconds for freshness in observed.freshness if freshness.age_seconds is not None]
    return {"oldest_seconds": max(ages)} if ages else {}


def release_reasons(context: ReleaseContext) -> list[Reason]:
    """Return every reason why the role may not release now."""
    return [reason for reason in (rule(context) for rule in RULES) if reason is not None]
