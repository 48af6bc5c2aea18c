"""What each provider writes, and what it says where it cannot."""

from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.actuation.providers.capacitybuffer import CapacityBufferProvider, failure
from forebay.actuation.providers.clusterapi import ClusterAPIProvider
from forebay.actuation.providers.karpenter import Karpenter, KarpenterPool
from forebay.actuation.providers.karpenterstatic import KarpenterStaticProvider
from forebay.actuation.providers.objectfield import ObjectFieldProvider
from forebay.actuation.providers.placeholder import PlaceholderProvider
from forebay.actuation.providers.port import CapacityProvider
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.sight import Cause
from tests.unit.actuation.providers.scenes import NOW, Server, binding, node, situation, wish

STATIC = {"type": "KarpenterStatic", "karpenterStatic": {"nodePool": "static"}}
BUFFER = {"type": "CapacityBuffer", "capacityBuffer": {"namespace": "warm"}}
PLACEHOLDER = {"type": "Placeholder", "placeholder": {"namespace": "warm"}}
MACHINES = {"type": "ClusterAPI", "clusterAPI": {"namespace": "fleet", "name": "h100"}}
FIELD = {
    "type": "ObjectField",
    "objectField": {
        "apiVersion": "eks.services.k8s.aws/v1alpha1",
        "kind": "Nodegroup",
        "namespace": "fleet",
        "name": "h100",
        "path": "/spec/scalingConfig/desiredSize",
    },
}
NODE_POOL = "/apis/karpenter.sh/v1/nodepools/static"
CAPI = "/apis/cluster.x-k8s.io/v1beta2/namespaces/fleet"
DEPLOYMENT = "/apis/apps/v1/namespaces/warm/deployments/forebay-h100"
CAPACITY_BUFFER = "/apis/autoscaling.x-k8s.io/v1beta1/namespaces/warm/capacitybuffers/forebay-h100"
NODE_GROUP = "/apis/eks.services.k8s.aws/v1alpha1/namespaces/fleet/nodegroups/h100"


def scale(replicas: int) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": replicas} if replicas else {}}


def karpenter(server: Server, **changes: Any) -> Provisioners:
    given: dict[str, Any] = {
        "name": "static",
        "labels": {},
        "values": {},
        "limits": {"nodes": 4},
        "used": {"nodes": 1},
        "replicas": 1,
    }
    provisioners = Provisioners(server)
    provisioners.karpenter = Karpenter(pools={"static": KarpenterPool(**{**given, **changes})})
    return provisioners


async def asked(provider: CapacityProvider, given: dict[str, Any], nodes: int, *seen: Any, **changes: Any) -> str:
    """Let a provider look and then ask for so many nodes, as a round does."""
    bound = binding(given)
    sight = await provider.sight(bound, NOW)
    blocked = changes.pop("blocked", False)
    return await provider.ensure(bound, wish(nodes, **changes), situation(*seen, sight=sight, blocked=blocked))


async def test_a_static_node_pool_is_scaled_with_the_version_that_was_read() -> None:
    server = Server({f"{NODE_POOL}/scale": scale(1)})
    provider = KarpenterStaticProvider(server, karpenter(server))
    assert await asked(provider, STATIC, 9) == ""
    assert server.written == [
        (f"{NODE_POOL}/scale", {"spec": {"replicas": 4}, "metadata": {"resourceVersion": "7"}})
    ]
    server.written.clear()
    assert await asked(provider, STATIC, 1) == ""
    assert server.written == []


async def test_a_static_node_pool_without_replicas_is_none() -> None:
    server = Server()
    told = await asked(KarpenterStaticProvider(server, karpenter(server, replicas=None)), STATIC, 2)
    assert told.startswith("Karpenter NodePool static has no replicas")
    assert server.written == []


async def test_a_number_that_may_not_be_written_is_told_with_the_right_that_is_missing() -> None:
    server = Server({f"{NODE_POOL}/scale": scale(1)})
    server.failures[f"{NODE_POOL}/scale"] = ApiError("no", status=403, reason="Forbidden")
    told = await asked(KarpenterStaticProvider(server, karpenter(server)), STATIC, 3)
    assert (
        told
        == "Karpenter NodePool static may not be read or scaled: allow it by rbac.nodeProviders.karpenterStatic."
    )


@pytest.mark.parametrize("status", [0, 429, 500, 503])
async def test_a_failure_that_passes_is_no_sentence(status: int) -> None:
    server = Server()
    server.failures[f"{NODE_POOL}/scale"] = ApiError("busy", status=status)
    with pytest.raises(ApiError, match="busy"):
        await asked(KarpenterStaticProvider(server, karpenter(server)), STATIC, 3)


