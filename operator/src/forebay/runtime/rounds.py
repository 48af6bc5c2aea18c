"""The control loop: observe, decide, act, report, once per interval, whatever happens."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from forebay.actuation.capacity import CapacityProvider
from forebay.actuation.scale import ScaleWriter
from forebay.flow.decision import FleetDecision, PoolDecision
from forebay.flow.fleet import PoolKey
from forebay.flow.observation import FleetObservation, PoolObservation
from forebay.forecast.resolution import ONE_MINUTE, Resolution
from forebay.pipeline import FleetState, decide
from forebay.runtime.act import Done, act, actions
from forebay.runtime.capacity import capacity_wishes, ensure_capacity
from forebay.runtime.cluster.look import Look
from forebay.runtime.cluster.references import GatewayPools
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.targetreader import TargetReader
from forebay.runtime.cluster.world import World
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.memory import StateFiles
from forebay.runtime.metrics import Metrics
from forebay.runtime.observe import external_forecast, fleet_observation, fleet_of, telemetry_target
from forebay.runtime.pause import PauseWork
from forebay.runtime.report.record import decision_record
from forebay.runtime.report.reporter import Reporter
from forebay.runtime.unhurried import unhurried
from forebay.runtime.warmup import Warmed, WarmUp
from forebay.runtime.watch.store import Kind
from forebay.telemetry.source import PoolTelemetry, TelemetrySource

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Steps:
    """What a round is made of; each part can be replaced in a test."""

    keeper: RosterKeeper
    gateway_pools: GatewayPools
    target_reader: TargetReader
    world: World
    source: TelemetrySource
    warm_up: WarmUp
    writer: ScaleWriter
    provider: CapacityProvider
    reporter: Reporter
    metrics: Metrics
    files: StateFiles | None
    wall_clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What a pool's decision record is made of when somebody asks for it."""

    observed: PoolObservation
    decision: PoolDecision
    done: Sequence[Done]
    mode: str


