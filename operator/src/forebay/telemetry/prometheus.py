"""The telemetry source on Prometheus: every round a fixed number of queries, however many pools there are."""

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence

from forebay.flow.fleet import PoolKey
from forebay.flow.observation import Freshness, Problem
from forebay.telemetry.external import ExternalForecasts
from forebay.telemetry.group_memory import GroupMemory
from forebay.telemetry.history import read_history
from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.facts import LATENCIES, SeriesFacts
from forebay.telemetry.query.grouping import GroupId, Plan, SharedQueries, make_plan
from forebay.telemetry.query.histograms import wanted_edges
from forebay.telemetry.query.pod_requests import read_pod_requests
from forebay.telemetry.query.readings import NEWEST, Reader, Slots, arrival_names
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.signals.arrivals import choose_slot
from forebay.telemetry.signals.assemble import Assembler
from forebay.telemetry.signals.pool_view import GroupRound, PoolView, SignalMemory
from forebay.telemetry.source import History, PodName, PoolTarget, PoolTelemetry
from forebay.telemetry.transport.answer import Labels
from forebay.telemetry.transport.client import PrometheusClient, PromQlClient
from forebay.telemetry.transport.meter import NullMeter, TelemetryMeter

_LONGEST_INTERVAL_ROUNDS = 8
_EARLY_SECONDS = 1.0
_POOLS_AT_A_TIME = 20


