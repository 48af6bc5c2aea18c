"""Requests that arrive, clients that give up, and clients that try again."""

from forebay.offline.simulation.accelerate import compiled
from forebay.offline.simulation.dispatch import arrive, level_of
from forebay.offline.simulation.kernel_state import (
    EXPIRE_NEXT,
    HELD,
    IN_TIME,
    LATE,
    NEXT,
    QUEUES,
    RETRIES,
    RETRY_EXPIRE,
    RETRY_NEXT,
    TIMED_OUT,
    TOTAL,
    WAITING,
    KernelState,
)
from forebay.offline.simulation.slot_physics import log_end
from forebay.offline.simulation.structures import NEVER, queue_remove


@compiled
def next_arrival(w: KernelState) -> float:
    """Return when the next request of the trace or of the retry list arrives."""
    counters = w.counters
    soonest = NEVER
    if counters[NEXT] < counters[TOTAL]:
        soonest = w.arrival[counters[NEXT]]
    if counters[RETRY_NEXT] < counters[RETRIES]:
        soonest = min(soonest, w.retry_time[counters[RETRY_NEXT]])
    return float(soonest)


@compiled
def arrive_next(w: KernelState, now: float) -> None:
    """Take the next request of the trace or of the retry list, whichever is due at ``now``."""
    counters = w.counters
    request = counters[NEXT]
    if request < counters[TOTAL] and w.arrival[request] <= now:
        counters[NEXT] += 1
        arrive(w, request, now)
        return
    request = int(w.retry_id[counters[RETRY_NEXT]])
    counters[RETRY_NEXT] += 1
    arrive(w, request, now)


@compiled
def next_expiry(w: KernelState) -> float:
    """Return when the next time-out must be checked."""
    rules = w.rules
    counters = w.counters
    soonest = NEVER
    if counters[EXPIRE_NEXT] < counters[NEXT]:
        soonest = w.arrival[counters[EXPIRE_NEXT]] + rules.timeout
    if counters[RETRY_EXPIRE] < counters[RETRY_NEXT]:
        soonest = min(soonest, w.retry_time[counters[RETRY_EXPIRE]] + rules.timeout)
    return float(soonest)


@compiled
def expire(w: KernelState, request: int, now: float) -> None:
    """Let the client of ``request`` give up if it still waits for its prefill; it may try again later."""
    rules = w.rules
    if w.state[request] != WAITING:
        return
    first = level_of(w, request) * QUEUES
    found = queue_remove(w.link, w.queues, first + IN_TIME, request)
    if not found:
        queue_remove(w.link, w.queues, first + LATE, request)
    w.counters[HELD] -= 1
    w.attempt[request] += 1
    w.state[request] = TIMED_OUT
    if w.attempt[request] > rules.retries:
        log_end(w, request, True, True)
        return
    entry = w.counters[RETRIES]
    w.retry_id[entry] = request
    w.retry_time[entry] = now + rules.backoff
    w.counters[RETRIES] += 1


@compiled
def expire_next(w: KernelState, now: float) -> None:
    """Check the time-out that `next_expiry` returned."""
    rules = w.rules
    counters = w.counters
    entry = counters[EXPIRE_NEXT]
    if entry < counters[NEXT] and w.arrival[entry] + rules.timeout <= now:
        counters[EXPIRE_NEXT] += 1
        expire(w, entry, now)
        return
    request = int(w.retry_id[counters[RETRY_EXPIRE]])
    counters[RETRY_EXPIRE] += 1
    expire(w, request, now)
