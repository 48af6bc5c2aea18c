"""Caches that stopped following the cluster: found out by what a list shows, and never mistaken for a slow one."""

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.runtime.health import Health
from forebay.runtime.watch.audit import Auditor
from forebay.runtime.watch.caches import Caches
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.staleness import StaleCachesError
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.watching import Scope

RESYNC_SECONDS = 300.0
PODS = "/api/v1/pods"


class Cluster:
    """Lists what it has; a test changes it, and decides what watches tell the store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.items: dict[str, dict[str, Any]] = defaultdict(dict)
        self.errors: dict[str, ApiError] = {}
        self.during: Callable[[], None] = lambda: None
        """What happens after the server has read its list, and before the answer is here."""
        self._version = 0

    async def get(self, path: str, *, params: Mapping[str, str] | None = None, accept: str | None = None) -> Any:
        if path in self.errors:
            raise self.errors[path]
        found = copy.deepcopy(list(self.items[path].values()))
        if path.endswith("/pods"):
            self.during()
        return {"items": found, "metadata": {}}

    def change(self, body: Any, path: str = PODS, *, told: bool = True) -> None:
        """Make or change an object; a watch tells of it unless it is silent."""
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.items[path][body["metadata"]["name"]] = body
        if told:
            self.store.apply(Kind.PODS, copy.deepcopy(body))


class Rig:
    """Caches over such a cluster, compared whenever a test says so."""

    def __init__(self, store: Store, clock: Any, scope: Scope) -> None:
        self.clock, self.cluster = clock, Cluster(store)
        self.health = Health(clock=clock, interval_seconds=15.0, caches_complete=True)
        self.caches = Caches(
            api=self.cluster,  # type: ignore[arg-type]
            store=store,
            scope=scope,
            auditor=Auditor(self.cluster, store, scope, clock=clock),  # type: ignore[arg-type]
            informer=None,  # type: ignore[arg-type]
            health=self.health,
            resync_seconds=RESYNC_SECONDS,
        )

    async def check(self, times: int = 1) -> None:
        """Compare, and let the time until the next comparison pass."""
        for _ in range(times):
            self.clock.now += RESYNC_SECONDS
            self.health.round_done()
            await self.caches.check_age()


@pytest.fixture
def rig(store: Store, clock: Any) -> Rig:
    return Rig(store, clock, Scope())


@pytest.fixture
def namespaced(store: Store, clock: Any) -> Rig:
    """Caches of two namespaces."""
    return Rig(store, clock, Scope(namespaces=("a", "b")))


async def test_pods_that_no_watch_tells_of_any_more_end_the_process(rig: Rig, objects: Any) -> None:
    """Protects: kopf retries a refused watch for ever; ordered replicas counted as supply that long, unnoticed."""
    rig.cluster.change(objects.pod("told"))
    await rig.check()
    rig.cluster.change(objects.pod("untold"), told=False)
    await rig.check()
    with pytest.raises(StaleCachesError, match="decide on: no watch has told anything of pods for 300 s"):
        await rig.check()


async def test_changes_of_known_objects_are_missed_as_well(rig: Rig, objects: Any) -> None:
    """Protects: a Deployment or pod that exists agrees by its name for ever, whatever became of it."""
    rig.cluster.change(objects.pod("a"))
    await rig.check()
    rig.cluster.change(objects.pod("a", ready=None), told=False)
    await rig.check()
    with pytest.raises(StaleCachesError, match="though 1 of them changed"):
        await rig.check()


async def test_news_that_is_on_its_way_is_no_staleness(rig: Rig, objects: Any) -> None:
    """Protects from an end of the process by the lag of a watch, however often a list happens to see it."""
    for number in range(5):
        body = objects.pod("busy", restarts=number)
        rig.cluster.change(body, told=False)
        await rig.check()
        rig.cluster.store.apply(Kind.PODS, body)


async def test_a_cache_ahead_of_the_list_is_no_staleness(rig: Rig, objects: Any) -> None:
    """Protects from two coincidences: the cache ahead of one list, and the watch a little behind the next one."""
    rig.cluster.change(objects.pod("a"))
    rig.cluster.during = lambda: rig.cluster.change(objects.pod("a"))
    await rig.check()
    rig.cluster.during = lambda: None
    rig.cluster.change(objects.pod("a"), told=False)
    await rig.check()


async def test_one_odd_object_does_not_end_the_process_while_its_watch_tells_of_others(
    rig: Rig, objects: Any
) -> None:
    """Protects from ending again and again for an object that no process ever gets to see."""
    rig.cluster.change(objects.pod("odd"), told=False)
    for _ in range(5):
        rig.cluster.change(objects.pod("fine"))
        await rig.check()


async def test_nothing_that_changes_nothing_is_missed(rig: Rig, objects: Any) -> None:
    rig.cluster.change(objects.pod("a"))
    await rig.check(5)
    assert rig.health.ready()[0]


async def test_one_list_that_fails_says_nothing(rig: Rig) -> None:
    rig.cluster.errors[PODS] = ApiError("too slow", status=0)
    await rig.check()
    assert rig.health.ready()[0]
    rig.cluster.errors.clear()
    await rig.check()
    rig.cluster.errors[PODS] = ApiError("too slow", status=0)
    await rig.check()
    assert rig.health.ready()[0]


async def test_lists_that_fail_for_minutes_take_readiness_back_and_name_the_kind(rig: Rig) -> None:
    """Protects: an audit that failed for hours changed nothing, and nobody was told."""
    rig.cluster.errors[PODS] = ApiError("GET: 503", status=503)
    await rig.check(2)
    assert rig.health.ready() == (False, "pods could not be compared for 300 s: GET: 503")
    rig.cluster.errors.clear()
    await rig.check()
    assert rig.health.ready()[0]


async def test_old_debts_are_no_proof_while_lists_fail(rig: Rig, objects: Any) -> None:
    """Protects from taking the silence of a server that is away for that of a watch."""
    rig.cluster.change(objects.pod("a"), told=False)
    await rig.check()
    rig.clock.now += RESYNC_SECONDS
    await rig.caches.auditor.compare()
    assert rig.caches.auditor.staleness.silent
    rig.cluster.errors[PODS] = ApiError("away", status=0)
    await rig.check(5)
    assert not rig.health.ready()[0]


async def test_a_kind_that_may_not_be_read_any_more_ends_the_process(rig: Rig) -> None:
    """The next process waits for the rights and says so; this one would decide on what it read once."""
    rig.cluster.errors[PODS] = ApiError("GET: 403", status=403)
    await rig.check()
    with pytest.raises(StaleCachesError, match="pods may not be read any more: GET: 403"):
        await rig.check()


async def test_a_namespace_that_is_refused_takes_readiness_and_not_the_others(
    namespaced: Rig, objects: Any, store: Store
) -> None:
    """Protects: one namespace whose Role was gone kept the caches of all others from being compared."""
    ghost = objects.pod("ghost")
    ghost["metadata"]["namespace"] = "b"
    store.apply(Kind.PODS, ghost)
    namespaced.cluster.errors["/api/v1/namespaces/a/pods"] = ApiError("GET: 403", status=403)
    await namespaced.check(3)
    assert list(store.all_pods()) == []
    assert namespaced.health.ready() == (False, "pods in a could not be compared for 600 s: GET: 403")


async def test_an_object_that_came_anew_during_the_list_is_no_ghost(rig: Rig, objects: Any, store: Store) -> None:
    """Protects: the list did not have it, so that a pod of the same name was taken for its deleted predecessor."""
    store.apply(Kind.PODS, objects.pod("web-0"))

    def recreated() -> None:
        body = objects.pod("web-0")
        body["metadata"]["uid"] = "newer"
        store.apply(Kind.PODS, body)

    rig.cluster.during = recreated
    await rig.check()
    assert [pod.uid for pod in store.all_pods()] == ["newer"]
