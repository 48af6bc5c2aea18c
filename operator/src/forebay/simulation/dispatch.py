"""Which request is served next, and where: prefill from central queues, decode on the least-loaded slot."""

import math

from forebay.simulation.accelerate import compiled
from forebay.simulation.replica import admit, has_room, log_end, offer, reschedule, set_busy, settle
from forebay.simulation.state import (
    FOR_DECODE,
    HELD,
    IN_TIME,
    LATE,
    PREFILLING,
    QUEUES,
    READY,
    REJECTED,
    SERVE,
    WAITING,
    World,
)
from forebay.simulation.structures import NEVER, FloatArray, queue_append, queue_pop, queue_prepend


@compiled
def level_of(w: World, request: int) -> int:
    """Return the priority class of ``request``."""
    return int(w.requests.level[request]) if w.rules.classes > 1 else 0


@compiled
def arrive(w: World, request: int, now: float) -> None:
    """Put ``request`` into the queue of its class, or refuse it when no KV cache could hold it."""
    requests, queues = w.requests, w.queues
    if requests.prompt[request] + requests.output[request] > w.rules.kv_room:
        requests.state[request] = REJECTED
        log_end(w, request, True)
        return
    requests.state[request] = WAITING
    queue = level_of(w, request) * QUEUES + IN_TIME
    queue_append(requests.link, queues.heads, queues.tails, queues.counts, queue, request)
    queues.counters[HELD] += 1
    dispatch(w, now)


@compiled
def wait_again(w: World, request: int) -> None:
    """Put ``request`` before all others of its class: it lost its replica or its KV cache."""
    requests, queues = w.requests, w.queues
    requests.state[request] = WAITING
    queue = level_of(w, request) * QUEUES + IN_TIME
    queue_prepend(requests.link, queues.heads, queues.tails, queues.counts, queue, request)
    queues.counters[HELD] += 1


@compiled
def work_of(w: World, request: int) -> float:
    """Return the tokens to prefill, those of an evicted sequence's answer so far included."""
    if w.rules.preemption and w.requests.left[request] > 0.0:
        return float(w.requests.prompt[request] + w.requests.output[request] - w.requests.left[request])
    return float(w.requests.work[request])


@compiled
def choose_queue(w: World, slot: int, now: float) -> int:
    """Return the queue whose first request is next: classes from high to low, late requests after all others."""
    requests, queues, slots, rules = w.requests, w.queues, w.slots, w.rules
    for level in range(rules.classes - 1, -1, -1):
        queue = level * QUEUES + IN_TIME
        while queues.counts[queue] > 0:
            if not rules.late_last:
                return queue
            request = queues.heads[queue]
            work = requests.work[request]
            end = now + slots.prefill_base[slot] + slots.prefill_token[slot] * work
            if end - requests.arrival[request] <= rules.ttft_slo:
                return queue
            if rules.fast_base + rules.fast_token * work > rules.ttft_slo:
                return queue  # it could never be in time, so it is not late
            queue_pop(requests.link, queues.heads, queues.tails, queues.counts, queue)
            queue_append(requests.link, queues.heads, queues.tails, queues.counts, level * QUEUES + LATE, request)
    for level in range(rules.classes - 1, -1, -1):
        if queues.counts[level * QUEUES + LATE] > 0:
            return level * QUEUES + LATE
    return -1


@compiled
def dispatch(w: World, now: float) -> None:
    """Start prefills while a request waits and a slot can take it."""
    requests, queues, slots = w.requests, w.queues, w.slots
    while queues.counters[HELD] > 0:
        slot = slots.idle_tree[1]
        if slots.idle_key[slot] >= NEVER:
            return
        queue = choose_queue(w, slot, now)
        if queue < 0:
            return
        request = queues.heads[queue]
        if slots.kind[slot] == SERVE:
            slot = slot_with_room(w, slot, slots.idle_key, request, now)
            if slot < 0:
                return
        queue_pop(requests.link, queues.heads, queues.tails, queues.counts, queue)
        queues.counters[HELD] -= 1
        start_prefill(w, slot, request, now)


@compiled
def start_prefill(w: World, slot: int, request: int, now: float) -> None:
    """Run the prefill of ``request`` on ``slot``, whose decoding stands still or slows down meanwhile."""
    requests, slots = w.requests, w.slots
    work = work_of(w, request)
    seconds = slots.prefill_base[slot] + slots.prefill_token[slot] * work
    requests.state[request] = PREFILLING
    if w.rules.log_slots:
        requests.started[request] = now
        requests.prefill_slot[request] = slot
    if slots.kind[slot] == SERVE:
        settle(w, slot, now)
        slots.stall_rate[slot] = 0.0
        batch = slots.batch[slot]
        if w.rules.chunk > 0.0 and batch > 0:
            chunks = math.ceil(work / w.rules.chunk)
            step = slots.step_base[slot] + slots.step_sequence[slot] * batch + slots.step_kv[slot] * slots.kv[slot]
            seconds += chunks * step
            slots.stall_rate[slot] = chunks / seconds
        slots.current[slot] = request
        reschedule(w, slot, now)
    else:
        slots.current[slot] = request
        offer(w, slot)
    set_busy(w, slot, now + seconds)


@compiled
def slot_with_room(w: World, best: int, keys: FloatArray, request: int, now: float) -> int:
    """Return the slot of smallest key whose KV cache takes ``request``, ``best`` being the smallest, or -1."""
    settle(w, best, now)
    if has_room(w, best, request):
        return best
    chosen = -1
    for slot in range(len(keys)):
        if keys[slot] >= NEVER or (chosen >= 0 and keys[slot] >= keys[chosen]):
            continue
        settle(w, slot, now)
        if has_room(w, slot, request):
            chosen = slot
    return chosen


@compiled
def enter_decode(w: World, request: int, now: float) -> None:
    """Let a request whose KV cache has arrived wait for a decode slot, and admit whom there is room for."""
    requests, queues = w.requests, w.queues
    requests.state[request] = READY
    queue = level_of(w, request) * QUEUES + FOR_DECODE
    queue_append(requests.link, queues.heads, queues.tails, queues.counts, queue, request)
    admit_waiting(w, now)


@compiled
def admit_waiting(w: World, now: float) -> None:
    """Admit requests that wait for a decode slot, in order, until the first one that fits nowhere."""
    requests, queues, slots = w.requests, w.queues, w.slots
    for level in range(w.rules.classes - 1, -1, -1):
        queue = level * QUEUES + FOR_DECODE
        while queues.counts[queue] > 0:
            best = slots.load_tree[1]
            if slots.load_key[best] >= NEVER:
                return
            request = queues.heads[queue]
            slot = slot_with_room(w, best, slots.load_key, request, now)
            if slot < 0:
                return
            queue_pop(requests.link, queues.heads, queues.tails, queues.counts, queue)
            admit(w, slot, request, now)
            reschedule(w, slot, now)
