"""The control loop: observe, decide, act, report, once per interval, whatever happens."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from forebay.actuation.scale import ScaleWriter
from forebay.flow.decision import FleetDecision, PoolDecision
from forebay.flow.fleet import PoolKey
from forebay.flow.observation import FleetObservation
from forebay.forecast.resolution import ONE_MINUTE, Resolution
from forebay.pipeline import FleetState
from forebay.pipeline.prices import running_usd_per_hour
from forebay.runtime.act import Done, act, actions
from forebay.runtime.capacity import Capacity
from forebay.runtime.cluster.look import Look, going_nodes
from forebay.runtime.cluster.references import GatewayPools
from forebay.runtime.cluster.roster import Roster, RosterKeeper
from forebay.runtime.cluster.targetreader import TargetReader
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.decider import Decider
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.metrics import Metrics
from forebay.runtime.observe import (
    attainments_left,
    external_forecasts,
    fleet_observation,
    fleet_of,
    telemetry_target,
)
from forebay.runtime.pause import PauseWork
from forebay.runtime.report.record import decision_record
from forebay.runtime.report.reporter import Reporter
from forebay.runtime.scalein import ScaleIns
from forebay.runtime.slices import in_slices
from forebay.runtime.statefiles import StateFiles
from forebay.runtime.warmup import WarmUp
from forebay.runtime.watch.kinds import Kind
from forebay.telemetry.source import PoolTelemetry, TelemetrySource

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Steps:
    """What a round is made of; each part can be replaced in a test."""

    keeper: RosterKeeper
    gateway_pools: GatewayPools
    target_reader: TargetReader
    world: ClusterView
    source: TelemetrySource
    warm_up: WarmUp
    writer: ScaleWriter
    scale_ins: ScaleIns
    capacity: Capacity
    reporter: Reporter
    metrics: Metrics
    files: StateFiles | None
    wall_clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a round saw and decided before it writes anything."""

    roster: Roster
    everything: Look
    """Also the pools that wait for their past."""
    look: Look
    observed: FleetObservation
    decisions: FleetDecision


