"""Forecasts that users bring as PromQL: read beside the rounds, by a client of their own.

Such a query is somebody else's code. It has its own threads, its own time and its own circuit breaker, and no
round waits for it: a slow or broken query costs its own pool a forecast, and no other pool anything. Of a failure
only the kind is told, since the server's words may quote series that the query's author may not read.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from forebay.flow.observation import Freshness, Problem
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import ExternalRate, PoolTarget, PoolTelemetry
from forebay.telemetry.transport.answer import parse_single
from forebay.telemetry.transport.client import PrometheusClient, PromQlClient
from forebay.telemetry.transport.errors import QueryError
from forebay.telemetry.transport.meter import TelemetryMeter

_LONGEST_QUERY = 4096
_AT_ONCE = 2
_MOST_QUERIES = 200
"""Queries of one fleet: more are left out, the last ones by the order of the pools."""


class ExternalForecasts:
    """Reads the users' queries once per ``slow_seconds``, each for all pools that share it."""

    def __init__(
        self, settings: PrometheusSettings, meter: TelemetryMeter, client: PromQlClient | None = None
    ) -> None:
        self._every_seconds = settings.slow_seconds
        own = replace(settings, threads=_AT_ONCE, retries=0)
        self._client: PromQlClient = client or PrometheusClient(own, _OwnBreaker(meter))
        self._answers: dict[str, tuple[float, ExternalRate | Freshness]] = {}
        self._reading: asyncio.Task[None] | None = None

    def begin(self, targets: Sequence[PoolTarget], end: int) -> None:
        """Begin to read the queries that are due, unless the last ones are still being read."""
        wanted = list(dict.fromkeys(t.forecast_query for t in targets if t.forecast_query is not None))
        wanted = wanted[:_MOST_QUERIES]
        self._answers = {query: old for query, old in self._answers.items() if query in wanted}
        due = [
            query
            for query in wanted
            if query not in self._answers or end - self._answers[query][0] >= self._every_seconds
        ]
        if due and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read_all(due, end), name="external forecasts")

    def add_to(self, telemetry: PoolTelemetry, target: PoolTarget) -> PoolTelemetry:
        """Return a pool's telemetry with the newest answer to its query."""
        if target.forecast_query is None:
            return telemetry
        _, answer = self._answers.get(target.forecast_query, (0.0, _NOT_YET))
        if isinstance(answer, Freshness):
            return replace(telemetry, freshness=(*telemetry.freshness, answer))
        age = max(0.0, telemetry.at_seconds - answer.sample_seconds)
        note = Freshness(signal="forecast", age_seconds=age)
        return replace(telemetry, external_forecast=answer, freshness=(*telemetry.freshness, note))

    def forget(self) -> None:
        """Forget all answers: the clock was set back."""
        self._answers = {}

    async def close(self) -> None:
        """Stop reading and release connections and threads."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._client.close()

    async def _read_all(self, queries: Sequence[str], end: int) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def read(query: str) -> None:
            async with room:
                self._answers[query] = (end, await self._read(query, end))

        await asyncio.gather(*(read(query) for query in queries))

    async def _read(self, query: str, end: int) -> ExternalRate | Freshness:
        if len(query) > _LONGEST_QUERY:
            return _failed(Problem.MISSING, f"the query is longer than {_LONGEST_QUERY} characters")
        try:
            found = await self._client.instant(query, end, kind="forecast", read=parse_single)
        except QueryError as error:
            return _failed(Problem.UNREACHABLE, f"the query failed ({error.failure.value})")
        if isinstance(found, str):
            return _failed(Problem.MISSING, "the query does not give exactly one number")
        if found[1] < 0.0:
            return _failed(Problem.NOT_A_NUMBER, "the query gives less than zero requests")
        return ExternalRate(requests_per_second=found[1], sample_seconds=found[0])


def _failed(problem: Problem, detail: str) -> Freshness:
    return Freshness(signal="forecast", problem=problem, detail=detail)


_NOT_YET = _failed(Problem.TOO_FEW, "the query was not answered yet")


class _OwnBreaker:
    """Counts queries as all others, and keeps the breaker of these from showing as that of Prometheus."""

    def __init__(self, meter: TelemetryMeter) -> None:
        self.query_finished = meter.query_finished
        self.samples_read = meter.samples_read
        self.query_abandoned = meter.query_abandoned

    def breaker_changed(self, state: str) -> None:
        """Take no note."""
