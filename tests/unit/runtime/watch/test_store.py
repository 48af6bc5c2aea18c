"""The caches: what is told twice counts once, what is gone leaves, late news of a namesake changes nothing."""

from typing import Any

from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store


def test_an_object_comes_changes_and_goes(store: Store, objects: Any) -> None:
    store.apply(Kind.PODS, objects.pod("a"))
    store.apply(Kind.PODS, objects.pod("a", ready=None))
    (pod,) = store.pods_in("serving")
    assert not pod.ready
    store.apply(Kind.PODS, objects.pod("a"), deleted=True)
    assert list(store.pods_in("serving")) == []
    assert store.keys(Kind.PODS) == frozenset()


def test_a_finished_pod_is_seen_and_not_counted(store: Store, objects: Any) -> None:
    store.apply(Kind.PODS, objects.pod("a"))
    store.apply(Kind.PODS, objects.pod("a", phase="Succeeded"))
    assert list(store.all_pods()) == []
    assert store.keys(Kind.PODS) == {("serving", "a")}


def test_the_late_deletion_of_a_namesake_is_ignored(store: Store, objects: Any) -> None:
    old, new = objects.pool(), objects.pool()
    new["metadata"]["uid"] = "newer"
    store.apply(Kind.POOLS, old)
    store.apply(Kind.POOLS, new)
    store.apply(Kind.POOLS, old, deleted=True)
    assert store.resources[Kind.POOLS]["serving", "chat"].uid == "newer"


def test_items_of_a_list_need_no_kind(store: Store, objects: Any) -> None:
    body = objects.deployment("chat", 3)
    del body["apiVersion"], body["kind"]
    store.apply(Kind.DEPLOYMENTS, body)
    (workload,) = store.workloads.values()
    assert (workload.target.kind, workload.replicas) == ("Deployment", 3)
    store.drop(Kind.DEPLOYMENTS, ("serving", "chat"))
    assert store.workloads == {}


def test_a_status_answer_for_an_object_that_is_gone_brings_nothing_back(store: Store, objects: Any) -> None:
    body = objects.pool()
    store.apply(Kind.POOLS, body)
    store.replace_status(Kind.POOLS, {**body, "status": {"message": "fine"}})
    assert store.resources[Kind.POOLS]["serving", "chat"].status == {"message": "fine"}
    store.apply(Kind.POOLS, body, deleted=True)
    store.replace_status(Kind.POOLS, {**body, "status": {"message": "late"}})
    assert store.resources[Kind.POOLS] == {}


def test_what_comes_late_puts_no_older_object_back(store: Store, objects: Any) -> None:
    """Protects a spec that a user changed while we wrote the status of the one before."""

    def version(number: int, **spec: Any) -> Any:
        body = objects.pool(**spec)
        body["metadata"]["resourceVersion"] = str(number)
        return body

    store.apply(Kind.POOLS, version(9, mode="Recommend"))
    store.replace_status(Kind.POOLS, version(8, mode="Auto"))
    assert dict(store.resources[Kind.POOLS]["serving", "chat"].spec)["mode"] == "Recommend"  # type: ignore[call-overload]
    store.replace_status(Kind.POOLS, {**version(10, mode="Recommend"), "status": {"message": "told"}})
    store.apply(Kind.POOLS, version(9, mode="Recommend"))
    assert store.resources[Kind.POOLS]["serving", "chat"].status == {"message": "told"}
