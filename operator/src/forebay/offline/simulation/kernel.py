"""The event loop: arrivals, prefill ends, KV transfers, decode completions and time-outs in order of time."""

import math
from collections.abc import Callable

from forebay.offline.simulation import clients as _clients
from forebay.offline.simulation import dispatch as _dispatch
from forebay.offline.simulation import kernel_state as _state
from forebay.offline.simulation import slot_physics as _slot_physics
from forebay.offline.simulation import structures as _structures
from forebay.offline.simulation.accelerate import compiled, compiled_entry, fingerprint
from forebay.offline.simulation.clients import arrive_next, expire_next, next_arrival, next_expiry
from forebay.offline.simulation.dispatch import (
    admit_waiting,
    dispatch,
    enter_decode,
    level_of,
    wait_again,
    work_of,
)
from forebay.offline.simulation.kernel_state import (
    BATCH,
    CURRENT,
    DECODE,
    EVICTIONS,
    FOR_DECODE,
    GONE,
    IDLE,
    IN_TRANSFER,
    KIND,
    KV,
    KV_LIMIT,
    MOVING,
    NEXT_TOKEN,
    OPEN,
    PREFILL,
    PREFILL_BASE,
    PREFILL_END,
    PREFILL_SECONDS,
    PREFILL_TOKEN,
    PREFILL_TOKENS,
    PREFILLS,
    QUEUES,
    RECOMPUTING,
    RETRIES,
    SERVE,
    SUMS,
    VIRTUAL,
    KernelState,
)
from forebay.offline.simulation.slot_physics import (
    admit,
    complete,
    leave,
    offer,
    reschedule,
    set_busy,
    settle,
)
from forebay.offline.simulation.structures import NEVER, IntArray, heap_drop, heap_push, queue_prepend

FINISHED_RUN, NEEDS_ROOM = 0, 1
"""Results of `advance`: all done, or a structure is full and must grow before the next call."""


@compiled
def end_prefill(w: KernelState, slot: int, now: float) -> None:
    """End the prefill on ``slot``: the first token is out, the KV cache is sent, and the slot is free."""
    request = int(w.counts[CURRENT, slot])
    kind = w.counts[KIND, slot]
    if kind != PREFILL:
        settle(w, slot, now)
    set_busy(w, slot, NEVER)
    w.counts[CURRENT, slot] = IDLE
    if request == RECOMPUTING:
        reschedule(w, slot, now)
        return
    work = work_of(w, request)
    sums = slot * SUMS
    w.sums[sums + PREFILLS] += 1.0
    w.sums[sums + PREFILL_TOKENS] += work
    w.sums[sums + PREFILL_SECONDS] += w.gauges[PREFILL_BASE, slot] + w.gauges[PREFILL_TOKEN, slot] * work
    if not (w.rules.preemption and w.left[request] > 0.0):
        w.ttft[request] = now - w.arrival[request]
    if kind == SERVE:
        admit(w, slot, request, now)
        reschedule(w, slot, now)
    else:
        w.state[request] = MOVING
        arrives = now + w.rules.transfer_token * w.prompt[request]
        heap_push(w.transfer_key, w.transfer_id, 0, w.counters[IN_TRANSFER], arrives, request)
        w.counters[IN_TRANSFER] += 1
        offer(w, slot)
        if w.counts[OPEN, slot] == 0:
            w.gauges[GONE, slot] = now
    dispatch(w, now)


@compiled
def end_transfer(w: KernelState, now: float) -> None:
    """Handle a KV cache that has reached the decode side."""
    request = int(w.transfer_id[0])
    heap_drop(w.transfer_key, w.transfer_id, 0, w.counters[IN_TRANSFER], 0)
    w.counters[IN_TRANSFER] -= 1
    enter_decode(w, request, now)


@compiled
def decode_event(w: KernelState, slot: int, now: float) -> None:
    """Handle a sequence of ``slot`` that has all its tokens, or the full KV cache of ``slot``."""
    settle(w, slot, now)
    batch = w.counts[BATCH, slot]
    tokens_to_end = w.tags[slot * w.rules.batch_limit] - w.gauges[VIRTUAL, slot]
    if (
        w.rules.preemption
        and batch > 1
        and (w.gauges[KV_LIMIT, slot] - w.gauges[KV, slot]) / batch < tokens_to_end - 1e-6
    ):
        evict_youngest(w, slot)
    else:
        complete(w, slot, now)
    reschedule(w, slot, now)
    if w.counts[BATCH, slot] == 0 and w.counts[OPEN, slot] == 0 and w.counts[CURRENT, slot] == IDLE:
        w.gauges[GONE, slot] = now
    if w.counts[KIND, slot] == DECODE:
        admit_waiting(w, now)
    else:
        dispatch(w, now)


