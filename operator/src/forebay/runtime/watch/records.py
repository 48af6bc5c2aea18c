"""What the informer keeps of each object: small frozen records, parsed once when the object changes."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from forebay.actuation.conflicts import Autoscaler, parse_time
from forebay.actuation.targets import TargetRef
from forebay.actuation.victims import CHOSEN_BY, COST_BEFORE, DELETION_COST, PARKED_AT, SERVING
from forebay.runtime.watch.ownstatus import usable_status

_NONE: Mapping[str, int] = MappingProxyType({})
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
_ABOUT_TO_START = frozenset({"ContainerCreating", "PodInitializing"})
_LONGEST = 300
"""Of a message that is kept, in letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRecord:
    """One of Forebay's own resources: its spec as written and its status as last seen."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created_seconds: float
    labels: Mapping[str, str]
    spec: object
    """As stored: an object, unless it was stored before today's schema."""
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """A pod that has not finished. Times are Unix seconds."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    node: str | None
    gpus: int
    deletion_cost: int
    """Of the annotation by which a ReplicaSet chooses among pods that are alike."""
    cost_before: str | None = None
    """The deletion cost before we chose the pod to go; None: it is not chosen."""
    chosen_by: str = ""
    """The release that chose it."""
    parked_seconds: float | None = None
    """Since when we have it out of traffic; None: it is in."""
    created_seconds: float
    scheduled_seconds: float | None
    ready_seconds: float | None
    """Since when the pod is Ready; None while it is not."""
    unready_seconds: float | None
    """Since when the pod is not Ready, or was created; None while it is."""
    unschedulable: bool
    gated: bool
    """Waits for a quota system's admission, not for nodes."""
    terminating: bool
    restarts: int
    trouble: str = ""
    """Why a container does not run, as the kubelet says, such as ``ImagePullBackOff: ...``; "" if it does."""
    other_devices: Mapping[str, int] = field(default_factory=lambda: _NONE)
    """Devices of other resources that it holds, by the resource's name."""

    @property
    def ready(self) -> bool:
        """Whether the pod is Ready and stays."""
        return self.ready_seconds is not None and not self.terminating


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node as the scheduler can use it."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    cordoned: bool
    startup_tainted: bool
    """Carries a taint of a node that is not set up yet, or is going away."""
    gpus: int
    """Allocatable GPUs; 0 until the device plugin registered."""
    created_seconds: float
    going: bool = False
    """Its provisioner removes it, or its cloud takes it back."""
    reclaimed: bool = False
    """Its cloud takes it back; its provisioner counts it until it is gone."""
    ready_seconds: float | None = None
    """Since when it is Ready."""
    other_devices: Mapping[str, int] = field(default_factory=lambda: _NONE)
    """Allocatable devices of other resources, by the resource's name."""

    def allocatable(self, resource: str) -> int:
        """Return how many devices of a resource pods can have."""
        return self.gpus if resource in GPU_RESOURCES else self.other_devices.get(resource, 0)

    def usable_for(self, resource: str) -> bool:
        """Whether a pod that asks for a resource can be placed on it now."""
        return self.ready and not self.cordoned and not self.startup_tainted and self.allocatable(resource) > 0

    @property
    def usable(self) -> bool:
        """Whether a GPU pod can be placed on it now."""
        return self.usable_for(GPU_RESOURCES[0])


# Taints of nodes that their cloud takes back.
_RECLAIM_TAINTS = ("aws-node-termination-handler/", "cloud.google.com/impending-node-termination")
# Taints of nodes that their provisioner removes, or that their cloud takes back.
_GOING_TAINTS = (
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "ToBeDeletedByClusterAutoscaler",
    "node.kubernetes.io/out-of-service",
    *_RECLAIM_TAINTS,
)
# Taints that say "not yet" or "going away"; taints that keep other workloads off GPU nodes are no obstacle,
# because GPU pods tolerate them.
_BLOCKING_TAINTS = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/unschedulable",
    "node.cloudprovider.kubernetes.io/",
    "node.cluster.x-k8s.io/",
    "karpenter.sh/unregistered",
    "DeletionCandidateOfClusterAutoscaler",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
    *_GOING_TAINTS,
)


