"""What is watched and what may be read: lists per namespace, refusals that stop and refusals that do not."""

from collections.abc import Mapping
from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.runtime.watch.kinds import ALL_KINDS, Kind
from forebay.runtime.watch.watching import UNFINISHED_PODS, Scope, find_access


class Rights:
    """Refuses to list some paths, and to watch others."""

    def __init__(self, *refused: str, status: int = 403, unwatched: Mapping[str, int] | None = None) -> None:
        self.refused = refused
        self.status = status
        self.unwatched = unwatched or {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.watched: list[tuple[str, dict[str, str]]] = []

    async def get(self, path: str, *, params: Mapping[str, str], accept: str = "") -> Any:
        if "watch" in params:
            self.watched.append((path, dict(params)))
            if path in self.unwatched:
                raise ApiError(f"GET {path}: {self.unwatched[path]}", status=self.unwatched[path])
            return {}
        assert "PartialObjectMetadataList" in accept
        self.asked.append((path, dict(params)))
        if path in self.refused:
            raise ApiError(f"GET {path}: {self.status}", status=self.status)
        return {"items": [], "metadata": {"resourceVersion": "77"}}


async def access(rights: Rights, *namespaces: str) -> Any:
    return await find_access(rights, Scope(namespaces=namespaces))  # type: ignore[arg-type]


def test_a_list_equals_what_is_watched() -> None:
    scope = Scope(pools="shard=a")
    assert scope.parameters(Kind.POOLS) == {"labelSelector": "shard=a"}
    assert scope.parameters(Kind.PODS) == {"fieldSelector": UNFINISHED_PODS}
    assert scope.parameters(Kind.NODES) == {}
    assert list(scope.paths(Kind.AUTOSCALERS)) == ["/apis/autoscaling/v2/horizontalpodautoscalers"]


def test_single_namespaces_have_a_path_each_but_for_what_belongs_to_the_cluster() -> None:
    scope = Scope(namespaces=("a", "b"))
    assert list(scope.paths(Kind.PODS)) == ["/api/v1/namespaces/a/pods", "/api/v1/namespaces/b/pods"]
    for kind in filter(lambda kind: kind.cluster_scoped, ALL_KINDS):
        assert list(scope.paths(kind)) == list(Scope().paths(kind))


async def test_all_rights_leave_nothing_to_say() -> None:
    rights = Rights()
    found = await access(rights)
    assert (found.without, found.problem) == ({}, "")
    assert len(rights.asked) == len(ALL_KINDS)
    assert all(parameters["limit"] == "1" for _, parameters in rights.asked)


async def test_an_operator_of_namespaces_goes_without_what_no_role_can_grant() -> None:
    rights = Rights("/api/v1/nodes", "/apis/forebay.io/v1alpha1/gpunodepools")
    found = await access(rights, "a")
    assert found.problem == ""
    assert set(found.without) == {Kind.NODES, Kind.NODE_POOLS}
    assert "list and watch it by a ClusterRole" in found.without[Kind.NODES]


async def test_an_operator_of_the_cluster_waits_for_its_rights() -> None:
    found = await access(Rights("/api/v1/nodes"))
    assert found.problem == "allow Forebay's service account to list and watch nodes in all namespaces"


async def test_a_namespace_without_its_role_is_named() -> None:
    found = await access(Rights("/api/v1/namespaces/b/pods"), "a", "b")
    assert found.problem == "allow Forebay's service account to list and watch pods in b"


async def test_an_api_server_that_fails_is_no_refusal() -> None:
    with pytest.raises(ApiError):
        await access(Rights("/api/v1/nodes", status=500), "a")


async def test_what_may_be_listed_and_not_watched_is_refused() -> None:
    """Protects: such a cache was full at the start and was decided on, and never told of anything afterwards."""
    found = await access(Rights(unwatched={"/api/v1/pods": 403}))
    assert found.problem == "allow Forebay's service account to list and watch pods in all namespaces"


async def test_a_watch_is_tried_for_a_moment_and_from_the_list_on() -> None:
    """Protects from having every object of a cluster sent once more, or waiting for news that do not come."""
    rights = Rights()
    await access(rights)
    assert len(rights.watched) == len(ALL_KINDS)
    of_pods = dict(rights.watched)["/api/v1/pods"]
    assert of_pods == {
        "fieldSelector": UNFINISHED_PODS,
        "watch": "true",
        "timeoutSeconds": "1",
        "resourceVersion": "77",
    }


@pytest.mark.parametrize("status", [0, 410, 500])
async def test_a_watch_that_fails_otherwise_is_no_refusal(status: int) -> None:
    """News within the moment are several objects in one answer, which the client takes for none (status 0)."""
    found = await access(Rights(unwatched={"/api/v1/pods": status}))
    assert found.problem == ""


async def test_kinds_that_are_read_already_are_not_tried_again() -> None:
    rights = Rights()
    await find_access(rights, Scope(), {Kind.NODES})  # type: ignore[arg-type]
    assert [path for path, _ in rights.asked] == ["/api/v1/nodes"]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(404, "install its CRD"), (403, "allow Forebay's service account")],
)
async def test_a_kind_of_another_project_may_be_missing(status: int, sentence: str) -> None:
    kind = next(kind for kind in ALL_KINDS if kind.optional)
    found = await access(Rights(*Scope().paths(kind), status=status))
    assert found.problem == ""
    assert set(found.without) == {kind}
    assert sentence in found.without[kind]
