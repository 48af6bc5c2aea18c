"""The audit: no decision on half-filled caches, no ghosts, pages followed to the end."""

from collections.abc import Mapping
from typing import Any

from forebay.actuation.kube import ApiError
from forebay.runtime.watch.audit import Auditor
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.watching import UNFINISHED_PODS, Scope


class Lists:
    """Answers lists, page by page."""

    def __init__(self, items: Mapping[Kind, list[Any]]) -> None:
        self.items = {next(Scope().paths(kind)): found for kind, found in items.items()}
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def get(self, path: str, *, params: Mapping[str, str] | None = None, accept: str | None = None) -> Any:
        given = dict(params or {})
        self.asked.append((path, given))
        if path not in self.items and "keda" in path:
            raise ApiError("none", status=404)
        found = self.items.get(path, [])
        start = int(given.get("continue", "0"))
        page = found[start : start + 1]
        following = str(start + 1) if start + 1 < len(found) else ""
        return {"items": page, "metadata": {"continue": following}}


def auditor(lists: Lists, store: Store, scope: Scope | None = None) -> Auditor:
    return Auditor(lists, store, scope or Scope())  # type: ignore[arg-type]


async def test_caches_are_complete_when_every_listed_object_was_seen(store: Store, objects: Any) -> None:
    lists = Lists({Kind.PODS: [objects.pod("a"), objects.pod("b")]})
    audit = auditor(lists, store)
    store.apply(Kind.PODS, objects.pod("a"))
    assert not await audit.check_completeness()
    assert audit.missing == ("pods",)
    store.apply(Kind.PODS, objects.pod("b"))
    assert await audit.check_completeness()


async def test_what_is_complete_is_not_listed_again(store: Store, objects: Any) -> None:
    lists = Lists({Kind.PODS: [objects.pod("a")]})
    audit = auditor(lists, store)
    await audit.check_completeness()
    lists.asked.clear()
    await audit.check_completeness()
    assert {path for path, _ in lists.asked} == {"/api/v1/pods"}


async def test_ghosts_are_dropped_and_the_living_stay(store: Store, objects: Any) -> None:
    for name in ("a", "b", "ghost"):
        store.apply(Kind.PODS, objects.pod(name))
    audit = auditor(Lists({Kind.PODS: [objects.pod("a"), objects.pod("b")]}), store)
    assert await audit.compare() == 1
    assert sorted(pod.name for pod in store.all_pods()) == ["a", "b"]


async def test_lists_ask_for_what_is_watched(store: Store) -> None:
    lists = Lists({})
    await auditor(lists, store, Scope(pools="shard=1", pods="llm=true")).check_completeness()
    asked = dict(lists.asked)
    assert asked["/api/v1/pods"] == {"fieldSelector": UNFINISHED_PODS, "labelSelector": "llm=true", "limit": "500"}
    assert asked["/apis/forebay.io/v1alpha1/inferencepools"]["labelSelector"] == "shard=1"


async def test_without_keda_there_are_no_scaled_objects(store: Store) -> None:
    await auditor(Lists({}), store).read_autoscalers()
    assert store.all_autoscalers() == ()


async def test_single_namespaces_are_listed_one_by_one_and_the_cluster_s_kinds_whole(store: Store) -> None:
    lists = Lists({})
    scope = Scope(namespaces=("a", "b"))
    await auditor(lists, store, scope).check_completeness()
    await auditor(lists, store, scope).read_autoscalers()
    asked = [path for path, _ in lists.asked]
    assert "/api/v1/namespaces/a/pods" in asked
    assert "/api/v1/namespaces/b/pods" in asked
    assert "/api/v1/nodes" in asked
    assert "/api/v1/pods" not in asked
    assert [path for path in asked if "keda" in path] == [
        f"/apis/keda.sh/v1alpha1/namespaces/{name}/scaledobjects" for name in ("a", "b")
    ]


async def test_what_may_not_be_read_is_not_asked_for_and_not_missing(store: Store) -> None:
    store.without = {Kind.NODES: "may not be read"}
    lists = Lists({})
    audit = auditor(lists, store)
    assert await audit.check_completeness()
    await audit.compare()
    assert "/api/v1/nodes" not in {path for path, _ in lists.asked}


async def test_lists_come_from_the_servers_cache_and_are_as_new_as_ours(store: Store, objects: Any) -> None:
    """Protects etcd from a list of everything every five minutes, and our caches from a server that lags."""
    store.apply(Kind.DEPLOYMENTS, objects.deployment("chat", resourceVersion="41"))
    store.apply(Kind.DEPLOYMENTS, objects.deployment("code", resourceVersion="7"))
    lists = Lists({})
    await auditor(lists, store).compare()
    asked = dict(lists.asked)
    assert asked["/apis/apps/v1/deployments"]["resourceVersion"] == "41"
    assert asked["/apis/apps/v1/deployments"]["resourceVersionMatch"] == "NotOlderThan"
    assert asked["/api/v1/nodes"]["resourceVersion"] == "0"
    assert "resourceVersion" not in asked["/api/v1/pods"], "many: in pages"


async def test_a_server_that_does_not_know_our_version_is_asked_without_it(store: Store, objects: Any) -> None:
    class Restored(Lists):
        async def get(self, path: str, *, params: Any = None, accept: str | None = None) -> Any:
            if "resourceVersion" in (params or {}):
                raise ApiError("Too large resource version", status=504)
            return await super().get(path, params=params, accept=accept)

    store.apply(Kind.NODES, objects.node("ghost"))
    assert await auditor(Restored({}), store).compare() == 1


async def test_aibrix_pod_autoscalers_are_listed_with_their_targets(store: Store) -> None:
    class Answers(Lists):
        async def get(self, path: str, **given: Any) -> Any:
            if not path.endswith("/podautoscalers"):
                raise ApiError("not found", status=404)
            reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
            metadata = {"name": "theirs", "namespace": "serving", "uid": "u"}
            return {"items": [{"metadata": metadata, "spec": {"scaleTargetRef": reference}}]}

    await auditor(Answers({}), store).read_autoscalers()
    (found,) = store.all_autoscalers()
    assert (found.kind, found.name, found.target.name) == ("PodAutoscaler", "theirs", "chat")
