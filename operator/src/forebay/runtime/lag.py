"""Event-loop lag: how late the loop wakes a task that is due. Anything that blocks the loop shows here."""

import asyncio
from collections.abc import Callable

_PERIOD_SECONDS = 0.1


async def sample_lag(record: Callable[[float], None], period_seconds: float = _PERIOD_SECONDS) -> None:
    """Record, for ever, by how many seconds each sleep of ``period_seconds`` was too long."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + period_seconds
        await asyncio.sleep(period_seconds)
        record(max(0.0, loop.time() - due))
