"""What can wait for the pause between two rounds, in pieces: figures, names of metrics, pasts, jobs, saving."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from forebay.flow.fleet import PoolKey
from forebay.pipeline import FleetState
from forebay.runtime.memory import StateFiles
from forebay.runtime.warmup import Warmed, WarmUp

_SAVE_SECONDS = 300.0
"""From the beginning of one pass over all pools to that of the next."""
_SAVED_AT_ONCE = 20

_Result = TypeVar("_Result")
_Piece = Callable[[], Awaitable[bool]]


class PauseWork:
    """Does pieces of work, most of them in the thread that decides, since they change the same state.

    Each piece takes a second at most, whatever the size of the fleet. A round that is due waits for one of them.

    Args:
        state: of the pipeline.
        decider: the thread.
        warm_up: has the pasts of new pools.
        tell_some: writes some statuses that could wait, and returns whether there are more.
        look_up: looks up a piece of what the telemetry needs to know now and then, and returns the same.
        files: where memories are saved; None saves nothing.
        lead_times_seconds: of each pool, to warm up for.
        memories: the pools whose memory is worth saving.
    """

    def __init__(
        self,
        state: FleetState,
        decider: Executor,
        warm_up: WarmUp,
        files: StateFiles | None,
        *,
        tell_some: _Piece,
        look_up: _Piece,
        lead_times_seconds: Callable[[], Mapping[PoolKey, Sequence[float]]],
        memories: Callable[[], Iterable[PoolKey]],
    ) -> None:
        self._state = state
        self._decider = decider
        self._warm_up = warm_up
        self._files = files
        self._tell_some = tell_some
        self._look_up = look_up
        self._lead_times_seconds = lead_times_seconds
        self._memories = memories
        self._unsaved: deque[PoolKey] = deque()
        self._saving_since_seconds = time.monotonic()

    async def until(self, due_seconds: float) -> None:
        """Do one piece of each kind, and then more of them for as long as the pause is expected to hold another.

        Args:
            due_seconds: the loop's time of the next round.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        loop = asyncio.get_running_loop()
        kinds: deque[_Piece] = deque([
            self._tell_some, self._look_up, self._warm_one_up, self._forecaster_job, self._save_some,
        ])  # fmt: skip
        longest: dict[_Piece, float] = {}
        while kinds:
            piece = kinds.popleft()
            if piece in longest and loop.time() + longest[piece] >= due_seconds:
                continue
            began = loop.time()
            if await piece():
                longest[piece] = max(longest.get(piece, 0.0), loop.time() - began)
                kinds.append(piece)

    def give_past(self, arrived: Iterable[Warmed]) -> None:
        """Give pools their past; to be called in the thread that decides."""
        self._warm_up.apply(self._state, arrived, self._lead_times_seconds())

    async def save_all(self) -> None:
        """Save every memory now."""
        if self._files is not None:
            await self._in_thread(partial(self._files.save, self._state, list(self._memories())))

    async def _warm_one_up(self) -> bool:
        arrived = self._warm_up.take_one()
        if arrived is None:
            return False
        await self._in_thread(partial(self.give_past, [arrived]))
        return True

    async def _forecaster_job(self) -> bool:
        return await self._in_thread(self._state.work) > 0

    async def _save_some(self) -> bool:
        files = self._files
        if files is None:
            return False
        if not self._unsaved:
            if time.monotonic() - self._saving_since_seconds < _SAVE_SECONDS:
                return False
            self._saving_since_seconds = time.monotonic()
            self._unsaved.extend(self._memories())
            await self._in_thread(partial(files.forget_others, list(self._unsaved)))
        some = [self._unsaved.popleft() for _ in range(min(_SAVED_AT_ONCE, len(self._unsaved)))]
        await self._in_thread(partial(files.save, self._state, some))
        return bool(self._unsaved)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._decider, work)
