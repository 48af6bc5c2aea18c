"""Keep the collector and the allocator out of the way of a large fleet.

The caches of a fleet are a million objects that live as long as the process. A collector that looks through all of
them whenever a quarter as many were made costs a tenth of a round and stops every thread meanwhile; an allocator
with an arena per thread keeps what the largest answers needed once in each of them.
"""

import ctypes
import gc
import sys

_YOUNG_OBJECTS = 400_000
"""More than a round of thousands of pools makes at any one time: young objects are looked at after it."""
_M_ARENA_MAX = -8
"""``M_ARENA_MAX`` of malloc.h."""
_ARENAS = 1
_FIRST_ROUNDS = 3


class Heap:
    """The process's garbage collector and allocator: set up once, tidied up between rounds.

    What survives a tidying is taken out of the collector's sight; once per ``full_every`` of them it is looked at
    again, so that no cycle stays for ever.

    Args:
        every: rounds between two tidyings; after each of the first rounds, too, in which most is made. After the
            others only young objects are collected.
        full_every: tidyings between two looks at everything.
    """

    def __init__(self, *, every: int = 20, full_every: int = 12) -> None:
        self._every = every
        self._full_every = full_every
        self._rounds = 0
        self._tidied = 0
        self._libc = _libc()

    def set_up(self) -> None:
        """Have one arena and no collections within a round from now on; call it before threads are started."""
        gc.set_threshold(_YOUNG_OBJECTS, 20, 1000)
        if self._libc is not None:
            self._libc.mallopt(_M_ARENA_MAX, _ARENAS)

    def after_round(self) -> None:
        """Collect what is young, or tidy up if it is time; to be called in the pause between rounds.

        For thousands of pools the one takes some 0.06 s and the other 0.1 s, in which no thread runs.
        """
        self._rounds += 1
        if self._rounds > _FIRST_ROUNDS and self._rounds % self._every:
            gc.collect(1)
            return
        if self._tidied % self._full_every == 0:
            gc.unfreeze()
        self._tidied += 1
        gc.collect()
        gc.freeze()
        if self._libc is not None:
            self._libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    """Return glibc; ``None`` where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - raises where it is another one
    except (OSError, AttributeError):
        return None
    return libc
