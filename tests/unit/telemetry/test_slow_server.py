"""A server that is slow and healthy: it is read as far as a round's time allows, and never taken for ill."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.transport import client as client_module
from forebay.telemetry.transport import session as http_session
from forebay.telemetry.transport.breaker import BreakerState
from forebay.telemetry.transport.client import ROUND_PATIENCE, PrometheusClient
from forebay.telemetry.transport.errors import QueryError, QueryFailure
from tests.unit.telemetry.counting_meter import CountingMeter
from tests.unit.telemetry.fake_server import FakeServer, Handler, hang, status, success
from tests.unit.telemetry.scripted import ScriptedClient, pool

ONE = [{"metric": {}, "value": [1.0, "1"]}]
ANSWER_SECONDS = 3.5
T0 = 1_795_132_800.0


@dataclass
class Clock:
    """Seconds that pass only while the server works."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


def client_of(server: FakeServer, meter: CountingMeter, **settings: object) -> PrometheusClient:
    values = {"url": server.url, "retries": 0, "threads": 1, "breaker_failures": 1, **settings}
    return PrometheusClient(PrometheusSettings(**values), meter)  # type: ignore[arg-type]


async def ask(client: PrometheusClient) -> QueryFailure | None:
    """Return why a query has no answer; None if it has one."""
    try:
        await client.instant("up", 1.0, kind="test", read=lambda result: result)
    except QueryError as error:
        return error.failure
    return None


async def until(reached: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(10_000):
        if reached():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never came to this")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that the client sees."""
    clock = Clock()
    monkeypatch.setattr(client_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(http_session, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


async def test_a_slow_server_is_read_as_far_as_the_rounds_time_allows(server: FakeServer, clock: Clock) -> None:
    """Protects: time in our own queue counted as the server's: the breaker opened and rounds were blind."""
    all_asked = threading.Event()

    def slowly(handler: Handler) -> None:
        all_asked.wait(10.0)
        clock.now += ANSWER_SECONDS
        success(ONE)(handler)

    server.replies = [slowly]
    meter = CountingMeter()
    client = client_of(server, meter, query_timeout_seconds=8.0)
    began = clock.now
    asking = [asyncio.create_task(ask(client)) for _ in range(7)]
    await asyncio.sleep(0)
    all_asked.set()
    failures = await asyncio.gather(*asking)
    await client.close()
    # The fifth begins 14 s after all were asked for, has 0.4 s left and takes longer.
    assert failures == [None] * 4 + [QueryFailure.NO_THREAD] * 3
    assert clock.now - began - ANSWER_SECONDS < ROUND_PATIENCE * 8.0
    assert client.breaker_state is BreakerState.CLOSED
    assert (meter.states, meter.abandoned) == ([], 0)


async def test_a_query_that_never_had_a_thread_is_not_abandoned(server: FakeServer) -> None:
    """Protects: it counted as one that still kept a thread busy, and as an answer that the server owed."""
    server.replies = [hang]
    meter = CountingMeter()
    client = client_of(server, meter, read_timeout_seconds=5.0, query_timeout_seconds=0.2, breaker_failures=2)
    failures = await asyncio.gather(*(ask(client) for _ in range(4)))
    await client.close()
    assert sorted(map(str, failures)) == ["no_thread"] * 3 + ["timeout"]
    assert sorted(meter.outcomes) == ["no_thread"] * 3 + ["timeout"]
    assert meter.abandoned <= 2
    assert client.breaker_state is BreakerState.CLOSED


async def test_queries_that_wait_are_not_sent_to_a_server_found_ill_meanwhile(server: FakeServer) -> None:
    """Protects: a round with a server that hangs would take twice its limit, for answers that nobody expects."""
    server.replies = [status(500)]
    client = client_of(server, CountingMeter())
    failures = await asyncio.gather(*(ask(client) for _ in range(5)))
    await client.close()
    assert failures == [QueryFailure.SERVER] + [QueryFailure.BREAKER_OPEN] * 4
    assert len(server.asked) == 1


async def test_who_gives_up_waiting_leaves_the_probe_of_another_alone(server: FakeServer) -> None:
    """Protects: a second probe began, and those who waited for the first one waited for ever."""
    server.replies = [hang, status(500), hang]
    meter = CountingMeter()
    client = client_of(server, meter, threads=3, breaker_cool_down_seconds=0.01)
    old = asyncio.create_task(ask(client))
    await until(lambda: bool(server.asked))
    assert await ask(client) is QueryFailure.SERVER
    await asyncio.sleep(0.03)
    probe = asyncio.create_task(ask(client))
    await until(lambda: client.breaker_state is BreakerState.HALF_OPEN)
    old.cancel()
    await asyncio.gather(old, return_exceptions=True)
    assert client.breaker_state is BreakerState.HALF_OPEN
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    await client.close()


@dataclass
class OrderedClient(ScriptedClient):
    """Remembers the order of the questions."""

    order: list[str] = field(default_factory=list)

    def _note(self, kind: str) -> None:
        self.order.append(kind)
        super()._note(kind)


async def test_arrivals_of_all_groups_are_asked_for_before_the_figures_of_any() -> None:
    """Protects: where time is too short for all, the last groups were blind and the first had every figure."""
    client = OrderedClient()
    source = PrometheusTelemetry(PrometheusSettings(), client=client)
    groups = [pool("a"), replace(pool("b"), labels={"team": "b"}), replace(pool("c"), labels={"zone": "c"})]
    await source.observe(groups, T0)
    newest = [number for number, kind in enumerate(client.order) if kind == "newest"]
    assert len(newest) == 3
    assert newest[-1] < client.order.index("replicas")
