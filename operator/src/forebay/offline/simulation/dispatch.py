"""Which request is served next, and where: prefill from central queues, decode on the least-loaded slot."""

import math

from forebay.offline.simulation.accelerate import compiled
from forebay.offline.simulation.kernel_state import (
    BATCH,
    CURRENT,
    FOR_DECODE,
    FREE,
    HELD,
    IN_TIME,
    KIND,
    LATE,
    LOAD,
    PREFILL_BASE,
    PREFILL_TOKEN,
    PREFILLING,
    QUEUES,
    READY,
    REJECTED,
    SERVE,
    STALL_RATE,
    WAITING,
    KernelState,
)
from forebay.offline.simulation.slot_physics import (
    admit,
    has_room,
    log_end,
    offer,
    reschedule,
    set_busy,
    settle,
    step_seconds,
)
from forebay.offline.simulation.structures import HEAD, LENGTH, NEVER, queue_append, queue_pop, queue_prepend


@compiled
def level_of(w: KernelState, request: int) -> int:
    """Return the priority class of ``request``."""
    return int(w.level[request]) if w.rules.classes > 1 else 0


@compiled
def arrive(w: KernelState, request: int, now: float) -> None:
    """Put ``request`` into the queue of its class, or refuse it when no KV cache could hold it."""
    if w.prompt[request] + w.output[request] > w.rules.kv_room:
        w.state[request] = REJECTED
        log_end(w, request, True, True)
        return
    w.state[request] = WAITING
    queue = level_of(w, request) * QUEUES + IN_TIME
    queue_append(w.link, w.queues, queue, request)
    w.counters[HELD] += 1
    dispatch(w, now)


@compiled
def wait_again(w: KernelState, request: int) -> None:
    """Put ``request``, which lost its replica or its KV cache, before all others of its class."""
    w.state[request] = WAITING
    queue = level_of(w, request) * QUEUES + IN_TIME
    queue_prepend(w.link, w.queues, queue, request)
    w.counters[HELD] += 1


@compiled
def work_of(w: KernelState, request: int) -> float:
    """Return the tokens to prefill; for an evicted sequence, these include its answer so far."""
    if w.rules.preemption and w.left[request] > 0.0:
        return float(w.prompt[request] + w.output[request] - w.left[request])
    return float(w.work[request])


@compiled
def choose_queue(w: KernelState, slot: int, now: float) -> int:
    """Return the queue whose first request is next. Higher classes come first, late requests after all others."""
    rules = w.rules
    for level in range(rules.classes - 1, -1, -1):
        queue = level * QUEUES + IN_TIME
        while w.queues[LENGTH, queue] > 0:
            if not rules.late_last:
                return queue
            request = int(w.queues[HEAD, queue])
            work = w.work[request]
            end = now + w.gauges[PREFILL_BASE, slot] + w.gauges[PREFILL_TOKEN, slot] * work
            if end - w.arrival[request] <= rules.ttft_slo:
                return queue
            if rules.fast_base + rules.fast_token * work > rules.ttft_slo:
                return queue  # it could never be in time, so it does not count as late
            queue_pop(w.link, w.queues, queue)
            queue_append(w.link, w.queues, level * QUEUES + LATE, request)
    for level in range(rules.classes - 1, -1, -1):
        if w.queues[LENGTH, level * QUEUES + LATE] > 0:
            return level * QUEUES + LATE
    return -1


@compiled
def dispatch(w: KernelState, now: float) -> None:
    """Start prefills while a request waits and a slot can take it."""
    while w.counters[HELD] > 0:
        slot = int(w.trees[FREE, 1])
        if w.keys[FREE, slot] >= NEVER:
            return
        queue = choose_queue(w, slot, now)
        if queue < 0:
            return
        request = int(w.queues[HEAD, queue])
        if w.counts[KIND, slot] == SERVE:
            slot = slot_with_room(w, slot, FREE, request, now)
            if slot < 0:
                return
        queue_pop(w.link, w.queues, queue)
        w.counters[HELD] -= 1
        start_prefill(w, slot, request, now)


@compiled
def start_prefill(w: KernelState, slot: int, request: int, now: float) -> None:
    """Run the prefill of ``request`` on ``slot``, whose decoding stops or slows down meanwhile."""
    work = work_of(w, request)
    seconds = w.gauges[PREFILL_BASE, slot] + w.gauges[PREFILL_TOKEN, slot] * work
    w.state[request] = PREFILLING
    if w.rules.log_slots:
        w.started[request] = now
        w.prefill_slot[request] = slot
    if w.counts[KIND, slot] == SERVE:
        settle(w, slot, now)
        w.gauges[STALL_RATE, slot] = 0.0
        batch = w.counts[BATCH, slot]
        if w.rules.chunk > 0.0 and batch > 0:
            chunks = math.ceil(work / w.rules.chunk)
            seconds += chunks * step_seconds(w, slot)
            w.gauges[STALL_RATE, slot] = chunks / seconds
        w.counts[CURRENT, slot] = request
        reschedule(w, slot, now)
    else:
        w.counts[CURRENT, slot] = request
        offer(w, slot)
    set_busy(w, slot, now + seconds)


@compiled
def slot_with_room(w: KernelState, best: int, row: int, request: int, now: float) -> int:
    """Return the slot of smallest key whose KV cache takes ``request``, ``best`` being the smallest, or -1."""
    settle(w, best, now)
    if has_room(w, best, request):
        return best
    chosen = -1
    for slot in range(w.keys.shape[1]):
        key = w.keys[row, slot]
        if key >= NEVER or (chosen >= 0 and key >= w.keys[row, chosen]):
            continue
        settle(w, slot, now)
        if has_room(w, slot, request):
            chosen = slot
    return chosen


@compiled
def enter_decode(w: KernelState, request: int, now: float) -> None:
    """Let a request whose KV cache has arrived wait for a decode slot, and admit all requests that fit."""
    w.state[request] = READY
    queue = level_of(w, request) * QUEUES + FOR_DECODE
    queue_append(w.link, w.queues, queue, request)
    admit_waiting(w, now)


@compiled
def admit_waiting(w: KernelState, now: float) -> None:
    """Admit requests that wait for a decode slot, in order, until the first one that fits nowhere."""
    for level in range(w.rules.classes - 1, -1, -1):
        queue = level * QUEUES + FOR_DECODE
        while w.queues[LENGTH, queue] > 0:
            best = int(w.trees[LOAD, 1])
            if w.keys[LOAD, best] >= NEVER:
                return
            request = int(w.queues[HEAD, queue])
            slot = slot_with_room(w, best, LOAD, request, now)
            if slot < 0:
                return
            queue_pop(w.link, w.queues, queue)
            admit(w, slot, request, now)
            reschedule(w, slot, now)
