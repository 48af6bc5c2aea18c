"""FleetPolicy: what an administrator allows the whole fleet, and the tenants in it."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, StrictInt, StrictStr

from forebay.api.base import WHOLE, ApiModel, Column, ObjectName, Resource, ResourceInfo, without_nulls
from forebay.api.rules import ListType, Rule, matching
from forebay.api.text import Money, decimal_between
from forebay.api.v1alpha1.gpunodepool import LABEL_KEY, LABEL_NAME

_LABEL_KEY_RE = re.compile(LABEL_KEY)

Priority = Annotated[StrictInt, Field(ge=-1000, le=1000), WHOLE]
"""A pool's priority."""


class Allowance(StrEnum):
    """What a tenant may do only if an administrator says so, because it reaches beyond its namespace."""

    EXTERNAL_FORECASTS = "ExternalForecasts"
    """Run a PromQL query of its own (`externalForecast` of its ScalingPolicies)."""
    FOREIGN_GATEWAYS = "ForeignGateways"
    """Read gateway series of other namespaces."""


class NamespaceSelector(ApiModel):
    """Namespaces by their labels, all of which must fit; all namespaces where empty."""

    match_labels: Annotated[
        Mapping[
            StrictStr,
            Annotated[
                StrictStr,
                Field(max_length=63),
                matching(f"({LABEL_NAME})?", "must be the value of a label, such as research: correct it"),
            ],
        ],
        Field(max_length=8),
        BeforeValidator(without_nulls),
        Rule(
            f"self.all(k, k.size() <= 317 && k.matches('^({LABEL_KEY.replace(chr(92), chr(92) * 2)})$'))",
            "matchLabels has a key that is no label: write it like team or example.com/team",
            lambda labels: all(len(key) <= 317 and _LABEL_KEY_RE.fullmatch(key) for key in labels),
        ),
    ] = Field(default_factory=dict)
    """Labels with the exact value of each, such as kubernetes.io/metadata.name: research."""


class TenantRule(ApiModel):
    """What the pools of some namespaces may use."""

    name: Annotated[ObjectName, Field(max_length=63)]
    """Name of the rule, which the pools' conditions quote."""
    namespace_selector: NamespaceSelector = Field(default_factory=NamespaceSelector)
    """Whose pools it is for. The first rule that fits a namespace applies to it."""
    node_pools: Annotated[tuple[ObjectName, ...], Field(min_length=1, max_length=16), ListType("set")] | None = (
        None
    )
    """GPUNodePools that these pools may use; all if left out."""
    max_gpus: Annotated[StrictInt, Field(ge=0, le=1_000_000), WHOLE] | None = Field(default=None, alias="maxGPUs")
    """Most GPUs that all these pools together grow to; no limit if left out."""
    highest_priority: Priority | None = None
    """A higher priority of these pools counts as this one."""
    allow: Annotated[tuple[Allowance, ...], Field(max_length=8), ListType("set")] = ()
    """What reaches beyond the namespace and is allowed all the same: ExternalForecasts, ForeignGateways."""


class FleetPolicySpec(ApiModel):
    """Limits of the fleet, and what its tenants may use."""

    budget_per_hour: Annotated[Money, decimal_between("0.01", "100000000", such_as="1200.00")] | None = None
    """Most that all pools together may cost in an hour, as a decimal string."""
    power_limit_watts: Annotated[StrictInt, Field(ge=1, le=1_000_000_000), WHOLE] | None = None
    """Most power that the GPUs of all pools together may draw, in watts, by the node pools' wattsPerGPU."""
    highest_priority: Priority | None = None
    """A higher priority of any pool counts as this one; a tenant's rule may lower it further."""
    tenants: Annotated[tuple[TenantRule, ...], Field(max_length=32), ListType("map", ("name",))] = ()
    """Rules per namespace. Without one that fits, all node pools may be used, and nothing that `allow` is for."""


class FleetPolicy(Resource):
    """What an administrator allows the fleet and its tenants: money, power, priorities, node pools and quotas."""

    info = ResourceInfo(
        plural="fleetpolicies",
        singular="fleetpolicy",
        namespaced=False,
        columns=(
            Column("Budget", ".spec.budgetPerHour", description="Most that all pools cost in an hour"),
            Column("Watts", ".spec.powerLimitWatts", "integer", description="Most power of all GPUs"),
            Column("Priority", ".spec.highestPriority", "integer", description="Highest priority of any pool"),
            Column("Tenants", ".spec.tenants[*].name", description="Rules per namespace"),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
    )

    spec: FleetPolicySpec
    """Limits of the fleet, and what its tenants may use."""
