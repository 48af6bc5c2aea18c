"""One replica: decoding as processor sharing in virtual time.

Between two events of a slot its iteration time is constant, so every running sequence gains tokens at the same
rate. A sequence that needs ``n`` more tokens therefore ends when the slot's virtual time (tokens gained by anyone
present all along) has grown by ``n``: one heap entry per sequence instead of one event per token. The idea is the
virtual time of fair queueing (Parekh and Gallager, IEEE/ACM Transactions on Networking 1(3), 1993).
"""

from forebay.simulation.accelerate import compiled
from forebay.simulation.state import (
    DECODE,
    DECODING,
    DONE,
    FINISHED,
    IDLE,
    ITL_SECONDS,
    LOGGED,
    MISSED,
    OUTPUT_TOKENS,
    PREFILL,
    RECOMPUTING,
    RUNNING_SECONDS,
    SERVE,
    SUMS,
    World,
)
from forebay.simulation.structures import NEVER, heap_drop, heap_push, tree_update


@compiled
def settle(w: World, slot: int, now: float) -> None:
    """Bring the tokens of ``slot`` up to ``now``."""
    slots = w.slots
    elapsed = now - slots.updated[slot]
    if elapsed <= 0.0:
        return
    batch = slots.batch[slot]
    slots.updated[slot] = now
    if batch == 0:
        return
    gained = elapsed * slots.rate[slot]
    slots.virtual[slot] += gained
    slots.kv[slot] += batch * gained
    slots.sums[slot * SUMS + RUNNING_SECONDS] += batch * elapsed


@compiled
def reschedule(w: World, slot: int, now: float) -> None:
    """Work out rate, next event and place in the choice of slots of ``slot``, which is settled."""
    slots = w.slots
    batch = slots.batch[slot]
    due = NEVER
    if batch > 0:
        if slots.current[slot] == IDLE:
            rate = 1.0 / (
                slots.step_base[slot] + slots.step_sequence[slot] * batch + slots.step_kv[slot] * slots.kv[slot]
            )
        else:
            rate = slots.stall_rate[slot]
        slots.rate[slot] = rate
        if rate > 0.0:
            ahead = max(0.0, slots.tags[slot * w.rules.batch_limit] - slots.virtual[slot])
            if w.rules.preemption and batch > 1:
                ahead = min(ahead, max(0.0, slots.kv_limit[slot] - slots.kv[slot]) / batch)
            due = now + ahead / rate
    if due != slots.event_key[slot]:
        slots.event_key[slot] = due
        tree_update(slots.event_tree, slots.event_key, slot)
    offer(w, slot)


@compiled
def offer(w: World, slot: int) -> None:
    """Enter ``slot`` among those that may take the next request, or take it out."""
    slots = w.slots
    free = slots.open[slot] == 1
    kind = slots.kind[slot]
    if kind == PREFILL:
        key = slots.rank[slot] if free and slots.current[slot] == IDLE else NEVER
    else:
        batch = slots.batch[slot]
        free = free and batch < slots.max_batch[slot]
        if kind == SERVE:
            free = free and slots.current[slot] == IDLE
        key = (batch + 1) / slots.share[slot] if free else NEVER
    if kind == DECODE:
        if key != slots.load_key[slot]:
            slots.load_key[slot] = key
            tree_update(slots.load_tree, slots.load_key, slot)
    elif key != slots.idle_key[slot]:
        slots.idle_key[slot] = key
        tree_update(slots.idle_tree, slots.idle_key, slot)


@compiled
def set_busy(w: World, slot: int, until: float) -> None:
    """Let the prefill on ``slot`` end at ``until``; NEVER: there is none."""
    w.slots.busy_key[slot] = until
    tree_update(w.slots.busy_tree, w.slots.busy_key, slot)


@compiled
def has_room(w: World, slot: int, request: int) -> bool:
    """Return whether the KV cache of ``slot``, which is settled, takes ``request``."""
    slots = w.slots
    size = float(w.requests.prompt[request] + w.requests.output[request])
    if slots.batch[slot] > 0:
        size += slots.reserved[slot] if w.rules.reserve_kv else slots.kv[slot]
    return bool(size <= slots.kv_limit[slot])


@compiled
def admit(w: World, slot: int, request: int, now: float) -> None:
    """Let ``request`` decode on ``slot`` from ``now`` on; the caller reschedules."""
    slots, requests = w.slots, w.requests
    settle(w, slot, now)
    prompt = requests.prompt[request]
    output = requests.output[request]
    left = float(output)
    resident = float(prompt)
    if w.rules.preemption and requests.left[request] > 0.0:
        left = requests.left[request]
        resident = prompt + output - left
        requests.left[request] = 0.0
        if slots.kind[slot] == DECODE:
            # The cache of an evicted sequence is computed again, and decoding stands still meanwhile.
            start = slots.busy_key[slot] if slots.current[slot] == RECOMPUTING else now
            slots.current[slot] = RECOMPUTING
            slots.stall_rate[slot] = 0.0
            set_busy(w, slot, start + slots.prefill_base[slot] + slots.prefill_token[slot] * resident)
    batch = slots.batch[slot]
    if batch == 0:
        # Virtual time starts again on an empty slot: small numbers keep their digits.
        slots.virtual[slot] = 0.0
        slots.kv[slot] = 0.0
        slots.reserved[slot] = 0.0
    first = slot * w.rules.batch_limit
    heap_push(slots.tags, slots.ids, first, batch, slots.virtual[slot] + left, request)
    slots.batch[slot] = batch + 1
    slots.kv[slot] += resident
    slots.reserved[slot] += prompt + output
    requests.state[request] = DECODING
    if w.rules.log_slots:
        requests.decode_slot[request] = slot


@compiled
def log_end(w: World, request: int, missed: bool) -> None:
    """Note that ``request`` ended, served or not."""
    counters = w.queues.counters
    w.requests.log[counters[LOGGED]] = request
    counters[LOGGED] += 1
    if missed:
        counters[MISSED] += 1


@compiled
def leave(w: World, slot: int, entry: int) -> int:
    """Take heap entry ``entry`` off a settled ``slot`` and return its request; the caller reschedules."""
    slots = w.slots
    first = slot * w.rules.batch_limit
    request = slots.ids[first + entry]
    batch = slots.batch[slot]
    heap_drop(slots.tags, slots.ids, first, batch, entry)
    slots.batch[slot] = batch - 1
    slots.reserved[slot] -= w.requests.prompt[request] + w.requests.output[request]
    return int(request)


@compiled
def complete(w: World, slot: int, now: float) -> None:
    """End the sequence of a settled ``slot`` that has all its tokens."""
    slots, requests = w.slots, w.requests
    slots.virtual[slot] = max(slots.virtual[slot], slots.tags[slot * w.rules.batch_limit])
    request = leave(w, slot, 0)
    output = requests.output[request]
    prompt = requests.prompt[request]
    slots.kv[slot] = max(0.0, slots.kv[slot] - prompt - output)
    requests.done[request] = now
    requests.state[request] = DONE
    ttft = requests.ttft[request]
    transfer = 0.0 if slots.kind[slot] == SERVE else w.rules.transfer_token * prompt
    decoding = max(0.0, now - requests.arrival[request] - ttft - transfer)
    sums = slot * SUMS
    slots.sums[sums + FINISHED] += 1.0
    slots.sums[sums + OUTPUT_TOKENS] += output
    slots.sums[sums + ITL_SECONDS] += decoding
    late = ttft > w.rules.ttft_slo or decoding > w.rules.itl_slo * max(1, output)
    log_end(w, request, late)
