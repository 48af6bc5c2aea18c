"""Go through many items in short slices, so that the event loop serves leases, probes and watches in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

_SLICE_SECONDS = 0.01

T = TypeVar("T")


async def in_slices(items: Iterable[T], *, slice_seconds: float = _SLICE_SECONDS) -> AsyncIterator[T]:
    """Yield ``items``; let other tasks run each time that ``slice_seconds`` have passed."""
    began = time.perf_counter()
    for item in items:
        if time.perf_counter() - began > slice_seconds:
            await asyncio.sleep(0)
            began = time.perf_counter()
        yield item
