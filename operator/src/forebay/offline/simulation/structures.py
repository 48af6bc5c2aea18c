"""Structures over flat arrays that plain Python and numba share: winner trees, a binary heap, linked queues.

All ties go to the lowest index or to the entry that came first, so that a run is the same everywhere.
"""

import numpy as np
import numpy.typing as npt

from forebay.offline.simulation.accelerate import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
LinkArray = npt.NDArray[np.int32]
FloatTable = npt.NDArray[np.float64]
IntTable = npt.NDArray[np.int64]

NEVER = 1e300
"""A time later than any run, and a key larger than any other."""


# Rows of a queue table.
HEAD, TAIL, LENGTH = range(3)


@compiled
def tree_update(trees: IntTable, keys: FloatTable, row: int, leaf: int) -> None:
    """Restore winner tree ``row`` after ``keys[row, leaf]`` changed: O(log n), less if ``leaf`` wins nowhere.

    A row of ``trees`` has twice the length of a row of ``keys`` (n, a power of two, at least 2): entry 1 is the
    index of the smallest key, entry ``n + i`` is ``i``.
    """
    node = (keys.shape[1] + leaf) >> 1
    while node > 0:
        left = trees[row, 2 * node]
        right = trees[row, 2 * node + 1]
        winner = left if keys[row, left] <= keys[row, right] else right
        if winner == trees[row, node] and winner != leaf:
            return
        trees[row, node] = winner
        node >>= 1


@compiled
def heap_push(keys: FloatArray, values: LinkArray, first: int, size: int, key: float, value: int) -> None:
    """Push onto the binary heap that occupies ``size`` entries from ``first``; the caller counts and has room."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if keys[first + parent] <= key:
            break
        keys[first + child] = keys[first + parent]
        values[first + child] = values[first + parent]
        child = parent
    keys[first + child] = key
    values[first + child] = value


@compiled
def heap_drop(keys: FloatArray, values: LinkArray, first: int, size: int, entry: int) -> None:
    """Remove entry number ``entry`` (0 is the smallest) of a heap with ``size`` entries."""
    last = size - 1
    if entry == last:
        return
    key = keys[first + last]
    value = values[first + last]
    parent = entry
    while True:
        child = 2 * parent + 1
        if child >= last:
            break
        if child + 1 < last and keys[first + child + 1] < keys[first + child]:
            child += 1
        if key <= keys[first + child]:
            break
        keys[first + parent] = keys[first + child]
        values[first + parent] = values[first + child]
        parent = child
    # An entry from another branch may be smaller than the entry above the hole.
    while parent > 0:
        above = (parent - 1) >> 1
        if keys[first + above] <= key:
            break
        keys[first + parent] = keys[first + above]
        values[first + parent] = values[first + above]
        parent = above
    keys[first + parent] = key
    values[first + parent] = value


@compiled
def queue_append(links: LinkArray, queues: IntTable, queue: int, item: int) -> None:
    """Put ``item`` at the end of ``queue``; an item is in one queue at a time."""
    links[item] = -1
    if queues[LENGTH, queue] == 0:
        queues[HEAD, queue] = item
    else:
        links[queues[TAIL, queue]] = item
    queues[TAIL, queue] = item
    queues[LENGTH, queue] += 1


@compiled
def queue_prepend(links: LinkArray, queues: IntTable, queue: int, item: int) -> None:
    """Put ``item`` at the front of ``queue``."""
    links[item] = queues[HEAD, queue] if queues[LENGTH, queue] > 0 else -1
    if queues[LENGTH, queue] == 0:
        queues[TAIL, queue] = item
    queues[HEAD, queue] = item
    queues[LENGTH, queue] += 1


@compiled
def queue_pop(links: LinkArray, queues: IntTable, queue: int) -> int:
    """Take the first item of ``queue``, which is not empty."""
    item = queues[HEAD, queue]
    queues[LENGTH, queue] -= 1
    queues[HEAD, queue] = links[item]
    if queues[LENGTH, queue] == 0:
        queues[TAIL, queue] = -1
    return int(item)


@compiled
def queue_remove(links: LinkArray, queues: IntTable, queue: int, item: int) -> bool:
    """Remove ``item`` wherever it stands in ``queue``; return whether it was there. O(1) at the front."""
    before = -1
    here = queues[HEAD, queue] if queues[LENGTH, queue] > 0 else -1
    while here != -1 and here != item:
        before = here
        here = links[here]
    if here == -1:
        return False
    if before == -1:
        queues[HEAD, queue] = links[item]
    else:
        links[before] = links[item]
    if queues[TAIL, queue] == item:
        queues[TAIL, queue] = before
    queues[LENGTH, queue] -= 1
    return True