async def test_a_buffer_holds_the_plan_s_room_in_chunks_of_a_replica() -> None:
    server = Server()
    provider = CapacityBufferProvider(server, Provisioners(server))
    assert await asked(provider, BUFFER, 1, warm_nodes=2, chunk_gpus=3) == ""
    template, buffer = server.written
    assert template[0] == "/api/v1/namespaces/warm/podtemplates/forebay-h100"
    container = template[1]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "3"
    assert template[1]["template"]["spec"]["nodeSelector"] == {"pool": "h100"}
    assert buffer[0] == CAPACITY_BUFFER
    assert buffer[1]["spec"] == {"podTemplateRef": {"name": "forebay-h100"}, "replicas": 4}
    assert buffer[1]["metadata"]["ownerReferences"][0]["kind"] == "GPUNodePool"
    server.written.clear()
    assert await asked(provider, BUFFER, 1, warm_nodes=2, chunk_gpus=3) == ""
    assert server.written == [], "the same wish twice changes nothing"


async def test_no_buffer_is_made_for_nothing_and_one_that_is_there_is_emptied() -> None:
    server = Server()
    provider = CapacityBufferProvider(server, Provisioners(server))
    assert await asked(provider, BUFFER, 1) == ""
    assert server.written == []
    await asked(provider, BUFFER, 1, warm_nodes=1, chunk_gpus=8)
    await asked(provider, BUFFER, 1, warm_nodes=0, chunk_gpus=8)
    assert server.objects[CAPACITY_BUFFER]["spec"]["replicas"] == 0


async def test_a_sold_out_buffer_asks_for_no_more_than_the_room_that_is_there() -> None:
    server = Server()
    provider = CapacityBufferProvider(server, Provisioners(server))
    seen = node("a", gpus_held=2), node("b", usable=False)
    await asked(provider, BUFFER, 1, *seen, warm_nodes=2, chunk_gpus=2, blocked=True)
    assert server.objects[CAPACITY_BUFFER]["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("message", "generation", "told"),
    [
        ("0/4 virtual pods required new capacity, 1 failed", 3, True),
        ("0/4 virtual pods required new capacity, 1 failed", 2, False),
        ("2/2 virtual pods required new capacity, 0 failed", 3, False),
        ("20/20 virtual pods required new capacity, 10 failed", 3, True),
    ],
)
def test_a_buffer_tells_of_a_limit_by_the_chunks_that_failed(message: str, generation: int, told: bool) -> None:
    buffer = {
        "metadata": {"generation": 3},
        "status": {
            "conditions": [
                {
                    "type": "Provisioning",
                    "status": "False",
                    "reason": "RequiresNewCapacity",
                    "message": message,
                    "observedGeneration": generation,
                    "lastTransitionTime": "2026-11-20T00:00:00Z",
                }
            ]
        },
    }
    word = failure(buffer, NOW)
    assert (word is not None) == told
    assert word is None or word.cause is Cause.LIMIT_REACHED


async def test_placeholders_are_pods_of_a_replica_s_size_that_anybody_may_push_out() -> None:
    server = Server()
    provider = PlaceholderProvider(server, Provisioners(server))
    assert await asked(provider, PLACEHOLDER, 1, warm_nodes=1, chunk_gpus=4) == ""
    spec = server.objects[DEPLOYMENT]["spec"]
    assert spec["replicas"] == 2
    pod = spec["template"]["spec"]
    assert (pod["priorityClassName"], pod["terminationGracePeriodSeconds"]) == ("forebay-placeholder", 0)
    assert spec["template"]["metadata"]["labels"]["forebay.io/placeholder"] == "h100"
    server.written.clear()
    await asked(provider, PLACEHOLDER, 1, warm_nodes=1, chunk_gpus=4)
    assert server.written == []
    await asked(provider, PLACEHOLDER, 1, warm_nodes=1, chunk_gpus=8)
    assert server.objects[DEPLOYMENT]["spec"]["replicas"] == 1


def machine(name: str, *, node_name: str | None = None, mark: str | None = None, phase: str = "Running") -> Any:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-11-19T00:00:00Z",
            "annotations": {"cluster.x-k8s.io/delete-machine": mark} if mark else {},
        },
        "status": {"phase": phase, **({"nodeRef": {"name": node_name}} if node_name else {})},
    }


def machine_deployment(replicas: int, *machines: Any, annotations: dict[str, str] | None = None) -> Server:
    return Server(
        {
            "/apis/cluster.x-k8s.io/v1beta2": {"resources": []},
            f"{CAPI}/machinedeployments/h100": {
                "metadata": {"annotations": annotations or {}},
                "spec": {"replicas": replicas},
            },
            f"{CAPI}/machinedeployments/h100/scale": scale(replicas),
            f"{CAPI}/machines": {"items": list(machines)},
        }
    )


async def test_the_machines_of_idle_nodes_are_marked_before_the_number_falls() -> None:
    server = machine_deployment(
        3,
        machine("m1", node_name="a"),
        machine("m2", node_name="b", mark="forebay"),
        machine("m3", node_name="c"),
    )
    seen = node("a"), node("b", gpus_held=4), node("c", gpus_held=8)
    assert await asked(ClusterAPIProvider(server), MACHINES, 1, *seen) == ""
    annotation = "cluster.x-k8s.io/delete-machine"
    assert server.written == [
        (f"{CAPI}/machines/m1", {"metadata": {"annotations": {annotation: "forebay"}}}),
        (f"{CAPI}/machines/m2", {"metadata": {"annotations": {annotation: None}}}),
        (
            f"{CAPI}/machinedeployments/h100/scale",
            {"spec": {"replicas": 2}, "metadata": {"resourceVersion": "7"}},
        ),
    ]