class PrometheusTelemetry:
    """Observes pools through PromQL. Not safe for use by two rounds at once."""

    def __init__(
        self,
        settings: PrometheusSettings,
        *,
        client: PromQlClient | None = None,
        meter: TelemetryMeter | None = None,
    ) -> None:
        self._settings = settings
        self._meter: TelemetryMeter = meter or NullMeter()
        self._client: PromQlClient = client or PrometheusClient(settings, self._meter)
        self._groups: dict[GroupId, GroupMemory] = {}
        self._pools: dict[PoolKey, SignalMemory] = {}
        self._forecasts = ExternalForecasts(settings, self._meter, client)
        self._end: int | None = None

    async def observe(self, targets: Sequence[PoolTarget], at_seconds: float) -> Mapping[PoolKey, PoolTelemetry]:
        """Observe all pools at once."""
        end = self._choose_end(at_seconds)
        if end is None:
            return {target.key: _too_early(at_seconds) for target in targets}
        self._end = end
        plan = make_plan(targets, self._settings)
        self._forget(plan)
        self._forecasts.begin(targets, end)
        found = await self._read_groups(plan, end)
        keep = self._settings.catch_up_seconds
        result: dict[PoolKey, PoolTelemetry] = {}
        for number, (key, place) in enumerate(plan.pools.items()):
            if number % _POOLS_AT_A_TIME == 0:
                await asyncio.sleep(0)  # other tasks of the loop (liveness, the lease) must not wait for a fleet
            memory = self._pools.setdefault(key, SignalMemory())
            view = PoolView(place, found, memory, self._settings.stuck_seconds)
            telemetry = Assembler(view, keep).assemble(end)
            result[key] = self._forecasts.add_to(telemetry, place.target)
        return result

    async def pod_requests(
        self, targets: Sequence[PoolTarget], pods: Collection[PodName], at_seconds: float
    ) -> Mapping[PodName, float]:
        """Return the requests that some pods of these pools hold; a pod that does not report is absent."""
        settled = at_seconds - self._settings.settle_seconds
        return await read_pod_requests(self._client, self._settings, targets, pods, settled) if pods else {}

    async def look_up(self) -> bool:
        """Read a part of what is read now and then about one group of pools, and return whether another is due.

        A server that did not answer the last round is not asked.
        """
        end = self._end
        if end is None:
            return False
        answered = [memory for memory in self._groups.values() if memory.counted_until == end]
        pieces = [piece for memory in answered for piece in memory.due(end)]
        if pieces:
            await pieces[0]()
        return len(pieces) > 1

    async def history(
        self, targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float
    ) -> Mapping[PoolKey, History]:
        """Return requests per minute of each pool."""
        return await read_history(self._client, self._settings, targets, since_seconds, at_seconds)

    async def close(self) -> None:
        """Release connections and threads."""
        await self._forecasts.close()
        await self._client.close()

    def _choose_end(self, at_seconds: float) -> int | None:
        """Return the time up to which this round observes, ``None`` if nothing new can be there.

        Rounds come a little early or late. As long as they keep their pace the intervals have exactly its length,
        so that each replica's scrapes fall evenly into them. It is never later than what has settled, but for a
        quarter of that time: a sample that appears after its time was evaluated would be lost to every interval.
        """
        grid, pace = self._settings.grid_seconds, round(self._settings.interval_seconds)
        settled = at_seconds - self._settings.settle_seconds
        newest = math.floor(settled / grid) * grid
        if self._end is None:
            return newest
        if newest < self._end - 10 * pace:  # the clock was set back: nothing remembered fits any more
            self._groups, self._pools = {}, {}
            self._forecasts.forget()
            return newest
        early = min(_EARLY_SECONDS, self._settings.settle_seconds / 4)
        rounds = math.floor((settled + early - self._end) / pace)
        if rounds > 0:
            return self._end + rounds * pace
        return newest if newest > self._end else None

    def _forget(self, plan: Plan) -> None:
        self._groups = {group: memory for group, memory in self._groups.items() if group in plan.groups}
        self._pools = {key: memory for key, memory in self._pools.items() if key in plan.pools}

    async def _read_groups(self, plan: Plan, end: int) -> dict[GroupId, GroupRound]:
        rounds = await asyncio.gather(
            *(
                self._read_group(group, plan.groups[group], plan.members.get(group, []), end)
                for group in plan.groups
            )
        )
        found = dict(zip(plan.groups, rounds, strict=True))
        keys: dict[GroupId, set[Labels]] = {group: set() for group in found}
        for pool in plan.pools.values():
            for place in pool.places:
                keys[place.group].add(place.key)
        for group, one in found.items():
            one.new_series.forget_all_but(keys[group])
            self._groups[group].incomplete = any(one.readings.row(NEWEST, key) is None for key in keys[group])
        return found

    async def _read_group(
        self, group_id: GroupId, group: SharedQueries, members: Sequence[PoolTarget], end: int
    ) -> GroupRound:
        memory = self._groups.setdefault(group_id, GroupMemory(self._client, self._settings, group))
        memory.update(group, (target.slo.target for target in members))
        await memory.read_late_facts(end)
        slots = self._slots(memory, end)
        reader = Reader(
            self._client,
            group,
            self._settings,
            self._meter,
            memory.facts,
            slots,
            deduplicate=memory.may_have_duplicates,
            ask_for_stuck=memory.may_be_stuck,
        )
        readings = await reader.read(self._edges_for(memory.facts, members))
        memory.may_have_duplicates = readings.may_have_duplicates
        memory.may_be_stuck = readings.may_be_stuck
        if readings.failed(arrival_names(group.dialect)) is None:
            memory.counted_until = end
        memory.asked_until = end
        await memory.read_late_figures(end)
        return GroupRound(group, readings, memory.new_series, memory.slow, lengths_are_new=memory.slow.take_news())

    def _edges_for(self, facts: SeriesFacts, members: Sequence[PoolTarget]) -> dict[Signal, list[str]]:
        """Return the bucket edges of each latency that this round's objectives need."""
        ttft: set[float] = set()
        for target in members:
            memory = self._pools.get(target.key)
            delay = memory.decode_delay_seconds if memory is not None else None
            ttft |= {target.slo.ttft_seconds, target.slo.ttft_seconds - (delay or 0.0)}
        itl = {target.slo.itl_seconds for target in members}
        return {
            signal: wanted_edges(facts.edges.get(signal, {}), ttft if signal is Signal.TTFT else itl)
            for signal in LATENCIES
        }

    def _slots(self, memory: GroupMemory, end: int) -> Slots:
        pace = round(self._settings.interval_seconds)
        asked = end - pace if memory.asked_until is None else memory.asked_until
        interval = end - asked if 0 < end - asked <= _LONGEST_INTERVAL_ROUNDS * pace else pace
        counted = memory.counted_until
        start = end - interval if counted is None or counted >= end else counted
        start = max(start, end - math.ceil(self._settings.catch_up_seconds / interval) * interval)
        slot = choose_slot(
            math.gcd(end - start, interval), memory.facts.finest_scrape_seconds, self._settings.grid_seconds
        )
        return Slots(start, end, slot, interval)


def _too_early(at_seconds: float) -> PoolTelemetry:
    early = Freshness(signal="arrivals", problem=Problem.TOO_FEW, detail="the last round was only a moment ago")
    return PoolTelemetry(at_seconds=at_seconds, freshness=(early,))
