"""Karpenter's own word, in the form in which Karpenter 1.14 gives it."""

from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.actuation.providers.karpenter import Karpenter, KarpenterReader, parse
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.sight import Cause
from tests.unit.actuation.providers.scenes import NOW, Server, binding

CLAIM_EVENTS = (
    "/api/v1/namespaces/default/events?involvedObject.kind=NodeClaim,reason=InsufficientCapacityError,type=Warning"
)
POOL_EVENTS = (
    "/api/v1/namespaces/default/events?involvedObject.kind=NodePool,reason=NoCompatibleInstanceTypes,type=Warning"
)


def pool(name: str = "l40s", **changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "template": {
            "metadata": {"labels": {"example.com/pool": name}},
            "spec": {
                "requirements": [
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["l40s-4x"]},
                    {"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["spot"]},
                ]
            },
        },
        "limits": {"nvidia.com/gpu": "8"},
        **changes,
    }
    return {
        "metadata": {"name": name},
        "spec": spec,
        "status": {"nodes": 1, "resources": {"cpu": "48", "nvidia.com/gpu": "4", "nodes": "1"}},
    }


def claim(name: str, conditions: list[dict[str, str]], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-11-20T00:00:00Z",
            "labels": {"karpenter.sh/nodepool": "l40s"},
            **metadata,
        },
        "status": {"conditions": conditions},
    }


def event(kind: str, name: str, message: str) -> dict[str, Any]:
    return {
        "involvedObject": {"kind": kind, "name": name},
        "message": message,
        "lastTimestamp": "2026-11-20T00:00:07Z",
    }


def items(*bodies: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(bodies)}


def parsed(*, pools: Any = (), claims: Any = (), claim_events: Any = (), pool_events: Any = ()) -> Karpenter:
    return parse(items(*pools), items(*claims), items(*claim_events), items(*pool_events), now_seconds=NOW + 60.0)


def test_a_node_pool_is_found_by_its_labels_requirements_or_name() -> None:
    (found,) = parsed(pools=[pool()]).pools.values()
    assert found.may_make({"example.com/pool": "l40s"})
    assert found.may_make({"karpenter.sh/nodepool": "l40s", "node.kubernetes.io/instance-type": "l40s-4x"})
    assert not found.may_make({"example.com/pool": "h100"})
    assert not found.may_make({"nvidia.com/gpu.product": "NVIDIA-L40S"}), "only nodes can tell"


def test_a_claim_is_launched_from_its_condition_on() -> None:
    launched = {"type": "Launched", "status": "True", "lastTransitionTime": "2026-11-20T00:00:05Z"}
    waiting = {"type": "Launched", "status": "Unknown", "reason": "AwaitingReconciliation"}
    seen = parsed(claims=[claim("l40s-a", [launched]), claim("l40s-b", [waiting])])
    first, second = seen.claims["l40s"]
    assert (first.launched_seconds, second.launched_seconds) == (NOW + 5.0, None)


def test_a_sold_out_launch_is_an_event_about_a_claim_that_is_gone() -> None:
    told = "NodeClaim l40s-zdnps event: insufficient capacity, no capacity for l40s-4x in any zone"
    seen = parsed(pools=[pool()], claim_events=[event("NodeClaim", "l40s-zdnps", told)])
    (word,) = seen.sight({"example.com/pool": "l40s"}, (), resource="nvidia.com/gpu", gpus_per_node=4).words
    assert (word.cause, word.message, word.at_seconds) == (Cause.SOLD_OUT, told, NOW + 7.0)


def test_a_type_that_stays_sold_out_is_an_event_about_the_node_pool() -> None:
    told = "NodePool requirements filtered out all compatible available instance types"
    seen = parsed(pools=[pool()], pool_events=[event("NodePool", "l40s", told)])
    assert [word.message for word in seen.words["l40s"]] == [told]


def test_another_launch_error_is_a_condition_that_speaks_as_long_as_it_stands() -> None:
    failed = {
        "type": "Launched",
        "status": "Unknown",
        "reason": "LaunchFailed",
        "message": "QuotaExceeded: GPUS_ALL_REGIONS limit 8",
        "lastTransitionTime": "2026-11-20T00:00:05Z",
    }
    (word,) = parsed(claims=[claim("l40s-a", [failed])]).words["l40s"]
    assert (word.cause, word.at_seconds) == (Cause.LAUNCH_FAILED, NOW + 60.0)
    assert "GPUS_ALL_REGIONS" in word.message
    withdrawn = claim("l40s-a", [failed], deletionTimestamp="2026-11-20T00:00:09Z")
    assert parsed(claims=[withdrawn]).words == {}


@pytest.mark.parametrize(
    ("limits", "launchable"),
    [({"nvidia.com/gpu": "8"}, 1), ({"nvidia.com/gpu": "4"}, 0), ({"nodes": "3"}, 2), ({"cpu": "100"}, None)],
)
def test_a_limit_is_what_is_left_of_it_in_nodes(limits: dict[str, str], launchable: int | None) -> None:
    seen = parsed(pools=[pool(limits=limits)])
    sight = seen.sight({"example.com/pool": "l40s"}, (), resource="nvidia.com/gpu", gpus_per_node=4)
    assert sight.launchable == launchable
    assert bool(sight.limit) == (launchable == 0)


def test_a_node_pool_without_a_limit_beside_one_with_a_limit_is_unlimited() -> None:
    seen = parsed(pools=[pool(limits={"nvidia.com/gpu": "4"}), pool("more", limits={})])
    sight = seen.sight({"example.com/pool": "l40s"}, ["more"], resource="nvidia.com/gpu", gpus_per_node=4)
    assert (sight.launchable, sight.limit) == (None, "")


async def test_a_cluster_without_karpenter_is_asked_once_in_five_minutes() -> None:
    server = Server()
    reader = KarpenterReader(server)
    assert await reader.read(NOW) is None
    assert reader.problem == ""
    for path in (
        "/apis/karpenter.sh/v1",
        "/apis/karpenter.sh/v1/nodepools",
        "/apis/karpenter.sh/v1/nodeclaims",
        CLAIM_EVENTS,
        POOL_EVENTS,
    ):
        server.objects[path] = items()
    assert await reader.read(NOW + 299.0) is None
    assert await reader.read(NOW + 300.0) == Karpenter()
    assert reader.problem == ""


async def test_a_karpenter_that_may_not_be_read_is_told() -> None:
    server = Server({"/apis/karpenter.sh/v1": {}})
    server.failures["/apis/karpenter.sh/v1/nodepools"] = ApiError("no", status=403, reason="Forbidden")
    reader = KarpenterReader(server)
    assert await reader.read(NOW) is None
    assert reader.problem == "Karpenter is here and may not be read: allow it by rbac.nodeProviders.karpenter."


async def test_what_cannot_be_understood_leaves_the_last_word() -> None:
    """Protects all pools: one Karpenter object of an unknown shape ended every round."""
    server = Server(
        {
            "/apis/karpenter.sh/v1": {},
            "/apis/karpenter.sh/v1/nodepools": items(pool()),
            "/apis/karpenter.sh/v1/nodeclaims": items(),
            CLAIM_EVENTS: items(),
            POOL_EVENTS: items(),
        }
    )
    provisioners = Provisioners(server)
    await provisioners.read([binding()], NOW)
    before = provisioners.karpenter
    assert before is not None
    server.objects["/apis/karpenter.sh/v1/nodepools"] = items(pool(replicas="three"))
    await provisioners.read([binding()], NOW + 60.0)
    assert provisioners.karpenter is before
