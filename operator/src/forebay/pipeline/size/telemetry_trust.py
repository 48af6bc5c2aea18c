"""Whether what was observed of a pool is enough to release anything."""

from collections.abc import Mapping

from forebay.flow.decision import Reason, ReasonCode, Step
from forebay.flow.observation import PoolObservation, Problem
from forebay.pipeline.remember.memory import PoolMemory

_ALWAYS_TELLING = frozenset(
    {Problem.STALE, Problem.NOT_A_NUMBER, Problem.DUPLICATE, Problem.PARTIAL, Problem.UNREACHABLE}
)
_OLDEST_TRAFFIC_SECONDS = 90.0


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
    return Reason(step=Step.OBSERVE, code=ReasonCode.TELEMETRY_MISSING, message=message, numbers=_ages(observed))


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
