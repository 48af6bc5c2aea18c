"""Who adds and removes the nodes of a GPUNodePool: a union of `type` and one member of the same name."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictInt, StrictStr

from forebay.api.base import WHOLE, ApiModel, ObjectName
from forebay.api.rules import ListType, Rule, matching

_NAMESPACE = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"

Namespace = Annotated[
    StrictStr,
    Field(min_length=1, max_length=63),
    matching(_NAMESPACE, "must be the name of a namespace: use lower-case letters, digits and '-' only"),
]
"""The name of a namespace."""


class ProviderType(StrEnum):
    """How nodes come and go."""

    POD_DRIVEN = "PodDriven"
    FIXED = "Fixed"
    CAPACITY_BUFFER = "CapacityBuffer"
    PLACEHOLDER = "Placeholder"
    KARPENTER_STATIC = "KarpenterStatic"
    CLUSTER_API = "ClusterAPI"
    OBJECT_FIELD = "ObjectField"


class PodDriven(ApiModel):
    """Which parts of a node autoscaler bring these nodes, where labels do not tell."""

    karpenter_node_pools: Annotated[tuple[ObjectName, ...], Field(max_length=16), ListType("set")] = ()
    """Karpenter NodePools, besides those whose labels satisfy nodeSelector."""
    node_groups: Annotated[
        tuple[Annotated[StrictStr, Field(min_length=1, max_length=253)], ...],
        Field(max_length=16),
        ListType("set"),
    ] = ()
    """Node groups as Cluster Autoscaler names them in the ConfigMap cluster-autoscaler-status of kube-system."""


class CapacityBuffer(ApiModel):
    """Where the CapacityBuffer that keeps nodes warm lies."""

    namespace: Namespace
    """Namespace of the CapacityBuffer and of its PodTemplate. Let nobody else write pods there."""


class Placeholder(ApiModel):
    """Where the pods that keep nodes warm run, and as what."""

    namespace: Namespace
    """Namespace of the Deployment. Let nobody else write pods there."""
    priority_class_name: ObjectName = "forebay-placeholder"
    """Priority class with a negative value, so that any real pod takes a placeholder's place."""
    image: Annotated[StrictStr, Field(min_length=1, max_length=512)] = "registry.k8s.io/pause:3.10"
    """Image of a container that does nothing."""


class KarpenterStatic(ApiModel):
    """The Karpenter NodePool whose replicas are set."""

    node_pool: ObjectName
    """Name of a NodePool with spec.replicas (gate StaticCapacity)."""


class ClusterAPI(ApiModel):
    """The Cluster API object whose replicas are set."""

    kind: Literal["MachineDeployment", "MachinePool"] = "MachineDeployment"
    """MachineDeployment or MachinePool."""
    namespace: Namespace
    """Its namespace."""
    name: ObjectName
    """Its name."""


class ObjectField(ApiModel):
    """An object with a field that holds the number of nodes."""

    api_version: Annotated[
        StrictStr,
        Field(min_length=1, max_length=317),
        matching(
            "[a-z0-9.-]+/[a-z0-9]+", "must be group/version, such as eks.services.k8s.aws/v1alpha1: correct it"
        ),
    ]
    """Group and version of the object."""
    kind: Annotated[
        StrictStr,
        Field(min_length=1, max_length=63),
        matching("[A-Z][A-Za-z0-9]*", "must be a kind, such as Nodegroup: correct it"),
    ]
    """Kind of the object."""
    namespace: Namespace
    """Its namespace."""
    name: ObjectName
    """Its name."""
    path: Annotated[
        StrictStr,
        Field(min_length=2, max_length=256),
        matching(
            "/spec(/[A-Za-z0-9_-]+)+",
            "must be a JSON pointer into spec, such as /spec/scalingConfig/desiredSize: correct it",
        ),
    ]
    """JSON pointer to the count."""
    nodes_per_count: Annotated[StrictInt, Field(ge=1, le=100), WHOLE] = 1
    """Nodes that a count of one means: the number of zones where the cloud counts per zone, as GKE does."""


_MEMBERS = {
    ProviderType.POD_DRIVEN: ("podDriven", "pod_driven", False),
    ProviderType.CAPACITY_BUFFER: ("capacityBuffer", "capacity_buffer", True),
    ProviderType.PLACEHOLDER: ("placeholder", "placeholder", True),
    ProviderType.KARPENTER_STATIC: ("karpenterStatic", "karpenter_static", True),
    ProviderType.CLUSTER_API: ("clusterAPI", "cluster_api", True),
    ProviderType.OBJECT_FIELD: ("objectField", "object_field", True),
}
"""Per type: the member's name outside and inside, and whether the type needs it."""


def _union_rules() -> tuple[Rule, ...]:
    """Return the rules that a member stands beside its own type only, and is there where the type needs it."""
    rules: list[Rule] = []
    for kind, (name, attribute, needed) in _MEMBERS.items():
        rules.append(
            Rule(
                f"!has(self.{name}) || self.type == '{kind.value}'",
                f"provider.{name} belongs to type {kind.value}: remove it, or change provider.type",
                lambda provider, kind=kind, attribute=attribute: (
                    getattr(provider, attribute) is None or provider.type is kind
                ),
            )
        )
        if needed:
            rules.append(
                Rule(
                    f"self.type != '{kind.value}' || has(self.{name})",
                    f"provider.type {kind.value} needs its parameters: add provider.{name}",
                    lambda provider, kind=kind, attribute=attribute: (
                        provider.type is not kind or getattr(provider, attribute) is not None
                    ),
                )
            )
    return tuple(rules)


class Provider(ApiModel):
    """Who adds and removes nodes."""

    rules: ClassVar[tuple[Rule, ...]] = _union_rules()

    type: ProviderType = ProviderType.POD_DRIVEN
    """PodDriven: a node autoscaler (Cluster Autoscaler, Karpenter) reacts to pending pods. Fixed: the nodes that
    are there are all there are. CapacityBuffer and Placeholder: as PodDriven, and Forebay keeps nodes warm.
    KarpenterStatic, ClusterAPI and ObjectField: Forebay sets a number of nodes."""
    pod_driven: PodDriven | None = None
    """Parameters of PodDriven; not needed where labels tell which nodes belong here."""
    capacity_buffer: CapacityBuffer | None = None
    """Parameters of CapacityBuffer."""
    placeholder: Placeholder | None = None
    """Parameters of Placeholder."""
    karpenter_static: KarpenterStatic | None = None
    """Parameters of KarpenterStatic."""
    cluster_api: ClusterAPI | None = Field(default=None, alias="clusterAPI")
    """Parameters of ClusterAPI."""
    object_field: ObjectField | None = None
    """Parameters of ObjectField."""