async def test_a_machine_whose_node_is_not_seen_stays() -> None:
    """Protects what runs on a node that lacks the label of its node pool: nobody counts its pods."""
    server = machine_deployment(
        3, machine("m1", node_name="unlabelled"), machine("m2"), machine("m3", node_name="c")
    )
    assert await asked(ClusterAPIProvider(server), MACHINES, 0, node("c", gpus_held=8)) == ""
    mark, count = server.written
    assert mark[0] == f"{CAPI}/machines/m2"
    assert count[1]["spec"] == {"replicas": 2}


async def test_a_machine_that_failed_speaks_in_the_cloud_s_words() -> None:
    failed = machine("m1", phase="Failed")
    failed["status"]["failureMessage"] = "InsufficientInstanceCapacity in zone a"
    server = machine_deployment(1, failed)
    sight = await ClusterAPIProvider(server).sight(binding(MACHINES), NOW)
    assert [word.message for word in sight.words] == ["Machine m1: InsufficientInstanceCapacity in zone a"]
    assert (sight.asked, sight.claims[0].launched_seconds) == (1, None)


async def test_a_machine_deployment_of_cluster_autoscaler_is_left_alone() -> None:
    theirs = {"cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size": "8"}
    server = machine_deployment(1, annotations=theirs)
    assert "is scaled by Cluster Autoscaler" in await asked(ClusterAPIProvider(server), MACHINES, 3)
    assert server.written == []


async def test_an_older_cluster_api_is_asked_in_its_own_version() -> None:
    server = Server(
        {
            path.replace("v1beta2", "v1beta1"): body
            for path, body in machine_deployment(1, machine("m1", node_name="a")).objects.items()
        }
    )
    assert await asked(ClusterAPIProvider(server), MACHINES, 2, node("a", gpus_held=1)) == ""
    assert server.written[0][0].startswith("/apis/cluster.x-k8s.io/v1beta1/")


def node_group(**changes: Any) -> Server:
    body: dict[str, Any] = {
        "metadata": {},
        "spec": {"scalingConfig": {"desiredSize": 2, "maxSize": 5}},
    }
    resources = [{"name": "nodegroups", "kind": "Nodegroup"}, {"name": "nodegroups/status", "kind": "Nodegroup"}]
    return Server(
        {NODE_GROUP: {**body, **changes}, "/apis/eks.services.k8s.aws/v1alpha1": {"resources": resources}}
    )


async def test_a_field_is_replaced_after_a_test_of_what_it_was() -> None:
    server = node_group()
    assert await asked(ObjectFieldProvider(server), FIELD, 9, node("a", gpus_held=8)) == ""
    path = "/spec/scalingConfig/desiredSize"
    assert server.written == [
        (
            NODE_GROUP,
            [{"op": "test", "path": path, "value": 2}, {"op": "replace", "path": path, "value": 5}],
        )
    ]


async def test_a_cloud_that_chooses_its_victims_gives_back_only_from_an_idle_pool() -> None:
    server = node_group()
    assert await asked(ObjectFieldProvider(server), FIELD, 1, node("a", gpus_held=8), node("b")) == ""
    assert server.written == []
    assert await asked(ObjectFieldProvider(server), FIELD, 0, node("a"), node("b")) == ""
    assert server.written[0][1][1]["value"] == 0


async def test_a_count_per_zone_is_rounded_up() -> None:
    server = node_group()
    per_zone = {**FIELD, "objectField": {**FIELD["objectField"], "nodesPerCount": 3}}  # type: ignore[dict-item]
    assert await asked(ObjectFieldProvider(server), per_zone, 7) == ""
    assert server.written[0][1][1]["value"] == 3


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        (
            {"metadata": {"annotations": {"eks.services.k8s.aws/desired-size-managed-by": "external-autoscaler"}}},
            "an external autoscaler",
        ),
        ({"spec": {"autoscaling": {"maxNodeCount": 4}, "nodeCount": 2}}, "GKE's autoscaler"),
        ({"spec": {"enableAutoScaling": True, "count": 2}}, "AKS's autoscaler"),
    ],
)
async def test_an_object_that_somebody_else_scales_is_refused(changes: dict[str, Any], who: str) -> None:
    server = node_group(**changes)
    assert f"is scaled by {who}" in await asked(ObjectFieldProvider(server), FIELD, 4)
    assert server.written == []


async def test_a_path_that_leads_to_no_number_is_told() -> None:
    server = node_group(spec={})
    told = await asked(ObjectFieldProvider(server), FIELD, 4)
    assert told.startswith("Nodegroup fleet/h100 has no whole number at /spec/scalingConfig/desiredSize")
