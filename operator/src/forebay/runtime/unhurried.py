"""Go through a fleet without holding up the event loop: leases, probes and watches do not wait for thousands."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

_SLICE_SECONDS = 0.01

T = TypeVar("T")


async def unhurried(items: Iterable[T], *, slice_seconds: float = _SLICE_SECONDS) -> AsyncIterator[T]:
    """Yield ``items``; other tasks have their turn whenever ``slice_seconds`` have gone by."""
    began = time.perf_counter()
    for item in items:
        if time.perf_counter() - began > slice_seconds:
            await asyncio.sleep(0)
            began = time.perf_counter()
        yield item