def _stagger_seconds(resolution: Resolution, interval_seconds: float) -> float:
    """Return by how much to shift the steps of different forecasters, so that each round has its share of them."""
    rounds = int(resolution.step_seconds // interval_seconds)
    return resolution.step_seconds / rounds if rounds > 1 else 0.0


class ControlLoop:
    """Runs rounds. One thread decides, so that the event loop stays free and the state has one owner."""

    def __init__(
        self,
        steps: Steps,
        *,
        interval_seconds: float,
        telemetry_patience_seconds: float,
        resolution: Resolution = ONE_MINUTE,
    ) -> None:
        self._steps = steps
        self._interval_seconds = interval_seconds
        self._telemetry_patience_seconds = telemetry_patience_seconds
        self._state = FleetState(resolution, stagger_seconds=_stagger_seconds(resolution, interval_seconds))
        self._decider = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decide")
        self._records: dict[PoolKey, _Remembered] = {}
        self._lead_times: dict[PoolKey, tuple[float, ...]] = {}
        self._existing: frozenset[PoolKey] | None = None
        """Also the pools that cannot be used as they are written; unknown before the first look."""
        self._pause = PauseWork(
            self._state,
            self._decider,
            steps.warm_up,
            steps.files,
            tell_some=steps.reporter.tell_some,
            look_up=steps.source.look_up,
            lead_times_seconds=lambda: self._lead_times,
            memories=lambda: self._records,
            existing=lambda: self._existing,
            failed=lambda piece: steps.metrics.pause_failures.labels(piece).inc(),
        )
        self._one_at_a_time = asyncio.Lock()

    def record_of(self, key: PoolKey) -> Mapping[str, Any] | None:
        """Return the last decision record of a pool as JSON data."""
        last = self._records.get(key)
        if last is None:
            return None
        return decision_record(last.observed, last.decision, last.done, mode=last.mode)

    async def run(self, came_round: Callable[[], None]) -> None:
        """Run rounds until cancelled; a failed round is counted and the next one comes.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval_seconds
            async with self._one_at_a_time:
                await self.round()
            came_round()
            await self.use_pause(due)
            # A round that took too long is followed by a pause all the same, so that other tasks have their turn.
            await asyncio.sleep(max(0.05, due - loop.time()))

    async def round(self) -> bool:
        """Run one round; True if it came to its end.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        steps = self._steps
        try:
            with self._timed("all"):
                await self._round()
        except LeaseLostError:
            raise
        except Exception:  # the loop's edge: whatever one round runs into, the next one comes
            logger.exception("a round failed; the next one comes")
            steps.metrics.rounds.labels("failed").inc()
            return False
        steps.metrics.rounds.labels("ok").inc()
        steps.metrics.last_round.set(steps.wall_clock())
        return True

    async def use_pause(self, due_seconds: float) -> None:
        """Do what can wait until the next round is due, in the loop's time; a piece of each kind at least.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        await self._pause.until(due_seconds)

    async def finish(self, patience_seconds: float) -> None:
        """Wait for the round in progress, not longer than ``patience_seconds``, and let no other begin."""
        try:
            async with asyncio.timeout(patience_seconds):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            logger.warning("the round in progress did not end within %.0f s", patience_seconds)

    async def close(self) -> None:
        """Save what is worth saving and end the deciding thread."""
        await self._steps.warm_up.stop()
        await self._pause.save_all()
        self._decider.shutdown(wait=False, cancel_futures=True)

    async def _round(self) -> None:
        steps = self._steps
        now = steps.wall_clock()
        with self._timed("look"):
            roster = await steps.gateway_pools.check(await steps.keeper.build(now))
            steps.world.other_workloads = await steps.target_reader.read(roster)
            look = steps.world.look(roster, now)
        self._tidy_up(look)
        with self._timed("observe"):
            measured = await self._measure(look)
        arrived, late = steps.warm_up.take_without_past(), steps.warm_up.join_late()
        steps.metrics.warming.set(steps.warm_up.waiting)
        taking_part = tuple(pool for pool in look.pools if steps.warm_up.is_known(pool.entry.pool.key))
        look = replace(look, pools=taking_part)
        observed = fleet_observation(look, measured)
        with self._timed("decide"):
            decisions = await self._decide(look, observed, arrived, late, measured)
        with self._timed("act"):
            done = await act(actions(look.pools, decisions.pools), steps.writer, steps.world, steps.metrics)
            wishes = capacity_wishes(look, decisions.pools, deadline_seconds=steps.world.shortest_deadline_seconds)
            await ensure_capacity(wishes, steps.provider)
        await self._remember(look, observed, decisions, done)
        with self._timed("report"):
            await steps.reporter.report(roster, look, observed, decisions, done)
        steps.world.tidy(roster)

    def _tidy_up(self, look: Look) -> None:
        """Begin what new pools need, and forget what belongs to pools that are gone."""
        steps = self._steps
        self._lead_times = {
            pool.entry.pool.key: tuple(variant.lead_time_seconds for variant in pool.variants)
            for pool in look.pools
        }
        self._existing = frozenset(PoolKey(*key) for key in steps.world.store.keys(Kind.POOLS))
        keys = {pool.entry.pool.key for pool in look.pools}
        steps.warm_up.keep_only(keys)
        for pool in look.pools:
            steps.warm_up.start(pool.entry.pool, partial(telemetry_target, pool))
        steps.metrics.keep_only(keys, (pool.entry.node_pool.name for pool in look.node_pools))
        for gone in self._records.keys() - keys:
            del self._records[gone]
        for kind, count in steps.world.store.counts().items():
            steps.metrics.watched.labels(kind.value).set(count)

    async def _measure(self, look: Look) -> Mapping[PoolKey, PoolTelemetry]:
        targets = [telemetry_target(pool) for pool in look.pools]
        if not targets:
            return {}
        try:
            async with asyncio.timeout(self._telemetry_patience_seconds):
                return await self._steps.source.observe(targets, look.at_seconds)
        except TimeoutError:
            logger.warning("telemetry did not answer within %.0f s", self._telemetry_patience_seconds)
            return {}

    async def _decide(
        self,
        look: Look,
        observed: FleetObservation,
        arrived: Sequence[Warmed],
        late: Sequence[PoolKey],
        measured: Mapping[PoolKey, PoolTelemetry],
    ) -> FleetDecision:
        fleet = fleet_of(look)

        def in_thread() -> FleetDecision:
            self._pause.give_past(arrived)
            for key in late:
                self._state.await_past(fleet.pools[key])
            for key in set(self._state.keys()) - fleet.pools.keys():
                self._state.drop(key)
            for look_at in look.pools:
                if look_at.entry.forecast_query is not None:
                    pool = look_at.entry.pool
                    forecast = external_forecast(measured.get(pool.key), look.at_seconds)
                    self._state.use_external_forecast(pool, forecast)
            return decide(fleet, observed, self._state, jobs=0)

        return await asyncio.get_running_loop().run_in_executor(self._decider, in_thread)

    async def _remember(
        self, look: Look, observed: FleetObservation, decisions: FleetDecision, done: list[Done]
    ) -> None:
        """Keep what each pool's decision record is made of, and count the decisions."""
        mine: dict[PoolKey, list[Done]] = {}
        for item in done:
            mine.setdefault(item.action.pool, []).append(item)
        results: Counter[str] = Counter()
        async for pool in unhurried(look.pools):
            key = pool.entry.pool.key
            decision = decisions.pools.get(key)
            if decision is None:
                continue
            seen = observed.pools[key]
            self._records[key] = _Remembered(seen, decision, mine.get(key, ()), pool.entry.mode.value)
            results[_result(decision)] += 1
            self._steps.metrics.show_pool(seen, decision)
        for result, count in results.items():
            self._steps.metrics.decisions.labels(result).inc(count)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._steps.metrics.round_seconds.labels(step).observe(time.perf_counter() - started)


def _result(decision: PoolDecision) -> str:
    if decision.held:
        return "held"
    change = sum(variant.desired - variant.current for variant in decision.variants)
    return "out" if change > 0 else "in" if change < 0 else "none"
