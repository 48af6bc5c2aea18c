"""What Forebay writes into a GPUNodePool's status."""

from typing import Annotated

from pydantic import Field, StrictStr

from forebay.api.base import ApiModel, Condition
from forebay.api.rules import ListType
from forebay.api.v1alpha1.inferencepool_status import Count, Sentence, Short, Time


class PhaseLeadTime(ApiModel):
    """Measured duration of one phase on the way from an order to a serving replica."""

    phase: Annotated[StrictStr, Field(max_length=32)]
    """launch (to the purchase of a node), register (to the node in the cluster), usable (to its GPUs), node (pod
    created to pod scheduled, where a node had to come), startup (to the pod's readiness) or total."""
    p50: Short
    """Median."""
    p90: Short
    """90th percentile."""
    samples: Count = 0
    """Measurements behind the figures; 0 means the prior."""


class NodesInState(ApiModel):
    """Nodes that are equally far on their way."""

    state: Annotated[StrictStr, Field(max_length=32)]
    """requested, launched, registered, usable, draining or stuck."""
    nodes: Count
    """How many."""
    since: Time | None = None
    """Since when the one that is there longest is in this state."""


class NodeFailure(ApiModel):
    """What the provisioner said when it could not bring a node."""

    time: Time
    """When."""
    reason: Annotated[StrictStr, Field(max_length=64)]
    """SoldOut, LimitReached, LaunchFailed, NotTriggered or Overdue."""
    message: Sentence
    """In its own words."""


class GPUNodePoolStatus(ApiModel):
    """What was measured; written by Forebay."""

    observed_generation: Count | None = None
    """Generation of the spec that this status speaks of."""
    nodes: Count | None = None
    """Nodes that match."""
    states: Annotated[tuple[NodesInState, ...], Field(max_length=8), ListType("map", ("state",))] = ()
    """Nodes by state, from the order to the end."""
    usable_gpus: Count | None = Field(default=None, alias="usableGPUs")
    """GPUs that the scheduler can use: allocatable, on Ready nodes that are not starting up or going away."""
    free_gpus: Count | None = Field(default=None, alias="freeGPUs")
    """Of these, GPUs that no pod holds."""
    provisioning: Count | None = None
    """Nodes on their way: requested, launched, or registered without usable GPUs."""
    asked: Count | None = None
    """Nodes that Forebay asks the provider for, where that takes a number."""
    cost_per_hour: Short | None = None
    """What the nodes cost in an hour now, at pricePerGPUHour."""
    lead_time: Annotated[tuple[PhaseLeadTime, ...], Field(max_length=8), ListType("map", ("phase",))] = ()
    """Measured lead time by phase."""
    blocked_until: Time | None = None
    """Until when no new node is expected."""
    blocked_reason: Sentence | None = None
    """Why no new node is expected."""
    last_failure: NodeFailure | None = None
    """The last time that a node could not be had."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), ListType("map", ("type",))] = ()
    """Ready: GPUs can be used. Provided: the provider does what it is asked."""
