"""Watches that end in every way there is: the caches fill again, and nothing else in the process notices."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import kopf
import pytest

from forebay.runtime.watch.informer import Informer
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.watching import Scope
from tests.unit.runtime.watch.watch_server import (
    PODS,
    POOLS,
    WatchServer,
    error_event,
    refused,
    told,
    torn,
    watch_server,
)

SOON_SECONDS = 30.0


@dataclass(slots=True)
class Watching:
    """An informer that runs against a scripted server."""

    informer: Informer
    server: WatchServer
    store: Store
    running: asyncio.Task[None]
    failures: list[str]

    async def until(self, what: str, reached: Any) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(SOON_SECONDS):
                while not reached():
                    assert not self.running.done(), self.running.exception()
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"not {what}: {self.server.lists} {self.server.open}")

    async def until_heard(self) -> None:
        """Wait until each kind is watched once, and by nobody who was given up."""
        await self.until("watched once", lambda: self.server.open == {PODS: 1, POOLS: 1})

    def pods(self) -> list[str]:
        return sorted(pod.name for pod in self.store.all_pods())


def informer_of(store: Store, server: WatchServer, failures: list[str]) -> Informer:
    return Informer(
        store,
        scope=Scope(),
        login=lambda: kopf.ConnectionInfo(server=server.url),
        failed=lambda: failures.append("failed"),
        pauses=itertools.repeat(0.03),
    )


async def readable() -> Collection[Kind]:
    return {Kind.PODS, Kind.POOLS}


@asynccontextmanager
async def watching(store: Store, server: WatchServer) -> AsyncIterator[Watching]:
    """Run an informer as long as the context lasts; it must leave nothing behind."""
    failures: list[str] = []
    informer = informer_of(store, server, failures)
    before = asyncio.all_tasks()
    running = asyncio.create_task(informer.run(readable))
    yield Watching(informer, server, store, running, failures)
    informer.stop()
    async with asyncio.timeout(SOON_SECONDS):
        await running
    left = {task.get_name() for task in asyncio.all_tasks() - before if "Task-" not in task.get_name()}
    assert left == set()


@pytest.fixture
async def server() -> AsyncIterator[WatchServer]:
    """A running server."""
    async with watch_server() as running:
        yield running


@pytest.mark.parametrize("line", [error_event(500), error_event(429), "no JSON at all", "{}", '{"type": "ERROR"}'])
async def test_a_watch_that_kopf_takes_as_final_begins_anew(
    store: Store, objects: Any, server: WatchServer, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects against the end of the process, and of every task that is younger than the watches."""
    server.items[PODS] = [objects.pod("a")]
    server.watches[PODS] = [told(line)]
    async with watching(store, server) as under_way:
        younger = asyncio.create_task(asyncio.Event().wait(), name="a round")
        await under_way.until("begun anew", lambda: server.lists[PODS] >= 2)
        server.items[PODS].append(objects.pod("late"))
        await under_way.until_heard()
        assert under_way.failures == ["failed"]
        assert server.lists[PODS] == 2
        assert not younger.done()
        younger.cancel()
    assert "a watch failed, and all begin anew in 0.0 s" in caplog.text


async def test_what_changed_meanwhile_is_seen(store: Store, objects: Any, server: WatchServer) -> None:
    server.watches[PODS] = [told(error_event(500))]
    server.items[PODS] = [objects.pod("a")]
    async with watching(store, server) as under_way:
        await under_way.until("seen", lambda: under_way.pods() == ["a"])
        server.items[PODS].append(objects.pod("b"))
        under_way.informer.begin_anew()
        await under_way.until("seen", lambda: under_way.pods() == ["a", "b"])
        await under_way.until_heard()


@pytest.mark.parametrize("watch", [torn('{"type": "ADDED"}'), refused(403), told(error_event(410))])
async def test_what_kopf_mends_is_no_failure(store: Store, server: WatchServer, watch: Any) -> None:
    server.watches[PODS] = [watch]
    async with watching(store, server) as under_way:
        await under_way.until("asked again", lambda: not server.watches[PODS])
        await under_way.until_heard()
        assert under_way.failures == []


async def test_an_end_while_nobody_answers_is_silent(
    store: Store, server: WatchServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects the last lines of the log, which say why a process ended: kopf is in mid-request then."""
    server.watches[PODS] = [refused(503)] * 1000
    async with watching(store, server) as under_way:
        await under_way.until("refused", lambda: len(server.watches[PODS]) < 1000)
    assert "Exception in callback" not in caplog.text


async def test_endless_failures_end_the_process_and_pauses_are_kept_until_then(
    store: Store, server: WatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caches that cannot be watched any more must not be decided on for ever."""
    monkeypatch.setattr("forebay.runtime.watch.informer._PATIENCE_SECONDS", 0.3)
    server.watches[PODS] = [told("no JSON")] * 1000

    failures: list[str] = []
    informer = informer_of(store, server, failures)
    with pytest.raises(ValueError, match="Expecting value"):
        async with asyncio.timeout(SOON_SECONDS):
            await informer.run(readable)
    assert 1 <= len(failures) <= 11