def parse_resource(body: Mapping[str, Any]) -> ResourceRecord:
    """Return the record of one of Forebay's own resources."""
    metadata = body.get("metadata") or {}
    return ResourceRecord(
        kind=str(body.get("kind", "")),
        namespace=str(metadata.get("namespace") or ""),
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        generation=int(metadata.get("generation") or 0),
        resource_version=str(metadata.get("resourceVersion") or ""),
        created_seconds=parse_time(metadata.get("creationTimestamp")) or 0.0,
        labels=dict(metadata.get("labels") or {}),
        # What is no object is refused with a sentence when it is read as its kind.
        spec=_shared(body.get("spec")),
        status=_shared(usable_status(body.get("status"))),
    )


def _shared(value: Any, seen: dict[str, str] | None = None) -> Any:
    """Return JSON data with its words held once for the whole fleet, and other strings once per object.

    Objects of one kind say mostly the same, and each is parsed by itself.
    """
    seen = {} if seen is None else seen
    if isinstance(value, str):
        return sys.intern(str(value)) if value.isalpha() else seen.setdefault(value, value)
    if isinstance(value, Mapping):
        return {sys.intern(key): _shared(inner, seen) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shared(inner, seen) for inner in value]
    return value


def at_path(body: Mapping[str, Any], path: Iterable[str]) -> Any:
    """Return what stands at a path of an object; None where there is nothing."""
    value: Any = body
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def parse_pod(body: Mapping[str, Any]) -> PodRecord | None:
    """Return the record of a pod; None for one that has finished."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    if status.get("phase") in {"Succeeded", "Failed"}:
        return None
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    annotations = metadata.get("annotations") or {}
    ready = conditions.get("Ready") or {}
    scheduled = conditions.get("PodScheduled") or {}
    reason = scheduled.get("reason") if scheduled.get("status") == "False" else None
    return PodRecord(
        namespace=str(metadata.get("namespace") or ""),
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        labels=metadata.get("labels") or {},
        node=spec.get("nodeName") or None,
        gpus=pod_gpus(spec),
        created_seconds=parse_time(metadata.get("creationTimestamp")) or 0.0,
        scheduled_seconds=(
            parse_time(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None
        ),
        ready_seconds=parse_time(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        unready_seconds=parse_time(ready.get("lastTransitionTime")) if ready.get("status") != "True" else None,
        unschedulable=reason == "Unschedulable",
        gated=reason == "SchedulingGated",
        terminating=metadata.get("deletionTimestamp") is not None,
        deletion_cost=_count(annotations.get(DELETION_COST)),
        cost_before=annotations.get(COST_BEFORE),
        chosen_by=sys.intern(annotations.get(CHOSEN_BY, "")),
        parked_seconds=_parked(metadata.get("labels") or {}, annotations),
        restarts=sum(int(item.get("restartCount") or 0) for item in status.get("containerStatuses") or ()),
        trouble=_trouble(status),
        other_devices=_pod_devices(spec),
    )


def _parked(labels: Mapping[str, str], annotations: Mapping[str, str]) -> float | None:
    """Return since when a pod is parked: both marks are ours, so one alone is somebody else's."""
    return parse_time(annotations.get(PARKED_AT)) if labels.get(SERVING) == "false" else None


def _trouble(status: Mapping[str, Any]) -> str:
    """Return the first reason for which a container waits, other than that it is about to start."""
    for item in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = at_path(item, ("state", "waiting")) or {}
        reason = str(waiting.get("reason") or "")
        if reason and reason not in _ABOUT_TO_START:
            return (
                sys.intern(reason) if not waiting.get("message") else f"{reason}: {waiting['message']}"[:_LONGEST]
            )
    return ""