def _stagger_seconds(resolution: Resolution, interval_seconds: float) -> float:
    """Return by how much to shift the steps of different forecasters, so that each round has its share of them."""
    rounds = int(resolution.step_seconds // interval_seconds)
    return resolution.step_seconds / rounds if rounds > 1 else 0.0


class ControlLoop:
    """Runs rounds, and in the pauses between them the work that can wait."""

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
        state = FleetState(resolution, stagger_seconds=_stagger_seconds(resolution, interval_seconds))
        self._decider = Decider(state, steps.files)
        self._pause = PauseWork(self._decider, steps.warm_up, steps.reporter, steps.source, steps.metrics)
        self._one_at_a_time = asyncio.Lock()

    def record_of(self, key: PoolKey) -> Mapping[str, Any] | None:
        """Return the last decision record of a pool as JSON data."""
        last = self._decider.last(key)
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
            # A round that took too long is followed by a short pause all the same, so that other tasks can run.
            await asyncio.sleep(max(0.05, due - loop.time()))

    async def round(self) -> bool:
        """Run one round; True if every step of it succeeded.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        steps = self._steps
        try:
            with self._timed("all"):
                complete = await self._round()
        except LeaseLostError:
            raise
        except Exception:  # whatever one round runs into, the next one comes
            logger.exception("a round failed; the next one comes")
            complete = False
        steps.metrics.rounds.labels("ok" if complete else "failed").inc()
        if complete:
            steps.metrics.last_round.set(steps.wall_clock())
        return complete

    async def use_pause(self, due_seconds: float, cut_short: Callable[[], bool] = lambda: False) -> None:
        """Do what can wait until the next round is due, in the loop's time; a piece of each kind at least.

        ``cut_short`` is asked before each further piece, and ends the pause.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        await self._pause.until(due_seconds, cut_short)

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
        self._decider.close()

    async def follow(self) -> None:
        """Observe and decide as the leader does, and write nothing: the next leader knows what this one knew."""
        # What the leader wrote since is in the statuses.
        self._steps.world.writes.last.clear()
        try:
            seen = await self._see()
        except Exception:  # a standby that cannot follow can still lead
            logger.exception("the standby could not follow; it tries again")
            return
        self._steps.world.tidy(seen.roster)

    async def _see(self) -> _Seen:
        """Run the steps that write nothing: look, observe, decide."""
        steps = self._steps
        now = steps.wall_clock()
        with self._timed("look"):
            roster = await steps.gateway_pools.check(await steps.keeper.build(now))
            steps.world.other_workloads = await steps.target_reader.read(roster)
            look = steps.world.look(roster, now, await steps.capacity.sights(roster, now))
        self._begin(look)
        with self._timed("observe"):
            measured = await self._measure(look)
            parked_requests = await steps.scale_ins.parked_requests(look.pools, now)
        pasts, late = steps.warm_up.take_without_past(), steps.warm_up.join_late()
        steps.metrics.warming.set(steps.warm_up.waiting)
        taking_part = tuple(pool for pool in look.pools if steps.warm_up.is_known(pool.entry.pool.key))
        everything, look = look, replace(look, pools=taking_part)
        observed = fleet_observation(look, measured, parked_requests)
        with self._timed("decide"):
            decisions = await self._decider.decide(
                fleet_of(look, roster.fleet_policy),
                observed,
                pasts=pasts,
                late=late,
                forecasts=external_forecasts(look, measured),
                attainments=attainments_left(look, self._decider.decided),
            )
        return _Seen(roster, everything, look, observed, decisions)

    async def _round(self) -> bool:
        """Run the steps; False if one failed after the decision: the round is reported all the same."""
        steps, seen = self._steps, await self._see()
        look, observed, decisions = seen.look, seen.observed, seen.decisions
        with self._timed("act"):
            todo = await steps.scale_ins.choose(
                actions(look.pools, decisions.pools),
                look.pools,
                emptying=decisions.emptying | going_nodes(look),
                now_seconds=look.at_seconds,
            )
            marks = steps.scale_ins.marks
            done = await act(todo, steps.writer, marks, steps.world, steps.metrics, now_seconds=look.at_seconds)
            # After the counts: whoever makes many pods that look marked must not keep other pools waiting.
            await steps.scale_ins.tidy(seen.everything.pools, steps.world, todo)
            # Pools that wait for their past keep the nodes that they have.
            asked, provided = await steps.capacity.ensure(seen.everything, decisions)
            look = replace(look, node_pools=asked.node_pools)
        await self._remember(look, observed, decisions, done)
        with self._timed("report"):
            told = await steps.reporter.report(seen.roster, look, observed, decisions, done)
        steps.world.tidy(seen.roster)
        return provided and told and not any(item.crashed for item in done)

    def _begin(self, look: Look) -> None:
        """Begin what new pools need, and forget what belongs to pools that are gone."""
        steps = self._steps
        lead_times = {
            pool.entry.pool.key: tuple(variant.lead_time_seconds for variant in pool.variants)
            for pool in look.pools
        }
        existing = frozenset(PoolKey(*key) for key in steps.world.store.keys(Kind.POOLS))
        self._decider.begin_round(lead_times, existing)
        steps.warm_up.keep_only(lead_times)
        for pool in look.pools:
            steps.warm_up.start(pool.entry.pool, partial(telemetry_target, pool))
        steps.metrics.keep_only(lead_times, (pool.entry.node_pool.name for pool in look.node_pools))
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

    async def _remember(
        self, look: Look, observed: FleetObservation, decisions: FleetDecision, done: Sequence[Done]
    ) -> None:
        """Keep what each pool's decision record is made of, and count the decisions."""
        by_pool: dict[PoolKey, list[Done]] = {}
        for item in done:
            by_pool.setdefault(item.action.pool, []).append(item)
        results: Counter[str] = Counter()
        async for pool in in_slices(look.pools):
            key = pool.entry.pool.key
            decision = decisions.pools.get(key)
            if decision is None:
                continue
            seen = observed.pools[key]
            self._decider.remember(seen, decision, by_pool.get(key, ()), pool.entry.mode.value)
            results[_result(decision)] += 1
            self._steps.metrics.show_pool(seen, decision, running_usd_per_hour(pool.entry.pool, seen))
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
