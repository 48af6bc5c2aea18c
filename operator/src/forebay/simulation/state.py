"""The simulator's state as arrays, one tuple per thing: requests, slots (replicas), queues, rules."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.simulation.structures import NEVER, FloatArray, IntArray, LinkArray

ByteArray = npt.NDArray[np.uint8]

# Where a request is (Requests.state).
AHEAD, WAITING, PREFILLING, MOVING, READY, DECODING, DONE, TIMED_OUT, REJECTED = range(9)

# What a slot is (Slots.kind).
EMPTY, PREFILL, DECODE, SERVE = range(4)

# Slots.current of a slot that prefills nothing, and of one that recomputes an evicted sequence.
IDLE, RECOMPUTING = -1, -2

# Columns of Slots.sums: what one replica did since the last reading.
FINISHED, OUTPUT_TOKENS, PREFILLS, PREFILL_TOKENS, PREFILL_SECONDS, ITL_SECONDS, RUNNING_SECONDS, SUMS = range(8)

# Entries of Queues.counters.
(
    NEXT,  # first request of the trace that has not arrived
    TOTAL,  # requests known
    LOGGED,  # requests that ended, in Requests.log
    MISSED,  # of these, requests that missed the SLO
    IN_TRANSFER,  # size of the transfer heap
    HELD,  # requests that wait for prefill, over all queues
    RETRIES,  # entries of the retry list
    RETRY_NEXT,  # first retry that has not arrived
    EXPIRE_NEXT,  # first request of the trace whose time-out has not been looked at
    RETRY_EXPIRE,  # first retry whose time-out has not been looked at
    EVICTIONS,  # sequences evicted from a full KV cache
    COUNTERS,
) = range(12)

# Queues of one priority class: class * QUEUES + one of these.
IN_TIME, LATE, FOR_DECODE, QUEUES = range(4)


class Requests(NamedTuple):
    """One entry per request. Optional columns have length 1 when their feature is off."""

    arrival: FloatArray
    prompt: IntArray
    """Input tokens, which occupy the KV cache."""
    work: IntArray
    """Input tokens that prefill computes (without prefix-cache hits)."""
    output: IntArray
    ttft: FloatArray
    done: FloatArray
    link: LinkArray
    state: ByteArray
    log: LinkArray
    """Requests in the order in which they ended."""
    level: ByteArray
    """Priority class, 0 the lowest (optional)."""
    left: FloatArray
    """Output tokens still to come of an evicted sequence, else 0 (optional)."""
    attempt: ByteArray
    """Time-outs so far (optional)."""
    started: FloatArray
    """When the last prefill began (optional)."""
    prefill_slot: LinkArray
    decode_slot: LinkArray


class Slots(NamedTuple):
    """One entry per slot, which holds one ready or draining replica, or none."""

    kind: IntArray
    open: IntArray
    """1 while the replica takes new requests."""
    prefill_base: FloatArray
    prefill_token: FloatArray
    step_base: FloatArray
    step_sequence: FloatArray
    step_kv: FloatArray
    max_batch: IntArray
    kv_limit: FloatArray
    share: FloatArray
    """Decode capacity relative to other slots, for least-loaded routing."""
    rank: FloatArray
    """Order in which idle prefill slots are chosen."""
    current: IntArray
    batch: IntArray
    kv: FloatArray
    reserved: FloatArray
    virtual: FloatArray
    """Tokens that a sequence admitted at the start would have by now."""
    updated: FloatArray
    rate: FloatArray
    """Tokens per second and sequence, now."""
    stall_rate: FloatArray
    """The same while a prefill runs on this slot."""
    gone: FloatArray
    """When a draining slot became empty, else NEVER."""
    busy_key: FloatArray
    busy_tree: IntArray
    idle_key: FloatArray
    idle_tree: IntArray
    event_key: FloatArray
    event_tree: IntArray
    load_key: FloatArray
    load_tree: IntArray
    tags: FloatArray
    ids: LinkArray
    sums: FloatArray


class Queues(NamedTuple):
    """Linked queues, the heap of KV transfers, the retry list and counters."""

    heads: IntArray
    tails: IntArray
    counts: IntArray
    counters: IntArray
    transfer_key: FloatArray
    transfer_id: LinkArray
    retry_id: LinkArray
    retry_time: FloatArray


class Rules(NamedTuple):
    """What does not change in a run."""

    ttft_slo: float
    itl_slo: float
    late_last: bool
    reserve_kv: bool
    preemption: bool
    timeout: float
    """Seconds a request waits for its prefill before its client gives up; NEVER: for ever."""
    retries: int
    backoff: float
    classes: int
    chunk: float
    """Tokens per chunk of a chunked prefill on serve slots; 0: a prefill stops all decoding."""
    fast_base: float
    """Prefill of the fastest variant: tells requests that could never meet their TTFT."""
    fast_token: float
    transfer_token: float
    """Seconds of KV transfer per prompt token."""
    kv_room: float
    """Largest KV cache of any variant that decodes: a longer request is rejected."""
    log_slots: bool
    batch_limit: int
    """Entries per slot in Slots.tags."""


class World(NamedTuple):
    """Everything that the event loop needs."""

    requests: Requests
    slots: Slots
    queues: Queues
    rules: Rules


def new_slots(count: int, batch_limit: int) -> Slots:
    """Return ``count`` empty slots; ``count`` is a power of two, at least 2."""
    tree = _tree(count)
    return Slots(
        kind=np.zeros(count, np.int64),
        open=np.zeros(count, np.int64),
        prefill_base=np.zeros(count),
        prefill_token=np.zeros(count),
        step_base=np.zeros(count),
        step_sequence=np.zeros(count),
        step_kv=np.zeros(count),
        max_batch=np.zeros(count, np.int64),
        kv_limit=np.zeros(count),
        share=np.ones(count),
        rank=np.zeros(count),
        current=np.full(count, IDLE, np.int64),
        batch=np.zeros(count, np.int64),
        kv=np.zeros(count),
        reserved=np.zeros(count),
        virtual=np.zeros(count),
        updated=np.zeros(count),
        rate=np.zeros(count),
        stall_rate=np.zeros(count),
        gone=np.full(count, NEVER),
        busy_key=np.full(count, NEVER),
        busy_tree=tree.copy(),
        idle_key=np.full(count, NEVER),
        idle_tree=tree.copy(),
        event_key=np.full(count, NEVER),
        event_tree=tree.copy(),
        load_key=np.full(count, NEVER),
        load_tree=tree.copy(),
        tags=np.zeros(count * batch_limit),
        ids=np.zeros(count * batch_limit, np.int32),
        sums=np.zeros(count * SUMS),
    )


def _tree(count: int) -> IntArray:
    """Return the winner tree of ``count`` equal keys."""
    tree = np.zeros(2 * count, np.int64)
    tree[count:] = np.arange(count)
    for node in range(count - 1, 0, -1):
        tree[node] = tree[2 * node]
    return tree


def more_slots(slots: Slots, batch_limit: int) -> Slots:
    """Return a copy of ``slots`` with twice the room."""
    old = len(slots.kind)
    grown = new_slots(2 * old, batch_limit)
    for name in Slots._fields:
        before = getattr(slots, name)
        getattr(grown, name)[: len(before)] = before
    tree = _tree(2 * old)
    for name in ("busy", "idle", "event", "load"):
        keys, winners = getattr(grown, f"{name}_key"), getattr(grown, f"{name}_tree")
        winners[:] = tree
        for node in range(2 * old - 1, 0, -1):
            left, right = winners[2 * node], winners[2 * node + 1]
            winners[node] = left if keys[left] <= keys[right] else right
    return grown


def new_queues(classes: int) -> Queues:
    """Return empty queues for ``classes`` priority classes."""
    return Queues(
        heads=np.full(classes * QUEUES, -1, np.int64),
        tails=np.full(classes * QUEUES, -1, np.int64),
        counts=np.zeros(classes * QUEUES, np.int64),
        counters=np.zeros(COUNTERS, np.int64),
        transfer_key=np.zeros(64),
        transfer_id=np.zeros(64, np.int32),
        retry_id=np.zeros(64, np.int32),
        retry_time=np.zeros(64),
    )


def more_queue_room(queues: Queues) -> Queues:
    """Return ``queues`` with twice the room for transfers and retries."""
    return queues._replace(
        transfer_key=np.concatenate([queues.transfer_key, np.zeros_like(queues.transfer_key)]),
        transfer_id=np.concatenate([queues.transfer_id, np.zeros_like(queues.transfer_id)]),
        retry_id=np.concatenate([queues.retry_id, np.zeros_like(queues.retry_id)]),
        retry_time=np.concatenate([queues.retry_time, np.zeros_like(queues.retry_time)]),
    )
