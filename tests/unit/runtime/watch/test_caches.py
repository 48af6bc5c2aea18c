"""The caches: nothing is watched that may not be read, and what may be read later counts when it is whole."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.runtime.health import Health
from forebay.runtime.watch import caches as module
from forebay.runtime.watch.audit import Auditor
from forebay.runtime.watch.caches import Caches
from forebay.runtime.watch.store import OWN_KINDS, Kind, Store
from forebay.runtime.watch.watching import CLUSTER_SCOPED, Scope

NODES = "/api/v1/nodes"
SCOPE = Scope(namespaces=("serving",))


class Cluster:
    """Lists what it has, but for what is refused."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.served = {kind.value for kind in OWN_KINDS}
        self.items: dict[str, list[Any]] = {}

    async def get(self, path: str, *, params: Mapping[str, str] | None = None, accept: str | None = None) -> Any:
        if path in self.refused:
            raise ApiError(f"GET {path}: 403", status=403)
        if path == "/apis/forebay.io/v1alpha1":
            return {"resources": [{"name": name} for name in self.served]}
        return {"items": self.items.get(path, []), "metadata": {}}


class Watches:
    """Notes that it was asked to begin anew."""

    def __init__(self) -> None:
        self.begun = 0

    def begin_anew(self) -> None:
        self.begun += 1


def caches(cluster: Cluster, store: Store, watches: Watches, clock: Any) -> Caches:
    return Caches(
        api=cluster,  # type: ignore[arg-type]
        store=store,
        scope=SCOPE,
        auditor=Auditor(cluster, store, SCOPE),  # type: ignore[arg-type]
        informer=watches,  # type: ignore[arg-type]
        health=Health(clock=clock, interval_seconds=15.0),
        resync_seconds=300.0,
    )


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ACCESS_SECONDS", 0.0)
    monkeypatch.setattr(module, "_COMPLETENESS_SECONDS", 0.0)


async def test_rights_that_are_given_later_count_when_their_cache_is_whole(
    store: Store, objects: Any, clock: Any
) -> None:
    """A cache of nodes that is still empty would say that there are none."""
    cluster, watches = Cluster(NODES), Watches()
    kept = caches(cluster, store, watches, clock)
    assert Kind.NODES not in await kept.readable()
    await kept.take_new_rights()
    assert watches.begun == 0

    cluster.refused.clear()
    cluster.items[NODES] = [objects.node("n")]
    taking = asyncio.create_task(kept.take_new_rights())
    for _ in range(50):
        await asyncio.sleep(0)
    assert watches.begun == 1
    assert Kind.NODES in await kept.readable()
    assert Kind.NODES not in store.kinds
    store.apply(Kind.NODES, objects.node("n"))
    await taking
    assert store.kinds == frozenset(Kind)
    await kept.take_new_rights()
    assert watches.begun == 1


async def test_a_cache_that_does_not_fill_does_not_count(
    store: Store, objects: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_LOOKS", 3)
    cluster = Cluster(NODES)
    kept = caches(cluster, store, Watches(), clock)
    await kept.readable()
    cluster.refused.clear()
    cluster.items[NODES] = [objects.node("n")]
    await kept.take_new_rights()
    assert Kind.NODES not in store.kinds


async def test_rights_that_are_taken_away_are_waited_for(store: Store, clock: Any) -> None:
    """What was read once is in decisions: it may grow old, but it must not look gone."""
    cluster = Cluster()
    kept = caches(cluster, store, Watches(), clock)
    assert frozenset(await kept.readable()) == frozenset(Kind)
    cluster.refused = {NODES, *(next(SCOPE.paths(kind)) for kind in CLUSTER_SCOPED)}
    assert frozenset(await kept.readable()) == frozenset(Kind)
    assert store.kinds == frozenset(Kind)


async def test_what_was_deleted_while_nobody_watched_is_dropped(store: Store, objects: Any, clock: Any) -> None:
    cluster = Cluster()
    kept = caches(cluster, store, Watches(), clock)
    await kept.readable()
    for name in ("here", "gone"):
        store.apply(Kind.NODES, objects.node(name))
    cluster.items[NODES] = [objects.node("here")]
    await kept.readable()
    assert set(store.nodes) == {"here"}


async def test_crds_that_are_gone_for_a_while_are_waited_for(store: Store, clock: Any) -> None:
    cluster = Cluster()
    cluster.served.remove("scalingpolicies")
    kept = caches(cluster, store, Watches(), clock)
    waiting = asyncio.create_task(kept.readable())
    for _ in range(20):
        await asyncio.sleep(0)
    assert kept.health.waiting_for == "install the CRDs: scalingpolicies are missing"
    assert not waiting.done()
    cluster.served.add("scalingpolicies")
    async with asyncio.timeout(5.0):
        assert frozenset(await waiting) == frozenset(Kind)
