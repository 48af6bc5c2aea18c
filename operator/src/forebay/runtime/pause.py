"""Work for the pause between two rounds, in pieces of about a second: statuses, look-ups, pasts, jobs, saving."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from forebay.flow.fleet import PoolKey
from forebay.runtime.decider import Decider
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.reporter import Reporter
from forebay.runtime.warmup import WarmUp
from forebay.telemetry.source import TelemetrySource

logger = logging.getLogger(__name__)

_SAVE_SECONDS = 300.0
"""From the beginning of one pass over all pools to that of the next."""
_SAVED_AT_ONCE = 20

_Piece = Callable[[], Awaitable[bool]]


class PauseWork:
    """Does the work that can wait until a round is over.

    A round that is due waits for one piece at most. A piece that fails is logged and counted: the other kinds go
    on, and the next pause tries its kind again.
    """

    def __init__(
        self,
        decider: Decider,
        warm_up: WarmUp,
        reporter: Reporter,
        source: TelemetrySource,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decider = decider
        self._warm_up = warm_up
        self._metrics = metrics
        self._clock = clock
        self._unsaved: deque[PoolKey] = deque()
        self._saving_since_seconds: float | None = None
        self._pieces: dict[str, _Piece] = {
            "figures": reporter.tell_some,
            "look-up": source.look_up,
            "past": self._give_one_past,
            "forecaster": decider.run_forecaster_job,
            "states": self._save_some,
        }
        """Each does one piece of work, and returns whether there is more of its kind."""

    async def until(self, due_seconds: float, cut_short: Callable[[], bool] = lambda: False) -> None:
        """Do one piece of each kind, then go on with those that are expected to end before the next round.

        Args:
            due_seconds: the event loop's time of the next round.
            cut_short: whether to leave the rest to the next pause; asked before each further piece.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        loop = asyncio.get_running_loop()
        kinds = deque(self._pieces.items())
        longest: dict[str, float] = {}
        while kinds:
            name, piece = kinds.popleft()
            if name in longest and (cut_short() or loop.time() + longest[name] >= due_seconds):
                continue
            began = loop.time()
            if await self._has_more(name, piece):
                longest[name] = max(longest.get(name, 0.0), loop.time() - began)
                kinds.append((name, piece))

    async def save_all(self) -> None:
        """Save every state now."""
        await self._decider.save(self._worth_saving(self._decider.decided))

    async def _give_one_past(self) -> bool:
        past = self._warm_up.take_one()
        if past is None:
            return False
        if not await self._decider.give_past(past):
            self._warm_up.ask_instead(past)
        return True

    async def _save_some(self) -> bool:
        if not self._decider.saves:
            return False
        if not self._unsaved:
            if not self._pass_is_due():
                return False
            self._unsaved.extend(self._decider.decided)
            await self._decider.remove_old_files()
        some = [self._unsaved.popleft() for _ in range(min(_SAVED_AT_ONCE, len(self._unsaved)))]
        await self._decider.save(self._worth_saving(some))
        return bool(self._unsaved)

    def _pass_is_due(self) -> bool:
        """Whether to begin a pass over all pools; counted from the first pause: a standby has nothing to save."""
        now = self._clock()
        if self._saving_since_seconds is None:
            self._saving_since_seconds = now
        if now - self._saving_since_seconds < _SAVE_SECONDS:
            return False
        self._saving_since_seconds = now
        return True

    def _worth_saving(self, keys: Iterable[PoolKey]) -> list[PoolKey]:
        """Return the pools that have got their past: the few minutes of others must not replace a saved state."""
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
        except Exception:  # rounds go on, whatever happens in a pause
            logger.exception("work between two rounds failed (%s); the next pause tries again", name)
            self._metrics.pause_failures.labels(name).inc()
            return False
