"""A Cluster API MachineDeployment or MachinePool: its replicas are its nodes, and we choose which machines go.

The machines to delete are marked by the annotation `cluster.x-k8s.io/delete-machine`, which comes first in every
deletion order; only machines whose node holds no pod's GPUs are marked. A mark of ours is taken off again from a
machine that stays. A MachinePool's cloud chooses by itself, so that its number goes down only while no pod holds
GPUs in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from forebay.actuation.conflicts import parse_time
from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.count import count_to_ask
from forebay.actuation.providers.port import Binding, CapacityWish, Situation
from forebay.actuation.providers.scalesubresource import explained, read_count, write_count
from forebay.actuation.providers.sight import Cause, MachineClaim, ProviderSight, Word
from forebay.api.v1alpha1.nodeprovider import ClusterAPI

_GROUP = "cluster.x-k8s.io"
_VERSIONS = ("v1beta2", "v1beta1")
_DELETE = f"{_GROUP}/delete-machine"
_OURS = "forebay"
_RIGHT = "rbac.nodeProviders.clusterAPI"
_PLURALS = {"MachineDeployment": "machinedeployments", "MachinePool": "machinepools"}
_MACHINES_OF = {"MachineDeployment": f"{_GROUP}/deployment-name", "MachinePool": f"{_GROUP}/pool-name"}
_BOUGHT_PHASES = frozenset({"Provisioned", "Running", "Deleting"})
#: Annotations by which somebody else says that the number is theirs.
_OTHER_OWNERS = {
    f"{_GROUP}/cluster-api-autoscaler-node-group-max-size": "Cluster Autoscaler",
    f"{_GROUP}/replicas-managed-by": "another controller",
}


class ClusterAPIProvider:
    """Sets the replicas of a MachineDeployment or MachinePool.

    Args:
        api: a fenced client.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._version = ""

    async def sight(self, binding: Binding, now_seconds: float) -> ProviderSight:
        """Return the object's number and its machines."""
        given = _given(binding)
        try:
            path = await self._path(given)
            owner = await self._api.get(path)
            machines = await self._machines(given)
        except ApiError as error:
            return ProviderSight(problem=explained(error, _named(given), _RIGHT))
        if other := _other_owner(owner):
            return ProviderSight(
                problem=f"{_named(given)} is scaled by {other}: use PodDriven, or take its annotation off."
            )
        claims = tuple(_claim(machine) for machine in machines)
        return ProviderSight(
            claims=claims,
            words=tuple(
                Word(
                    cause=Cause.LAUNCH_FAILED,
                    message=f"Machine {claim.name}: {claim.trouble}",
                    at_seconds=now_seconds,
                )
                for claim in claims
                if claim.trouble
            ),
            asked=int((owner.get("spec") or {}).get("replicas") or 0),
        )

    async def ensure(self, binding: Binding, wish: CapacityWish, situation: Situation) -> str:
        """Set the object's replicas, where they differ from what they should be, and say which machines go."""
        if situation.sight.asked is None:
            return situation.sight.problem
        given = _given(binding)
        try:
            path = await self._path(given)
            before = await read_count(self._api, path)
            count = count_to_ask(binding, wish, situation, asked=before.nodes)
            victims = victims_of(binding, situation, before.nodes - count)
            if given.kind == "MachinePool" and count < before.nodes and _is_busy(situation):
                count = before.nodes
            elif given.kind == "MachineDeployment":
                await self._mark(given, victims)
                unborn = max(0, before.nodes - len(situation.sight.claims))
                count = max(count, before.nodes - len(victims) - unborn)
            if count != before.nodes:
                await write_count(self._api, path, count, before)
        except ApiError as error:
            return explained(error, _named(given), _RIGHT)
        return ""

    async def _mark(self, given: ClusterAPI, victims: Sequence[str]) -> None:
        """Mark these machines for deletion, and take our mark off all others."""
        for machine in await self._machines(given):
            name = str(machine["metadata"]["name"])
            mark = (machine["metadata"].get("annotations") or {}).get(_DELETE)
            wanted = _OURS if name in victims else None
            if mark == wanted or (mark not in {None, _OURS}):
                continue
            path = f"/apis/{_GROUP}/{self._version}/namespaces/{given.namespace}/machines/{name}"
            await self._api.merge_patch(path, {"metadata": {"annotations": {_DELETE: wanted}}})

    async def _machines(self, given: ClusterAPI) -> list[Mapping[str, Any]]:
        path = f"/apis/{_GROUP}/{self._version}/namespaces/{given.namespace}/machines"
        answer = await self._api.get(path, params={"labelSelector": f"{_MACHINES_OF[given.kind]}={given.name}"})
        return list(answer.get("items") or ())

    async def _path(self, given: ClusterAPI) -> str:
        """Return the object's path, in the newest version that the cluster serves.

        Raises:
            ApiError: none is served, or the server failed.
        """
        for version in (self._version,) if self._version else _VERSIONS:
            path = f"/apis/{_GROUP}/{version}/namespaces/{given.namespace}/{_PLURALS[given.kind]}/{given.name}"
            if self._version:
                return path
            try:
                await self._api.get(f"/apis/{_GROUP}/{version}")
            except ApiError as error:
                if not error.not_found or version == _VERSIONS[-1]:
                    raise
                continue
            self._version = version
            return path
        raise AssertionError("unreachable: the last version returns or raises")


