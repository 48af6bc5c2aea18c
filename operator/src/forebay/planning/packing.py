"""Place replicas on nodes: largest first, into the smallest block of free GPUs that has room."""

from collections.abc import Sequence


def nodes_to_add(sizes: Sequence[int], blocks: Sequence[int], gpus_per_node: int) -> int:
    """Return how many nodes replicas of ``sizes`` GPUs need beside blocks of free GPUs, one block per node.

    A replica of more GPUs than a node has takes whole nodes. Where each size divides the next, largest first finds
    a place for all of them whenever there is one.
    """
    free, added = sorted(blocks), 0
    for size in sorted(sizes, reverse=True):
        for part in _parts(size, gpus_per_node):
            place = next((index for index, room in enumerate(free) if room >= part), None)
            if place is None:
                added += 1
                free.append(gpus_per_node)
                place = -1
            free[place] -= part
            free.sort()
    return added


def _parts(size: int, gpus_per_node: int) -> list[int]:
    """Return what one replica takes on each of its nodes."""
    whole, rest = divmod(size, gpus_per_node)
    if whole == 0:
        return [size]
    return [gpus_per_node] * (whole + (rest > 0))
