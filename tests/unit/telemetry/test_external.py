"""Users' own forecasts: no round waits for them, no other query suffers, and failures quote nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from forebay.flow.observation import Problem
from forebay.telemetry.external import ExternalForecasts
from forebay.telemetry.source import PoolTelemetry
from forebay.telemetry.transport.client import Read
from forebay.telemetry.transport.errors import QueryError, QueryFailure
from forebay.telemetry.transport.meter import NullMeter
from tests.unit.telemetry.scripted import pool
from tests.unit.telemetry.test_observe import SETTINGS, T0

NOTHING = PoolTelemetry(at_seconds=T0)


class Client:
    """Answers a forecast with what a test says, or hangs."""

    def __init__(self) -> None:
        self.answer: object | QueryError = []
        self.hangs = False
        self.running = self.most = self.asked = 0

    async def instant(self, query: str, at_seconds: float, *, kind: str, read: Callable[[object], Read]) -> Read:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.hangs:
                await asyncio.Event().wait()
            if isinstance(self.answer, QueryError):
                raise self.answer
            return read(self.answer)
        finally:
            self.running -= 1

    async def close(self) -> None:
        """Have nothing to close."""


def forecasts(client: Client) -> ExternalForecasts:
    return ExternalForecasts(SETTINGS, NullMeter(), client)  # type: ignore[arg-type]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_slow_queries_hold_up_no_round_and_take_two_threads_at_most() -> None:
    """Protects the fleet: six slow queries of one team kept the whole operator from seeing anything."""
    client = Client()
    client.hangs = True
    source = forecasts(client)
    targets = [replace(pool(f"p{number}"), forecast_query=f"slow_{number}") for number in range(6)]
    for round_number in range(5):
        source.begin(targets, int(T0) + 60 * round_number)
        await settled()
        note = source.add_to(NOTHING, targets[0]).freshness[-1]
        assert (note.problem, note.detail) == (Problem.TOO_FEW, "the query was not answered yet")
    assert client.most == 2
    assert client.asked == 2, "the next ones wait until these have ended"
    await source.close()
    assert client.running == 0


async def test_a_failure_quotes_nothing_that_the_server_said() -> None:
    """Protects series of other teams, which an error of PromQL quotes with their labels."""
    client, target = Client(), replace(pool("chat"), forecast_query="secret_metric")
    words = 'found duplicate series for {__name__="secret_metric", customer="acme"}'
    secrets = [{"metric": {"customer": "acme"}, "value": [T0, "1"]}, {"metric": {}, "value": [T0, "2"]}]
    for answer in (QueryError(QueryFailure.REFUSED, words), secrets, [T0, "-4711"]):
        client.answer = answer
        source = forecasts(client)
        source.begin([target], int(T0))
        await settled()
        note = source.add_to(NOTHING, target).freshness[-1]
        assert note.problem is not None
        assert not [secret for secret in ("acme", "secret", "4711", "2 series") if secret in note.detail]
        await source.close()