def victims_of(binding: Binding, situation: Situation, count: int) -> list[str]:
    """Return up to so many machines that may go: those without a node first, then the oldest idle ones.

    A machine whose node is not among those of the node pool stays: what runs there is not known.
    """
    nodes = {node.name: node for node in situation.nodes}
    staying = [claim for claim in situation.sight.claims if not claim.leaving]
    without_node = [claim for claim in staying if claim.node is None]
    idle = [
        claim
        for claim in staying
        if (node := nodes.get(claim.node or "")) is not None
        and node.gpus_held == 0
        and situation.at_seconds - node.created_seconds >= binding.minimum_billing_seconds
    ]
    idle.sort(key=lambda claim: claim.created_seconds)
    return [claim.name for claim in [*without_node, *idle][: max(0, count)]]


def _is_busy(situation: Situation) -> bool:
    return any(node.gpus_held > 0 for node in situation.nodes)


def _claim(machine: Mapping[str, Any]) -> MachineClaim:
    metadata, status = machine["metadata"], machine.get("status") or {}
    created = parse_time(metadata.get("creationTimestamp")) or 0.0
    phase = str(status.get("phase") or "")
    failed = phase == "Failed" or bool(status.get("failureMessage"))
    conditions = {str(item.get("type")): item for item in status.get("conditions") or ()}
    infrastructure = conditions.get("InfrastructureReady") or {}
    told = status.get("failureMessage") or infrastructure.get("message") or "it failed."
    return MachineClaim(
        name=str(metadata["name"]),
        created_seconds=created,
        launched_seconds=(
            parse_time(infrastructure.get("lastTransitionTime")) or created if phase in _BOUGHT_PHASES else None
        ),
        node=(status.get("nodeRef") or {}).get("name") or None,
        leaving=metadata.get("deletionTimestamp") is not None,
        trouble=str(told) if failed else "",
    )


def _other_owner(owner: Mapping[str, Any]) -> str:
    annotations = (owner.get("metadata") or {}).get("annotations") or {}
    return next((name for key, name in _OTHER_OWNERS.items() if key in annotations), "")


def _given(binding: Binding) -> ClusterAPI:
    given = binding.provider.cluster_api
    if given is None:
        raise ValueError(f"node pool {binding.name} has no provider.clusterAPI")
    return given


def _named(given: ClusterAPI) -> str:
    return f"{given.kind} {given.namespace}/{given.name}"