@compiled
def evict_youngest(w: KernelState, slot: int) -> None:
    """Evict the sequence that began last, as vLLM does. It goes to the front of the queue and is recomputed."""
    first = slot * w.rules.batch_limit
    youngest = 0
    newest = -1.0
    for entry in range(w.counts[BATCH, slot]):
        request = int(w.ids[first + entry])
        began = w.arrival[request] + w.ttft[request]
        if began > newest:
            newest = began
            youngest = entry
    left = max(1e-9, w.tags[first + youngest] - w.gauges[VIRTUAL, slot])
    request = leave(w, slot, youngest)
    w.left[request] = left
    w.gauges[KV, slot] -= w.prompt[request] + w.output[request] - left
    w.counters[EVICTIONS] += 1
    if w.counts[KIND, slot] == SERVE:
        wait_again(w, request)
    else:
        w.state[request] = _state.READY
        queue = level_of(w, request) * QUEUES + FOR_DECODE
        queue_prepend(w.link, w.queues, queue, request)


@compiled
def step(w: KernelState, until: float) -> bool:
    """Handle the next event if it is not after ``until``; ties: completions first, arrivals and time-outs last."""
    decoder = int(w.trees[NEXT_TOKEN, 1])
    when = w.keys[NEXT_TOKEN, decoder]
    what = 0
    if w.counters[IN_TRANSFER] > 0 and w.transfer_key[0] < when:
        when = w.transfer_key[0]
        what = 1
    prefiller = int(w.trees[PREFILL_END, 1])
    if w.keys[PREFILL_END, prefiller] < when:
        when = w.keys[PREFILL_END, prefiller]
        what = 2
    arrival = next_arrival(w)
    if arrival < when:
        when = arrival
        what = 3
    if w.rules.timeout < NEVER:
        expiry = next_expiry(w)
        if expiry < when:
            when = expiry
            what = 4
    if when > until:
        return False
    if what == 0:
        decode_event(w, decoder, when)
    elif what == 1:
        end_transfer(w, when)
    elif what == 2:
        end_prefill(w, prefiller, when)
    elif what == 3:
        arrive_next(w, when)
    else:
        expire_next(w, when)
    return True


VERSION = int(
    fingerprint(
        vars(_structures),
        vars(_state),
        vars(_slot_physics),
        vars(_dispatch),
        vars(_clients),
        globals(),
    )[:12],
    16,
)
"""Part of the key of the compiled code on disk: it changes with any function of the simulator."""


def _make_advance(version: int) -> Callable[[KernelState, float], int]:
    def advance(w: KernelState, until: float) -> int:
        counters = w.counters
        if version < 0:
            return FINISHED_RUN
        while True:
            if counters[IN_TRANSFER] >= len(w.transfer_key) or counters[RETRIES] >= len(w.retry_id):
                return NEEDS_ROOM
            if not step(w, until):
                return FINISHED_RUN

    return compiled_entry(advance)


def _make_nudge(version: int) -> Callable[[KernelState, int, float], None]:
    def nudge(w: KernelState, slot: int, now: float) -> None:
        if version < 0:
            return
        settle(w, slot, now)
        reschedule(w, slot, now)
        if w.counts[OPEN, slot] == 0 and w.counts[BATCH, slot] == 0 and w.counts[CURRENT, slot] == IDLE:
            w.gauges[GONE, slot] = now
        dispatch(w, now)
        admit_waiting(w, now)

    return compiled_entry(nudge)


def _make_requeue(version: int) -> Callable[[KernelState, int, IntArray, float], None]:
    def requeue(w: KernelState, slot: int, lost: IntArray, now: float) -> None:
        if version < 0:
            return
        set_busy(w, slot, NEVER)
        w.counts[CURRENT, slot] = IDLE
        w.counts[BATCH, slot] = 0
        w.counts[OPEN, slot] = 0
        w.gauges[GONE, slot] = now
        reschedule(w, slot, now)
        for index in range(len(lost) - 1, -1, -1):
            request = lost[index]
            w.ttft[request] = math.nan
            if w.rules.preemption:
                w.left[request] = 0.0
            wait_again(w, request)
        dispatch(w, now)

    return compiled_entry(requeue)


advance = _make_advance(VERSION)
"""``advance(w, until)``: run all events up to and including ``until``."""

nudge = _make_nudge(VERSION)
"""``nudge(w, slot, now)``: update the choice of slots after ``slot`` was opened or closed."""

requeue = _make_requeue(VERSION)
"""``requeue(w, slot, lost, now)``: ``slot`` failed; the requests ``lost`` (ascending) start again."""
