"""The caches: nothing is watched that may not be read, and what may be read later counts when it is whole."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.runtime.health import Health
from forebay.runtime.watch import caches as module
from forebay.runtime.watch.audit import Auditor
from forebay.runtime.watch.caches import Caches
from forebay.runtime.watch.kinds import ALL_KINDS, OWN_KINDS, Kind
from forebay.runtime.watch.staleness import StaleCachesError
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.watching import Scope

NODES = "/api/v1/nodes"
SCOPE = Scope(namespaces=("serving",))


class Cluster:
    """Lists what it has, but for what is refused."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.absent: set[str] = set()
        self.served = {kind.value for kind in OWN_KINDS}
        self.items: dict[str, list[Any]] = {}
        self.asked = 0

    async def get(self, path: str, *, params: Mapping[str, str] | None = None, accept: str | None = None) -> Any:
        self.asked += 1
        if path in self.refused:
            raise ApiError(f"GET {path}: 403", status=403)
        if path in self.absent:
            raise ApiError(f"GET {path}: 404", status=404)
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
        auditor=Auditor(cluster, store, SCOPE, clock=clock),  # type: ignore[arg-type]
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
    assert store.kinds == frozenset(ALL_KINDS)
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
    assert frozenset(await kept.readable()) == frozenset(ALL_KINDS)
    cluster.refused = {NODES, *(next(SCOPE.paths(kind)) for kind in ALL_KINDS if kind.cluster_scoped)}
    assert frozenset(await kept.readable()) == frozenset(ALL_KINDS)
    assert store.kinds == frozenset(ALL_KINDS)


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
        assert frozenset(await waiting) == frozenset(ALL_KINDS)


async def test_what_cannot_be_watched_for_minutes_is_not_decided_on(store: Store, clock: Any) -> None:
    """Protects: rights that were taken away were waited for without end, and rounds went on on old caches."""
    cluster = Cluster()
    kept = caches(cluster, store, Watches(), clock)
    await kept.readable()
    cluster.refused = set(SCOPE.paths(Kind.PODS))
    waiting = asyncio.create_task(kept.readable())
    for _ in range(20):
        await asyncio.sleep(0)
        clock.now += 14.0
    assert not waiting.done()
    clock.now += 100.0
    with pytest.raises(StaleCachesError, match=r"nothing could be watched for .* pods in serving"):
        async with asyncio.timeout(5.0):
            await waiting


async def test_the_first_rights_are_waited_for_without_end(store: Store, clock: Any) -> None:
    cluster = Cluster(*SCOPE.paths(Kind.PODS))
    waiting = asyncio.create_task(caches(cluster, store, Watches(), clock).readable())
    for _ in range(20):
        await asyncio.sleep(0)
        clock.now += 3600.0
    assert not waiting.done()
    waiting.cancel()


async def test_caches_are_compared_from_when_they_are_full_and_for_ever(store: Store, clock: Any) -> None:
    """Protects: an odd answer ended the comparisons, and nothing told that there were none any more."""
    cluster = Cluster()
    kept = caches(cluster, store, Watches(), clock)
    kept.resync_seconds = 0.0
    keeping = asyncio.create_task(kept.keep())
    for _ in range(20):
        await asyncio.sleep(0)
    assert cluster.asked == 0
    await kept.readable()
    await kept.fill()
    cluster.items.update({path: [{"metadata": None}] for path in SCOPE.paths(Kind.PODS)})
    before = cluster.asked
    for _ in range(20):
        await asyncio.sleep(0)
    assert cluster.asked > before + 5
    assert not keeping.done()
    keeping.cancel()


async def test_caches_that_are_too_old_end_what_looks_after_them(store: Store) -> None:
    """Protects: the task ended in silence, or was caught by what keeps it alive, and rounds went on."""
    cluster = Cluster()
    kept = caches(cluster, store, Watches(), itertools.count(0.0, 100.0).__next__)
    kept.resync_seconds = 0.0
    await kept.readable()
    await kept.fill()
    cluster.refused = set(SCOPE.paths(Kind.PODS))
    with pytest.raises(StaleCachesError, match="pods may not be read any more"):
        async with asyncio.timeout(5.0):
            await kept.keep()


async def test_kinds_of_other_projects_come_and_go_with_their_crds(store: Store, clock: Any) -> None:
    """Protects a pool whose LeaderWorkerSets were installed after Forebay, and a process from a CRD's removal."""
    kind = next(kind for kind in ALL_KINDS if kind.optional)
    cluster, watches = Cluster(), Watches()
    kept = caches(cluster, store, watches, clock)
    cluster.absent = set(SCOPE.paths(kind))
    assert kind not in await kept.readable()
    assert kind not in store.kinds
    cluster.absent = set()
    await kept.take_new_rights()
    assert watches.begun == 1
    assert kind in store.kinds
    assert kind in await kept.readable()
    cluster.absent = set(SCOPE.paths(kind))
    assert kind not in await kept.readable()
    assert kind not in store.kinds
