"""kopf as informer: only handlers that store nothing in the cluster, settings that never stall."""

import asyncio
from itertools import islice
from typing import Any

import kopf
import pytest
from kubernetes.aio.client.configuration import Configuration

from forebay.runtime.watch.informer import (
    EndlessBackoff,
    Informer,
    connection_info,
    kopf_settings,
)
from forebay.runtime.watch.kinds import ALL_KINDS, Kind
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.watching import Scope


def test_handlers_need_no_finalizer_and_keep_nothing_in_annotations(store: Store) -> None:
    registry = Informer(store, scope=Scope(), login=lambda: pytest.fail("not now")).registry(store.kinds)
    assert len(registry._watching.get_all_handlers()) == len(ALL_KINDS)
    for stateful in (registry._changing, registry._spawning, registry._indexing):
        assert list(stateful.get_all_handlers()) == []


def test_what_may_not_be_read_is_not_watched(store: Store) -> None:
    store.without = {Kind.NODES: "may not be read"}
    registry = Informer(store, scope=Scope(), login=lambda: pytest.fail("not now")).registry(store.kinds)
    assert {str(handler.id) for handler in registry._watching.get_all_handlers()} == {
        kind.value for kind in ALL_KINDS if kind is not Kind.NODES
    }


async def test_it_runs_as_a_user_without_a_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against a crash in every container whose user id is in no passwd file."""

    def nameless() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nameless)
    nobody = kopf.ConnectionInfo(server="http://127.0.0.1:9")
    informer = Informer(store, scope=Scope(), login=lambda: nobody)
    started = asyncio.Event()

    async def all_kinds() -> frozenset[Kind]:
        return store.kinds

    running = asyncio.create_task(informer.run(all_kinds, started.set))
    async with asyncio.timeout(10):
        await asyncio.wait([running, asyncio.create_task(started.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_odd_object_is_counted_and_the_next_one_comes(
    store: Store, objects: Any, caplog: pytest.LogCaptureFixture
) -> None:
    informer = Informer(store, scope=Scope(), login=lambda: pytest.fail("not now"))
    handle = informer._handler(Kind.PODS)
    await handle(event={"type": None, "object": {"metadata": None}})
    await handle(event={"type": "ADDED", "object": objects.pod("a")})
    assert informer.unreadable == 1
    assert [pod.name for pod in store.all_pods()] == ["a"]
    await handle(event={"type": "DELETED", "object": objects.pod("a")})
    assert list(store.all_pods()) == []


def test_settings_never_stall_and_collide_with_nobody() -> None:
    settings = kopf_settings(Scope(pools="shard=a", pods="llm=true"))
    assert settings.queueing.worker_limit is None
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert str(settings.watching.server_timeout) == "270"
    assert settings.persistence.finalizer.startswith("forebay.io/")
    assert isinstance(settings.networking.error_backoffs, EndlessBackoff)
    assert len(list(islice(settings.networking.error_backoffs, 1000))) == 1000


def test_backoffs_grow_to_a_bound_and_start_afresh() -> None:
    backoff = EndlessBackoff()
    delays = list(islice(backoff, 50))
    assert delays[0] < 1.0
    assert max(delays) <= 13.0
    assert min(delays[10:]) >= 10.0
    assert next(iter(backoff)) < 1.0


def test_kopf_gets_the_credentials_of_our_own_client() -> None:
    configuration = Configuration()
    configuration.host = "https://example.invalid:6443"
    configuration.api_key = {"BearerToken": "bearer abc"}
    info = connection_info(configuration)
    assert (info.server, info.scheme, info.token, info.insecure) == (
        "https://example.invalid:6443",
        "Bearer",
        "abc",
        False,
    )
