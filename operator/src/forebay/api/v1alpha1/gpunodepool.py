"""GPUNodePool: one kind of GPU node, its price and limits, and what was measured of it."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, StrictInt, StrictStr

from forebay.api.base import SUBDOMAIN, WHOLE, ApiModel, Column, Resource, ResourceInfo, without_nulls
from forebay.api.rules import Rule, matching
from forebay.api.text import Duration, Money, between, decimal_between
from forebay.api.v1alpha1.gpunodepool_status import GPUNodePoolStatus
from forebay.api.v1alpha1.nodeprovider import Provider, ProviderType

PRODUCT_LABEL = "nvidia.com/gpu.product"
"""Label that GPU feature discovery sets; it appends to the product how a GPU is shared (-SHARED, -MIG-1g.10gb)."""

LABEL_NAME = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
LABEL_KEY = f"({SUBDOMAIN}/)?{LABEL_NAME}"
_LABEL_KEY_RE = re.compile(LABEL_KEY)

AcceleratorName = Annotated[
    StrictStr,
    Field(min_length=1, max_length=63),
    matching(
        "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?",
        "must be an accelerator's product name: use letters, digits, '.', '_' and '-', such as H100-SXM-80GB",
    ),
]
"""Product name of a GPU."""


Nodes = Annotated[
    StrictInt,
    Field(ge=0, le=10_000),
    Rule("self >= 0", "must be a number of nodes, 0 or more: raise it", lambda count: count >= 0),
]
"""A number of nodes."""


class CapacityType(StrEnum):
    """How the nodes are bought."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    RESERVED = "reserved"


class Billing(StrEnum):
    """What the price is charged for."""

    NODE = "Node"
    GPU = "GPU"


_WARMING = [kind.value for kind in ProviderType if kind not in {ProviderType.POD_DRIVEN, ProviderType.FIXED}]
"""Providers that Forebay orders nodes from."""


class LeadTimePrior(ApiModel):
    """Node lead time to assume until enough was measured: from a pending pod to usable GPUs on a new node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "duration(self.p50) <= duration(self.p90)",
            "leadTimePrior: p50 is longer than p90; lower p50 or raise p90",
            lambda prior: prior.p50.nanoseconds <= prior.p90.nanoseconds,
        ),
    )

    p50: Annotated[Duration, between("1s", "6h", such_as="5m")]
    """Median."""
    p90: Annotated[Duration, between("1s", "6h", such_as="10m")]
    """90th percentile."""


class Warm(ApiModel):
    """Free nodes that are held, so that a replica finds a node that is there."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.max) || self.min <= self.max",
            "warm: min is larger than max; lower min or raise max",
            lambda warm: warm.max is None or warm.min <= warm.max,
        ),
    )

    min: Nodes = 0
    """Fewest free nodes."""
    max: Nodes | None = None
    """Most free nodes; as many as min if left out. Between the two Forebay holds as many as pay."""

    @property
    def most(self) -> int:
        """Return the most free nodes."""
        return self.min if self.max is None else self.max


