"""The simulator's state: one flat tuple of arrays, and the names of their rows."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.offline.simulation.structures import (
    LENGTH,
    NEVER,
    FloatArray,
    FloatTable,
    IntArray,
    IntTable,
    LinkArray,
)

ByteArray = npt.NDArray[np.uint8]

# Where a request is (KernelState.state).
AHEAD, WAITING, PREFILLING, MOVING, READY, DECODING, DONE, TIMED_OUT, REJECTED = range(9)

# The kind of a slot (row KIND of KernelState.counts).
EMPTY, PREFILL, DECODE, SERVE = range(4)

# Values of row CURRENT of KernelState.counts: no prefill, or an evicted sequence that is computed again.
IDLE, RECOMPUTING = -1, -2

# Columns of KernelState.sums: the work of one replica since the last reading.
FINISHED, OUTPUT_TOKENS, PREFILLS, PREFILL_TOKENS, PREFILL_SECONDS, ITL_SECONDS, RUNNING_SECONDS, SUMS = range(8)

# Entries of KernelState.counters.
(
    NEXT,  # first request of the trace that has not arrived
    TOTAL,  # requests known
    LOGGED,  # requests that ended, in KernelState.log
    MISSED,  # of these, requests that missed the SLO
    MISSED_TTFT,  # of these, requests that missed TTFT
    IN_TRANSFER,  # size of the transfer heap
    HELD,  # requests that wait for prefill, over all queues
    RETRIES,  # entries of the retry list
    RETRY_NEXT,  # first retry that has not arrived
    EXPIRE_NEXT,  # first request of the trace whose time-out has not been checked
    RETRY_EXPIRE,  # first retry whose time-out has not been checked
    EVICTIONS,  # sequences evicted from a full KV cache
    COUNTERS,
) = range(13)

# Queues of one priority class: class * QUEUES + one of these.
IN_TIME, LATE, FOR_DECODE, QUEUES = range(4)


# Rows of KernelState.gauges: the state of a slot, in real numbers.
(
    PREFILL_BASE,
    PREFILL_TOKEN,
    STEP_BASE,
    STEP_SEQUENCE,
    STEP_KV,
    KV_LIMIT,
    SHARE,  # decode capacity relative to other slots, for least-loaded routing
    RANK,  # order in which free prefill slots are chosen
    KV,  # resident KV tokens
    RESERVED,  # KV tokens of the admitted sequences at full length
    VIRTUAL,  # tokens that a sequence would have that was here from the beginning
    UPDATED,  # time of the values in KV and VIRTUAL
    RATE,  # tokens per second and sequence, at UPDATED
    GROWTH,  # seconds by which each further token of all sequences makes the next slower
    STALL_RATE,  # the same while a prefill runs on this slot
    GONE,  # when a draining slot became empty, else NEVER
    GAUGES,
) = range(17)

# Rows of KernelState.counts: the same in whole numbers.
# OPEN is 1 for a replica that takes requests, PARKED for one that takes none and stays, 0 for one that drains.
PARKED = 2
KIND, OPEN, MAX_BATCH, CURRENT, BATCH, COUNTS = range(6)

# Rows of KernelState.keys and KernelState.trees: each finds its smallest entry.
PREFILL_END, FREE, NEXT_TOKEN, LOAD, TREES = range(5)
# PREFILL_END: when the running prefill ends. FREE: who may start the next prefill. NEXT_TOKEN: when the next
# sequence is complete (or the KV cache full). LOAD: who may decode the next request.


class Rules(NamedTuple):
    """Constants of a run."""

    ttft_slo: float
    itl_slo: float
    late_last: bool
    reserve_kv: bool
    preemption: bool
    timeout: float
    """Seconds a request waits for its prefill before its client gives up; NEVER: no limit."""
    retries: int
    backoff: float
    classes: int
    chunk: float
    """Tokens per chunk of a chunked prefill on serve slots; 0: a prefill stops all decoding."""
    fast_base: float
    """Prefill of the fastest variant, to find requests that could never meet their TTFT."""
    fast_token: float
    transfer_token: float
    """Seconds of KV transfer per prompt token."""
    kv_room: float
    """Largest KV cache of any variant that decodes: a longer request is rejected."""
    log_slots: bool
    batch_limit: int
    """Entries per slot in KernelState.tags."""


class KernelState(NamedTuple):
    """The state of the event loop.

    Arrays of requests have one entry per request, but length 1 where their feature is off (marked *optional*).
    A slot holds one ready or draining replica, or none.
    """

    arrival: FloatArray
    prompt: IntArray
    """Input tokens, which occupy the KV cache."""
    work: IntArray
    """Input tokens that prefill computes (without prefix-cache hits)."""
    output: IntArray
    ttft: FloatArray
    done: FloatArray
    link: LinkArray
    """The request behind this one in its queue."""
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
    """Optional, as is ``decode_slot``."""
    decode_slot: LinkArray
    gauges: FloatTable
    counts: IntTable
    keys: FloatTable
    trees: IntTable
    tags: FloatArray
    """Per slot a heap of the virtual times at which sequences are complete."""
    ids: LinkArray
    sums: FloatArray
    queues: IntTable
    counters: IntArray
    transfer_key: FloatArray
    """A heap of the times at which KV caches reach the decode side."""
    transfer_id: LinkArray
    retry_id: IntArray
    retry_time: FloatArray
    rules: Rules


class SlotArrays(NamedTuple):
    """The fields of `KernelState` that grow with the slots."""

    gauges: FloatTable
    counts: IntTable
    keys: FloatTable
    trees: IntTable
    tags: FloatArray
    ids: LinkArray
    sums: FloatArray


def new_slots(count: int, batch_limit: int) -> SlotArrays:
    """Return the arrays of ``count`` empty slots; ``count`` is a power of two, at least 2."""
    gauges = np.zeros((GAUGES, count))
    gauges[GONE] = NEVER
    counts = np.zeros((COUNTS, count), np.int64)
    counts[CURRENT] = IDLE
    keys = np.full((TREES, count), NEVER)
    return SlotArrays(
        gauges=gauges,
        counts=counts,
        keys=keys,
        trees=_trees(keys),
        tags=np.zeros(count * batch_limit),
        ids=np.zeros(count * batch_limit, np.int32),
        sums=np.zeros(count * SUMS),
    )


def _trees(keys: FloatTable) -> IntTable:
    """Return the winner trees over the rows of ``keys``."""
    count = keys.shape[1]
    trees = np.zeros((TREES, 2 * count), np.int64)
    trees[:, count:] = np.arange(count)
    for row in range(TREES):
        for node in range(count - 1, 0, -1):
            left, right = trees[row, 2 * node], trees[row, 2 * node + 1]
            trees[row, node] = left if keys[row, left] <= keys[row, right] else right
    return trees


def more_slots(world: KernelState) -> KernelState:
    """Return ``world`` with twice the slots."""
    new = new_slots(2 * world.counts.shape[1], world.rules.batch_limit)
    pairs: tuple[tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]], ...] = (
        (world.gauges, new.gauges),
        (world.counts, new.counts),
        (world.keys, new.keys),
        (world.tags, new.tags),
        (world.ids, new.ids),
        (world.sums, new.sums),
    )
    for before, after in pairs:
        after[..., : before.shape[-1]] = before
    return world._replace(
        gauges=new.gauges,
        counts=new.counts,
        keys=new.keys,
        trees=_trees(new.keys),
        tags=new.tags,
        ids=new.ids,
        sums=new.sums,
    )


def new_queues(classes: int) -> IntTable:
    """Return empty queues for ``classes`` priority classes."""
    queues = np.full((3, classes * QUEUES), -1, np.int64)
    queues[LENGTH] = 0
    return queues


def more_queue_room(world: KernelState) -> KernelState:
    """Return ``world`` with twice the room for transfers and retries."""
    return world._replace(
        transfer_key=np.concatenate((world.transfer_key, np.zeros_like(world.transfer_key))),
        transfer_id=np.concatenate((world.transfer_id, np.zeros_like(world.transfer_id))),
        retry_id=np.concatenate((world.retry_id, np.zeros_like(world.retry_id))),
        retry_time=np.concatenate((world.retry_time, np.zeros_like(world.retry_time))),
    )
