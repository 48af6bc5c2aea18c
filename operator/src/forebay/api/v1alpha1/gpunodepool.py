"""GPUNodePool: one kind of GPU node, its price and limits, and what was measured of it."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, StrictInt, StrictStr

from forebay.api.base import SUBDOMAIN, WHOLE, ApiModel, Column, Condition, Resource, ResourceInfo, without_nulls
from forebay.api.rules import ListType, Rule, matching
from forebay.api.text import Duration, Money, between, decimal_between
from forebay.api.v1alpha1.inferencepool_status import Count, Sentence, Short, Time

PRODUCT_LABEL = "nvidia.com/gpu.product"
"""Label that GPU feature discovery sets; it appends to the product how a GPU is shared (-SHARED, -MIG-1g.10gb)."""

_LABEL_NAME = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = f"({SUBDOMAIN}/)?{_LABEL_NAME}"
_LABEL_KEY_RE = re.compile(_LABEL_KEY)

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


class Provider(ApiModel):
    """Who adds and removes nodes."""

    type: Annotated[
        StrictStr,
        Field(max_length=63),
        Rule(
            "self == 'PodDriven'",
            "provider.type can only be PodDriven in this version (a node autoscaler reacts to pending pods):"
            " remove provider, or write type: PodDriven",
            lambda value: value == "PodDriven",
        ),
    ] = "PodDriven"
    """PodDriven: a node autoscaler (Cluster Autoscaler, Karpenter) adds nodes for pending pods."""


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
    capacity_type: CapacityType = CapacityType.ON_DEMAND
    """on-demand or spot."""
    node_selector: Annotated[
        Mapping[
            StrictStr,
            Annotated[
                StrictStr,
                Field(max_length=63),
                matching(f"({_LABEL_NAME})?", "must be the value of a node's label, such as h100: correct it"),
            ],
        ],
        Field(min_length=1, max_length=16),
        BeforeValidator(without_nulls),
        Rule(
            f"self.all(k, k.size() <= 317 && k.matches('^({_LABEL_KEY.replace(chr(92), chr(92) * 2)})$'))",
            "nodeSelector has a key that is no label of a node: write it like cloud.example.com/pool",
            lambda labels: all(len(key) <= 317 and _LABEL_KEY_RE.fullmatch(key) for key in labels),
        ),
    ]
    """Labels that a node has if it belongs to this pool."""
    min_nodes: Nodes = 0
    """Fewest nodes that the node autoscaler keeps."""
    max_nodes: Nodes | None = None
    """Most nodes that the node autoscaler adds up to; unknown if left out."""
    watts_per_gpu: Annotated[StrictInt, Field(ge=1, le=10_000), WHOLE] | None = Field(
        default=None, alias="wattsPerGPU"
    )
    """Power that one busy GPU draws, with its share of the node, in watts."""
    provider: Provider | None = None
    """Who adds and removes nodes."""
    lead_time_prior: LeadTimePrior | None = None
    """Node lead time to assume until enough was measured."""


class PhaseLeadTime(ApiModel):
    """Measured duration of one phase on the way from an order to a serving replica."""

    phase: Annotated[StrictStr, Field(max_length=32)]
    """scheduling, node, startup or total."""
    p50: Short
    """Median."""
    p90: Short
    """90th percentile."""
    samples: Count = 0
    """Measurements behind the figures; 0 means the prior."""


class GPUNodePoolStatus(ApiModel):
    """What was measured; written by Forebay."""

    observed_generation: Count | None = None
    """Generation of the spec that this status speaks of."""
    nodes: Count | None = None
    """Nodes that match."""
    usable_gpus: Count | None = Field(default=None, alias="usableGPUs")
    """GPUs that the scheduler can use: allocatable, on Ready nodes that are not starting up or going away."""
    free_gpus: Count | None = Field(default=None, alias="freeGPUs")
    """Of these, GPUs that no pod holds."""
    provisioning: Count | None = None
    """Nodes on their way: registered without usable GPUs."""
    lead_time: Annotated[tuple[PhaseLeadTime, ...], Field(max_length=8), ListType("map", ("phase",))] = ()
    """Measured lead time by phase."""
    blocked_until: Time | None = None
    """Until when no new node is expected."""
    blocked_reason: Sentence | None = None
    """Why no new node is expected."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), ListType("map", ("type",))] = ()
    """Ready, Blocked and others."""


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
            Column("Usable", ".status.usableGPUs", "integer", description="GPUs that the scheduler can use"),
            Column("Free", ".status.freeGPUs", "integer", description="Of these, GPUs that no pod holds"),
            Column("Lead", ".status.leadTime[?(@.phase=='total')].p90", description="Order to ready, p90"),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Min", ".spec.minNodes", "integer", wide=True),
            Column("Max", ".spec.maxNodes", "integer", wide=True),
            Column("Coming", ".status.provisioning", "integer", wide=True, description="Nodes on their way"),
            Column("Blocked", ".status.blockedReason", wide=True, description="Why no node can be had"),
        ),
    )

    spec: GPUNodePoolSpec
    """What the nodes are, cost, and how they are recognised."""
    status: GPUNodePoolStatus | None = None
    """What was measured; written by Forebay."""