def pod_gpus(spec: Mapping[str, Any]) -> int:
    """Return the GPUs that the scheduler reserves: the larger of all containers together and any init container.

    Init containers that restart always (side-cars) run beside the containers and are added to them.
    """
    beside = sum(_container_gpus(item) for item in spec.get("containers") or ())
    before = 0
    for item in spec.get("initContainers") or ():
        if item.get("restartPolicy") == "Always":
            beside += _container_gpus(item)
        else:
            before = max(before, _container_gpus(item))
    return max(beside, before)


def parse_node(body: Mapping[str, Any]) -> NodeRecord:
    """Return the record of a node."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    condition: Mapping[str, Any] = next(
        (item for item in status.get("conditions") or () if item.get("type") == "Ready"), {}
    )
    ready = condition.get("status") == "True"
    taints = [str(item.get("key", "")) for item in spec.get("taints") or ()]
    allocatable = status.get("allocatable") or {}
    return NodeRecord(
        name=str(metadata["name"]),
        labels=dict(metadata.get("labels") or {}),
        ready=ready,
        cordoned=bool(spec.get("unschedulable")),
        startup_tainted=any(key.startswith(_BLOCKING_TAINTS) for key in taints),
        gpus=sum(_count(allocatable.get(name)) for name in GPU_RESOURCES),
        created_seconds=parse_time(metadata.get("creationTimestamp")) or 0.0,
        going=metadata.get("deletionTimestamp") is not None
        or any(key.startswith(_GOING_TAINTS) for key in taints),
        reclaimed=metadata.get("deletionTimestamp") is None
        and any(key.startswith(_RECLAIM_TAINTS) for key in taints),
        ready_seconds=parse_time(condition.get("lastTransitionTime")) if ready else None,
        other_devices=_other_devices(allocatable),
    )


def parse_autoscaler(body: Mapping[str, Any]) -> Autoscaler | None:
    """Return an HPA or ScaledObject and its target; None while it is being deleted.

    KEDA makes an HPA per ScaledObject, which owns it: that is the one worth naming to a person. The HPA is watched
    and the ScaledObject listed now and then, so that this is how a new one is noticed at once.
    """
    metadata = body["metadata"]
    if metadata.get("deletionTimestamp") is not None:
        return None
    kind, name = str(body.get("kind") or "HorizontalPodAutoscaler"), str(metadata["name"])
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == "ScaledObject":
            kind, name = "ScaledObject", str(owner.get("name") or name)
    reference = (body.get("spec") or {}).get("scaleTargetRef") or {}
    target = TargetRef(
        str(metadata.get("namespace") or ""),
        str(reference.get("apiVersion") or "apps/v1"),
        str(reference.get("kind") or "Deployment"),
        str(reference.get("name") or ""),
    )
    return Autoscaler(kind, name, target)


def _pod_devices(spec: Mapping[str, Any]) -> Mapping[str, int]:
    """Return what the containers of a pod hold together of resources other than the usual GPUs."""
    total: Counter[str] = Counter()
    for container in spec.get("containers") or ():
        resources = container.get("resources") or {}
        total.update(_other_devices({**(resources.get("limits") or {}), **(resources.get("requests") or {})}))
    return total or _NONE


def _other_devices(quantities: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the extended resources among these that are no usual GPUs; most objects have none."""
    found = {
        sys.intern(name): count
        for name, quantity in quantities.items()
        if "/" in name and name not in GPU_RESOURCES and (count := _count(quantity)) > 0
    }
    return found or _NONE


def _container_gpus(container: Mapping[str, Any]) -> int:
    resources = container.get("resources") or {}
    requests = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return sum(_count(requests.get(name)) for name in GPU_RESOURCES)


def _count(quantity: object) -> int:
    """Return a whole extended resource; what is no whole number counts as none."""
    try:
        return int(str(quantity))
    except ValueError:
        return 0