class GPUNodePoolSpec(ApiModel):
    """What the nodes are, cost, and how they are recognised."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxNodes) || self.minNodes <= self.maxNodes",
            "minNodes is larger than maxNodes: lower minNodes or raise maxNodes",
            lambda spec: spec.max_nodes is None or spec.min_nodes <= spec.max_nodes,
            ".minNodes",
        ),
        Rule(
            f"!('{PRODUCT_LABEL}' in self.nodeSelector)"
            f" || self.nodeSelector['{PRODUCT_LABEL}'].startsWith(self.accelerator)",
            f"nodeSelector asks for another {PRODUCT_LABEL} than accelerator says: make the two agree",
            lambda spec: spec.node_selector.get(PRODUCT_LABEL, spec.accelerator).startswith(spec.accelerator),
            ".nodeSelector",
        ),
        Rule(
            "(self.capacityType == 'reserved') == has(self.reservedNodes)",
            "reservedNodes and capacityType: reserved belong together: write both, or neither",
            lambda spec: (spec.capacity_type is CapacityType.RESERVED) == (spec.reserved_nodes is not None),
            ".reservedNodes",
        ),
        Rule(
            f"!has(self.warm) || (has(self.provider) && self.provider.type in {_WARMING})",
            f"warm needs a provider that holds free nodes: set provider.type to one of {', '.join(_WARMING)}",
            lambda spec: spec.warm is None or (spec.provider is not None and spec.provider.type in _WARMING),
            ".warm",
        ),
        Rule(
            f"!has(oldSelf.provider) || !(oldSelf.provider.type in {_WARMING})"
            " || (has(self.provider) && self.provider.type == oldSelf.provider.type)",
            "provider.type cannot change once Forebay orders nodes by it, because the order would stay behind;"
            " create another GPUNodePool",
            None,
            ".provider",
        ),
        Rule(
            "self.accelerator == oldSelf.accelerator",
            "accelerator cannot change, because measurements belong to it; create another GPUNodePool",
            None,
            ".accelerator",
        ),
        Rule(
            "self.gpusPerNode == oldSelf.gpusPerNode",
            "gpusPerNode cannot change, because measurements belong to it; create another GPUNodePool",
            None,
            ".gpusPerNode",
        ),
    )

    accelerator: AcceleratorName
    """Product name of the GPU, as in the nodes' nvidia.com/gpu.product label, such as NVIDIA-H100-80GB-HBM3."""
    gpus_per_node: Annotated[StrictInt, Field(ge=1, le=64), WHOLE]
    """GPUs of one node."""
    price_per_gpu_hour: Annotated[Money, decimal_between("0", "10000", such_as="2.95")] | None = Field(
        default=None, alias="pricePerGPUHour"
    )
    """Price of one GPU for an hour, as a decimal string such as "2.95". Without one, all GPUs count the same."""
    billing: Billing = Billing.NODE
    """Node: a node costs while it exists, full of work or not. GPU: only GPUs that pods hold cost."""
    minimum_billing: Annotated[Duration, between("0s", "24h", such_as="1h")] | None = None
    """Shortest time that a node is billed for; giving it back earlier saves nothing."""
    capacity_type: CapacityType = CapacityType.ON_DEMAND
    """on-demand, spot, or reserved: paid for whether used or not."""
    reserved_nodes: Nodes | None = None
    """With capacityType reserved: nodes that are paid for in any case; those beyond cost as on demand."""
    resource_name: Annotated[
        StrictStr,
        Field(max_length=253),
        matching(
            f"{SUBDOMAIN}/{LABEL_NAME}",
            "must be the resource that pods ask for, such as nvidia.com/gpu or amd.com/gpu: correct it",
        ),
    ] = "nvidia.com/gpu"
    """Resource by which pods ask for these GPUs."""
    node_selector: Annotated[
        Mapping[
            StrictStr,
            Annotated[
                StrictStr,
                Field(max_length=63),
                matching(f"({LABEL_NAME})?", "must be the value of a node's label, such as h100: correct it"),
            ],
        ],
        Field(min_length=1, max_length=16),
        BeforeValidator(without_nulls),
        Rule(
            f"self.all(k, k.size() <= 317 && k.matches('^({LABEL_KEY.replace(chr(92), chr(92) * 2)})$'))",
            "nodeSelector has a key that is no label of a node: write it like cloud.example.com/pool",
            lambda labels: all(len(key) <= 317 and _LABEL_KEY_RE.fullmatch(key) for key in labels),
        ),
    ]
    """Labels that a node has if it belongs to this pool."""
    min_nodes: Nodes = 0
    """Fewest nodes that are kept."""
    max_nodes: Nodes | None = None
    """Most nodes that can be had; unknown if left out."""
    warm: Warm | None = None
    """Free nodes that are held, so that a replica finds a node that is there; none if left out."""
    watts_per_gpu: Annotated[StrictInt, Field(ge=1, le=10_000), WHOLE] | None = Field(
        default=None, alias="wattsPerGPU"
    )
    """Power that one busy GPU draws, with its share of the node, in watts."""
    provider: Provider | None = None
    """Who adds and removes nodes; a node autoscaler for pending pods if left out."""
    lead_time_prior: LeadTimePrior | None = None
    """Node lead time to assume until enough was measured."""


class GPUNodePool(Resource):
    """One kind of GPU node: accelerator, price, limits, how its nodes are recognised, and what was measured."""

    info = ResourceInfo(
        plural="gpunodepools",
        singular="gpunodepool",
        namespaced=False,
        short_names=("gnp",),
        columns=(
            Column("GPU", ".spec.accelerator"),
            Column("Type", ".spec.capacityType", description="on-demand or spot"),
            Column("$/GPUh", ".spec.pricePerGPUHour", description="Price of one GPU for an hour"),
            Column("Nodes", ".status.nodes", "integer"),
            Column("Coming", ".status.provisioning", "integer", description="Nodes on their way"),
            Column(
                "Draining", ".status.states[?(@.state=='draining')].nodes", "integer", description="Nodes that go"
            ),
            Column("Usable", ".status.usableGPUs", "integer", description="GPUs that the scheduler can use"),
            Column("Free", ".status.freeGPUs", "integer", description="Of these, GPUs that no pod holds"),
            Column("Lead", ".status.leadTime[?(@.phase=='total')].p90", description="Order to ready, p90"),
            Column("$/h", ".status.costPerHour", description="What the nodes cost in an hour now"),
            Column("Blocked", ".status.blockedReason", description="Why no node can be had"),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Provider", ".spec.provider.type", wide=True, description="Who adds and removes nodes"),
            Column("Min", ".spec.minNodes", "integer", wide=True),
            Column("Max", ".spec.maxNodes", "integer", wide=True),
            Column("Asked", ".status.asked", "integer", wide=True, description="Nodes that Forebay asks for"),
            Column("BlockedUntil", ".status.blockedUntil", wide=True, description="When nodes are tried again"),
        ),
    )

    spec: GPUNodePoolSpec
    """What the nodes are, cost, and how they are recognised."""
    status: GPUNodePoolStatus | None = None
    """What was measured; written by Forebay."""
