"""The one owner of the fleet's state: it decides, learns and saves in one thread, and keeps what it decided."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from forebay.flow.decision import FleetDecision, PoolDecision
from forebay.flow.fleet import Fleet, PoolKey
from forebay.flow.observation import FleetObservation, PoolObservation
from forebay.forecast.future import OutsideForecast
from forebay.pipeline import FleetState, decide
from forebay.runtime.act import Done
from forebay.runtime.past import PoolPast, give_pasts
from forebay.runtime.statefiles import StateFiles

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class LastDecision:
    """What a pool's decision record is made of when somebody asks for it."""

    observed: PoolObservation
    decision: PoolDecision
    done: Sequence[Done]
    mode: str


class Decider:
    """Owns the fleet's state and the only thread that changes it.

    Rounds call `decide` and `remember`; pauses call `give_past`, `run_forecaster_job` and `save`. The thread keeps
    the event loop free, and one thread alone means that nothing needs a lock.

    Args:
        state: of the pipeline.
        files: where states are saved; None saves nothing.
    """

    def __init__(self, state: FleetState, files: StateFiles | None) -> None:
        self._state = state
        self._files = files
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decide")
        self._lead_times: Mapping[PoolKey, Sequence[float]] = {}
        self._records: dict[PoolKey, LastDecision] = {}
        self._existing: Collection[PoolKey] | None = None
        """All pools of the cluster, also invalid ones; unknown before the first round."""

    @property
    def decided(self) -> Collection[PoolKey]:
        """Return the pools about which something was decided."""
        return self._records.keys()

    @property
    def saves(self) -> bool:
        """Whether states are saved."""
        return self._files is not None

    def last(self, key: PoolKey) -> LastDecision | None:
        """Return the last decision about a pool."""
        return self._records.get(key)

    def begin_round(
        self, lead_times_seconds: Mapping[PoolKey, Sequence[float]], existing: Collection[PoolKey]
    ) -> None:
        """Note what this round's look shows, and forget the decisions about pools that are gone.

        Args:
            lead_times_seconds: of the variants of each pool; a warm-up prepares forecasts for them.
            existing: all pools of the cluster: the files of others are removed.
        """
        self._lead_times = lead_times_seconds
        self._existing = existing
        for gone in self._records.keys() - lead_times_seconds.keys():
            del self._records[gone]

    async def decide(
        self,
        fleet: Fleet,
        observed: FleetObservation,
        *,
        pasts: Iterable[PoolPast],
        late: Iterable[PoolKey],
        forecasts: Mapping[PoolKey, OutsideForecast | None],
        attainments: Mapping[PoolKey, tuple[float, float]],
    ) -> FleetDecision:
        """Decide for the fleet.

        Args:
            fleet: the pools that take part.
            observed: of this round.
            pasts: of pools that join with this round.
            late: pools that join without having got their past yet: they release nothing until it comes.
            forecasts: the users' own forecasts, of the pools that have one.
            attainments: misses and finished requests that an earlier process left in the statuses.
        """

        def in_thread() -> FleetDecision:
            give_pasts(self._state, pasts, self._lead_times, self._files)
            for key in late:
                self._state.await_past(fleet.pools[key])
            for key in set(self._state.keys()) - fleet.pools.keys():
                self._state.drop(key)
            for key, (missed, finished) in attainments.items():
                self._state.recall_attainment(fleet.pools[key], missed=missed, finished=finished)
            for key, forecast in forecasts.items():
                self._state.use_external_forecast(fleet.pools[key], forecast)
            return decide(fleet, observed, self._state, jobs=0)

        return await self._in_thread(in_thread)

    def remember(self, observed: PoolObservation, decision: PoolDecision, done: Sequence[Done], mode: str) -> None:
        """Keep what a pool's decision record is made of."""
        self._records[decision.key] = LastDecision(observed, decision, done, mode)

    async def give_past(self, past: PoolPast) -> bool:
        """Give a pool its past; False if its saved state was unusable."""
        give = partial(give_pasts, self._state, [past], self._lead_times, self._files)
        return not await self._in_thread(give)

    async def run_forecaster_job(self) -> bool:
        """Run one piece of a forecaster's heavy work, about a second; False if there was none."""
        return await self._in_thread(self._state.work) > 0

    async def save(self, keys: Iterable[PoolKey]) -> None:
        """Save the states of pools."""
        if self._files is not None:
            await self._in_thread(partial(self._files.save, self._state, list(keys)))

    async def remove_old_files(self) -> None:
        """Remove the files of pools that are gone; none as long as it is not known which pools there are."""
        if self._files is not None and self._existing is not None:
            await self._in_thread(partial(self._files.forget_others, self._existing))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
