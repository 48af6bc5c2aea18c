"""What single pods hold, for choosing those that go."""

from collections.abc import Callable

from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.transport.client import Read
from forebay.telemetry.transport.errors import QueryError, QueryFailure
from tests.unit.telemetry.scripted import ScriptedClient, pool
from tests.unit.telemetry.test_observe import SETTINGS, T0


def source(client: ScriptedClient) -> PrometheusTelemetry:
    return PrometheusTelemetry(SETTINGS, client=client)


PODS = [("ns", "chat-a-1"), ("ns", "chat-a-2"), ("other", "chat-a-1")]


async def test_a_pod_s_requests_are_those_that_run_and_wait() -> None:
    # Two questions, running and waiting, are answered alike here.
    client = ScriptedClient(
        {"pods": {("ns", "chat-a-1"): 3.0, ("ns", "stranger"): 9.0}}, labels=("namespace", "pod")
    )
    assert await source(client).pod_requests([pool()], PODS, T0) == {("ns", "chat-a-1"): 6.0}


async def test_a_server_that_does_not_answer_says_nothing_of_any_pod() -> None:
    client = ScriptedClient({"pods": {("ns", "chat-a-1"): 3.0}}, labels=("namespace", "pod"), down=True)
    assert await source(client).pod_requests([pool()], PODS, T0) == {}


class WithoutQueues(ScriptedClient):
    """Answers nothing about requests that wait."""

    async def instant(self, query: str, at_seconds: float, *, kind: str, read: Callable[[object], Read]) -> Read:
        if "waiting" in query:
            raise QueryError(QueryFailure.TIMEOUT, "no answer")
        return await super().instant(query, at_seconds, kind=kind, read=read)


async def test_half_an_answer_does_not_make_a_pod_look_empty() -> None:
    client = WithoutQueues({"pods": {("ns", "chat-a-1"): 0.0}}, labels=("namespace", "pod"))
    assert await source(client).pod_requests([pool()], PODS, T0) == {}


async def test_nobody_is_asked_of_no_pod() -> None:
    client = ScriptedClient()
    assert await source(client).pod_requests([pool()], [], T0) == {}
    assert not client.asked
