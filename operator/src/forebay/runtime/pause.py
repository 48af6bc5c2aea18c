"""What can wait for the pause between two rounds, in pieces: figures, names of metrics, pasts, jobs, saving."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from forebay.flow.fleet import PoolKey
from forebay.pipeline import FleetState
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.memory import StateFiles
from forebay.runtime.warmup import Warmed, WarmUp

logger = logging.getLogger(__name__)

_SAVE_SECONDS = 300.0
"""From the beginning of one pass over all pools to that of the next."""
_SAVED_AT_ONCE = 20

_Result = TypeVar("_Result")
_Piece = Callable[[], Awaitable[bool]]


class PauseWork:
    """Does pieces of work, most of them in the thread that decides, since they change the same state.

    Each piece takes a second at most, whatever the size of the fleet. A round that is due waits for one of them. A
    piece that fails is logged and counted: the others go on, and the next pause tries its kind again.

    Args:
        state: of the pipeline.
        decider: the thread.
        warm_up: has the pasts of new pools.
        tell_some: writes some statuses that could wait, and returns whether there are more.
        look_up: looks up a piece of what the telemetry needs to know now and then, and returns the same.
        files: where memories are saved; None saves nothing.
        lead_times_seconds: of each pool, to warm up for.
        memories: the pools that have a memory; who still waits for a past is not saved, so that what is known of
            such a pool since the start does not replace what was saved of it.
        existing: all pools that there are, also those that cannot be used as they are written: their files are
            kept. ``None`` as long as that is not known.
        failed: counts a failure, by the kind of the piece.
        clock: seconds that only go forward.
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
        existing: Callable[[], Collection[PoolKey] | None],
        failed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._decider = decider
        self._warm_up = warm_up
        self._files = files
        self._tell_some = tell_some
        self._look_up = look_up
        self._lead_times_seconds = lead_times_seconds
        self._memories = memories
        self._existing = existing
        self._failed = failed
        self._clock = clock
        self._unsaved: deque[PoolKey] = deque()
        self._saving_since_seconds: float | None = None

    async def until(self, due_seconds: float) -> None:
        """Do one piece of each kind, and then more of them for as long as the pause is expected to hold another.

        Args:
            due_seconds: the loop's time of the next round.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        loop = asyncio.get_running_loop()
        pieces = {
            "figures": self._tell_some,
            "look-up": self._look_up,
            "past": self._warm_one_up,
            "forecaster": self._forecaster_job,
            "states": self._save_some,
        }
        kinds = deque(pieces.items())
        longest: dict[str, float] = {}
        while kinds:
            name, piece = kinds.popleft()
            if name in longest and loop.time() + longest[name] >= due_seconds:
                continue
            began = loop.time()
            if await self._has_more(name, piece):
                longest[name] = max(longest.get(name, 0.0), loop.time() - began)
                kinds.append((name, piece))

    def give_past(self, arrived: Iterable[Warmed]) -> list[Warmed]:
        """Give pools their past; to be called in the thread that decides.

        Returns those whose saved state was of no use.
        """
        return self._warm_up.apply(self._state, arrived, self._lead_times_seconds())

    async def save_all(self) -> None:
        """Save every memory now."""
        if self._files is not None:
            await self._in_thread(partial(self._files.save, self._state, self._worth_saving(self._memories())))

    async def _warm_one_up(self) -> bool:
        arrived = self._warm_up.take_one()
        if arrived is None:
            return False
        for item in await self._in_thread(partial(self.give_past, [arrived])):
            self._warm_up.ask_instead(item)
        return True

    async def _forecaster_job(self) -> bool:
        return await self._in_thread(self._state.work) > 0

    async def _save_some(self) -> bool:
        files = self._files
        if files is None:
            return False
        if not self._unsaved:
            if not self._pass_is_due():
                return False
            self._unsaved.extend(self._memories())
            existing = self._existing()
            if existing is not None:
                await self._in_thread(partial(files.forget_others, existing))
        some = [self._unsaved.popleft() for _ in range(min(_SAVED_AT_ONCE, len(self._unsaved)))]
        await self._in_thread(partial(files.save, self._state, self._worth_saving(some)))
        return bool(self._unsaved)

    def _pass_is_due(self) -> bool:
        """Whether to begin a pass over all pools; from the first pause on: a standby has nothing to save."""
        now = self._clock()
        if self._saving_since_seconds is None:
            self._saving_since_seconds = now
        if now - self._saving_since_seconds < _SAVE_SECONDS:
            return False
        self._saving_since_seconds = now
        return True

    def _worth_saving(self, keys: Iterable[PoolKey]) -> list[PoolKey]:
        return [key for key in keys if not self._warm_up.is_waiting(key)]

    async def _has_more(self, name: str, piece: _Piece) -> bool:
        """Do a piece, and return whether there are more of its kind in this pause.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        try:
            return await piece()
        except LeaseLostError:
            raise
        except Exception:  # the pause's edge: rounds go on, whatever a piece runs into
            logger.exception("work between two rounds failed (%s); the next pause tries again", name)
            self._failed(name)
            return False

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._decider, work)
