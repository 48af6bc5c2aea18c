"""One replica: decoding as processor sharing in virtual time.

All running sequences of a slot gain tokens at the same rate, which falls as the KV cache fills. A sequence that
needs ``n`` more tokens therefore ends when the slot's virtual time (tokens gained by a sequence that was there
from the beginning) has grown by ``n``: one heap entry per sequence instead of one event per token. The idea is
the virtual time of fair queueing (Parekh and Gallager, IEEE/ACM Transactions on Networking 1(3), 1993).
"""

import math

from forebay.offline.simulation.accelerate import compiled
from forebay.offline.simulation.kernel_state import (
    BATCH,
    CURRENT,
    DECODE,
    DECODING,
    DONE,
    FINISHED,
    FREE,
    GROWTH,
    IDLE,
    ITL_SECONDS,
    KIND,
    KV,
    KV_LIMIT,
    LOAD,
    LOGGED,
    MAX_BATCH,
    MISSED,
    MISSED_TTFT,
    NEXT_TOKEN,
    OPEN,
    OUTPUT_TOKENS,
    PREFILL,
    PREFILL_BASE,
    PREFILL_END,
    PREFILL_TOKEN,
    RANK,
    RATE,
    RECOMPUTING,
    RESERVED,
    RUNNING_SECONDS,
    SERVE,
    SHARE,
    STALL_RATE,
    STEP_BASE,
    STEP_KV,
    STEP_SEQUENCE,
    SUMS,
    UPDATED,
    VIRTUAL,
    KernelState,
)
from forebay.offline.simulation.structures import NEVER, heap_drop, heap_push, tree_update


@compiled
def tokens_gained(elapsed: float, rate: float, growth: float) -> float:
    """Return the tokens per sequence after ``elapsed`` seconds that begin at ``rate``.

    Every token of every sequence stays in the KV cache, so the step's time grows by ``growth`` with each token.
    So x tokens take ``x / rate + growth * x**2 / 2`` seconds. This is the inverse, in a form that also holds for
    ``growth`` 0.
    """
    return 2.0 * elapsed * rate / (1.0 + math.sqrt(1.0 + 2.0 * growth * elapsed * rate * rate))


@compiled
def settle(w: KernelState, slot: int, now: float) -> None:
    """Bring the tokens of ``slot`` up to ``now``."""
    elapsed = now - w.gauges[UPDATED, slot]
    if elapsed <= 0.0:
        return
    batch = w.counts[BATCH, slot]
    w.gauges[UPDATED, slot] = now
    if batch == 0:
        return
    rate = w.gauges[RATE, slot]
    growth = w.gauges[GROWTH, slot]
    gained = tokens_gained(elapsed, rate, growth)
    w.gauges[RATE, slot] = rate / (1.0 + rate * growth * gained)
    w.gauges[VIRTUAL, slot] += gained
    w.gauges[KV, slot] += batch * gained
    w.sums[slot * SUMS + RUNNING_SECONDS] += batch * elapsed


@compiled
def step_seconds(w: KernelState, slot: int) -> float:
    """Return the time of one decode iteration of a settled ``slot``."""
    return float(
        w.gauges[STEP_BASE, slot]
        + w.gauges[STEP_SEQUENCE, slot] * w.counts[BATCH, slot]
        + w.gauges[STEP_KV, slot] * w.gauges[KV, slot]
    )


@compiled
def reschedule(w: KernelState, slot: int, now: float) -> None:
    """Compute rate, next event and place in the choice of slots of ``slot``, which is settled."""
    batch = w.counts[BATCH, slot]
    due = NEVER
    if batch > 0:
        growth = 0.0
        if w.counts[CURRENT, slot] == IDLE:
            rate = 1.0 / step_seconds(w, slot)
            growth = w.gauges[STEP_KV, slot] * batch
        else:
            rate = w.gauges[STALL_RATE, slot]
        w.gauges[RATE, slot] = rate
        w.gauges[GROWTH, slot] = growth
        if rate > 0.0:
            ahead = max(0.0, w.tags[slot * w.rules.batch_limit] - w.gauges[VIRTUAL, slot])
            if w.rules.preemption and batch > 1:
                ahead = min(ahead, max(0.0, w.gauges[KV_LIMIT, slot] - w.gauges[KV, slot]) / batch)
            due = now + ahead * (1.0 / rate + growth * ahead / 2.0)
    if due != w.keys[NEXT_TOKEN, slot]:
        w.keys[NEXT_TOKEN, slot] = due
        tree_update(w.trees, w.keys, NEXT_TOKEN, slot)
    offer(w, slot)


