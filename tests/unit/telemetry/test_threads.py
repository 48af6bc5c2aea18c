"""WorkerThreads: as many as there are threads, and not free before their threads are."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from forebay.telemetry.transport.threads import WorkerThreads

SOON_SECONDS = 10.0


def fail() -> None:
    raise OSError("late")


async def test_a_slot_is_free_again_when_its_thread_is() -> None:
    """Protects: the next query got the slot of a thread that was still busy, and spent its time waiting for it."""
    slots, done = WorkerThreads(1, "test"), threading.Event()
    worker = await slots.take(SOON_SECONDS)
    with pytest.raises(TimeoutError):
        await worker.run(lambda: done.wait(SOON_SECONDS), 0.01)
    worker.give_back()
    with pytest.raises(TimeoutError):
        await slots.take(0.01)
    done.set()
    following = await slots.take(SOON_SECONDS)
    assert await following.run(threading.active_count, SOON_SECONDS) >= 2
    following.give_back()
    slots.close()


async def test_the_same_slot_serves_several_attempts_and_tells_of_failures() -> None:
    slots = WorkerThreads(1, "test")
    worker = await slots.take(SOON_SECONDS)
    with pytest.raises(OSError, match="late"):
        await worker.run(fail, SOON_SECONDS)
    assert await worker.run(lambda: 7, SOON_SECONDS) == 7
    worker.give_back()
    (await slots.take(0.01)).give_back()
    slots.close()


async def test_a_late_failure_that_nobody_waits_for_is_silent() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    slots, go = WorkerThreads(1, "test"), threading.Event()

    def fail_late() -> None:
        go.wait(SOON_SECONDS)
        raise OSError("late")

    worker = await slots.take(SOON_SECONDS)
    with pytest.raises(TimeoutError):
        await worker.run(fail_late, 0.01)
    worker.give_back()
    go.set()
    (await slots.take(SOON_SECONDS)).give_back()
    del worker
    gc.collect()
    assert complaints == []
    slots.close()
