"""A bounded number of threads with a queue before them, which is ours: waiting in it says nothing of a server."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class WorkerThread:
    """One thread's worth of work, for one piece at a time."""

    def __init__(self, executor: Executor, free: Callable[[], None]) -> None:
        self._executor = executor
        self._free = free
        self._thread: asyncio.Future[Any] | None = None

    async def run(self, work: Callable[[], Result], patience_seconds: float) -> Result:
        """Run ``work`` in the thread, which nothing can interrupt.

        Raises:
            TimeoutError: The thread is still busy.
        """
        thread = asyncio.get_running_loop().run_in_executor(self._executor, work)
        self._thread = thread
        await asyncio.wait({thread}, timeout=max(0.0, patience_seconds))
        if not thread.done():
            raise TimeoutError
        return thread.result()

    def give_back(self) -> None:
        """Let the next one in as soon as the thread is free, which it may not be yet."""
        if self._thread is None or self._thread.done():
            self._free()
        else:
            self._thread.add_done_callback(self._at_last)

    def _at_last(self, thread: asyncio.Future[Any]) -> None:
        self._free()
        if not thread.cancelled():
            thread.exception()  # nobody waits for it any more; asyncio would complain that nobody looked at it


class WorkerThreads:
    """Hands out slots, first come, first served. Who has one never waits for a thread."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._unused = asyncio.Semaphore(count)

    async def take(self, patience_seconds: float) -> WorkerThread:
        """Wait for a worker; who takes it gives it back.

        Raises:
            TimeoutError: None was free in time.
        """
        async with asyncio.timeout(patience_seconds):
            await self._unused.acquire()
        return WorkerThread(self._executor, self._unused.release)

    def close(self) -> None:
        """Begin nothing more; what runs goes on to its end."""
        self._executor.shutdown(wait=False, cancel_futures=True)