@compiled
def offer(w: KernelState, slot: int) -> None:
    """Add ``slot`` to those that may take the next request, or remove it."""
    free = w.counts[OPEN, slot] == 1
    kind = w.counts[KIND, slot]
    if kind == PREFILL:
        key = w.gauges[RANK, slot] if free and w.counts[CURRENT, slot] == IDLE else NEVER
    else:
        batch = w.counts[BATCH, slot]
        free = free and batch < w.counts[MAX_BATCH, slot]
        if kind == SERVE:
            free = free and w.counts[CURRENT, slot] == IDLE
        key = (batch + 1) / w.gauges[SHARE, slot] if free else NEVER
    if kind == DECODE:
        if key != w.keys[LOAD, slot]:
            w.keys[LOAD, slot] = key
            tree_update(w.trees, w.keys, LOAD, slot)
    elif key != w.keys[FREE, slot]:
        w.keys[FREE, slot] = key
        tree_update(w.trees, w.keys, FREE, slot)


@compiled
def set_busy(w: KernelState, slot: int, until: float) -> None:
    """Let the prefill on ``slot`` end at ``until``; NEVER: there is none."""
    w.keys[PREFILL_END, slot] = until
    tree_update(w.trees, w.keys, PREFILL_END, slot)


@compiled
def has_room(w: KernelState, slot: int, request: int) -> bool:
    """Return whether the KV cache of ``slot``, which is settled, takes ``request``."""
    size = float(w.prompt[request] + w.output[request])
    if w.counts[BATCH, slot] > 0:
        size += w.gauges[RESERVED, slot] if w.rules.reserve_kv else w.gauges[KV, slot]
    return bool(size <= w.gauges[KV_LIMIT, slot])


@compiled
def admit(w: KernelState, slot: int, request: int, now: float) -> None:
    """Let ``request`` decode on ``slot`` from ``now`` on; the caller reschedules."""
    settle(w, slot, now)
    prompt = w.prompt[request]
    output = w.output[request]
    left = float(output)
    resident = float(prompt)
    if w.rules.preemption and w.left[request] > 0.0:
        left = w.left[request]
        resident = prompt + output - left
        w.left[request] = 0.0
        if w.counts[KIND, slot] == DECODE:
            # The cache of an evicted sequence is computed again, and decoding stops meanwhile.
            start = w.keys[PREFILL_END, slot] if w.counts[CURRENT, slot] == RECOMPUTING else now
            w.counts[CURRENT, slot] = RECOMPUTING
            w.gauges[STALL_RATE, slot] = 0.0
            set_busy(w, slot, start + w.gauges[PREFILL_BASE, slot] + w.gauges[PREFILL_TOKEN, slot] * resident)
    batch = w.counts[BATCH, slot]
    if batch == 0:
        # Virtual time starts again on an empty slot, because small numbers keep more digits.
        w.gauges[VIRTUAL, slot] = 0.0
        w.gauges[KV, slot] = 0.0
        w.gauges[RESERVED, slot] = 0.0
    first = slot * w.rules.batch_limit
    heap_push(w.tags, w.ids, first, batch, w.gauges[VIRTUAL, slot] + left, request)
    w.counts[BATCH, slot] = batch + 1
    w.gauges[KV, slot] += resident
    w.gauges[RESERVED, slot] += prompt + output
    w.state[request] = DECODING
    if w.rules.log_slots:
        w.decode_slot[request] = slot


@compiled
def log_end(w: KernelState, request: int, missed: bool, missed_ttft: bool) -> None:
    """Note that ``request`` ended, served or not."""
    counters = w.counters
    w.log[counters[LOGGED]] = request
    counters[LOGGED] += 1
    if missed:
        counters[MISSED] += 1
    if missed_ttft:
        counters[MISSED_TTFT] += 1


@compiled
def leave(w: KernelState, slot: int, entry: int) -> int:
    """Remove heap entry ``entry`` from a settled ``slot`` and return its request; the caller reschedules."""
    first = slot * w.rules.batch_limit
    request = int(w.ids[first + entry])
    batch = w.counts[BATCH, slot]
    heap_drop(w.tags, w.ids, first, batch, entry)
    w.counts[BATCH, slot] = batch - 1
    w.gauges[RESERVED, slot] -= w.prompt[request] + w.output[request]
    return int(request)


@compiled
def complete(w: KernelState, slot: int, now: float) -> None:
    """End the sequence of a settled ``slot`` that has all its tokens."""
    w.gauges[VIRTUAL, slot] = max(w.gauges[VIRTUAL, slot], w.tags[slot * w.rules.batch_limit])
    request = leave(w, slot, 0)
    output = w.output[request]
    prompt = w.prompt[request]
    w.gauges[KV, slot] = max(0.0, w.gauges[KV, slot] - prompt - output)
    w.done[request] = now
    w.state[request] = DONE
    ttft = w.ttft[request]
    transfer = 0.0 if w.counts[KIND, slot] == SERVE else w.rules.transfer_token * prompt
    decoding = max(0.0, now - w.arrival[request] - ttft - transfer)
    sums = slot * SUMS
    w.sums[sums + FINISHED] += 1.0
    w.sums[sums + OUTPUT_TOKENS] += output
    w.sums[sums + ITL_SECONDS] += decoding
    late = ttft > w.rules.ttft_slo
    log_end(w, request, late or decoding > w.rules.itl_slo * max(1, output), late)
