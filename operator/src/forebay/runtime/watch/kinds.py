"""What is watched: Forebay's own kinds, pods, nodes, autoscalers, and every kind of workload."""

from dataclasses import dataclass
from typing import ClassVar

from forebay.api.base import GROUP, VERSION
from forebay.flow.kinds import KINDS, WorkloadKind


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """One kind that is watched."""

    value: str
    """Its plural name, by which metrics and logs call it."""
    group: str
    version: str
    cluster_scoped: bool = False
    """No Role can grant it: an operator of single namespaces goes without where it may not be read."""
    optional: bool = False
    """Comes with another project's CRD: where it is not served, or may not be watched, nothing else suffers."""

    POOLS: ClassVar["Kind"]
    NODE_POOLS: ClassVar["Kind"]
    PROFILES: ClassVar["Kind"]
    POLICIES: ClassVar["Kind"]
    FLEET_POLICIES: ClassVar["Kind"]
    NODES: ClassVar["Kind"]
    PODS: ClassVar["Kind"]
    DEPLOYMENTS: ClassVar["Kind"]
    STATEFUL_SETS: ClassVar["Kind"]
    AUTOSCALERS: ClassVar["Kind"]

    @property
    def resource(self) -> str:
        """Return the resource's name as RBAC and kubectl write it."""
        return f"{self.value}.{self.group}" if self.group else self.value


def _workloads() -> dict[Kind, WorkloadKind]:
    return {Kind(row.plural, row.api_group, row.version, optional=not row.built_in): row for row in KINDS}


WORKLOAD_KINDS: dict[Kind, WorkloadKind] = _workloads()
"""Kinds of workload with their rows."""
_BY_PLURAL = {kind.value: kind for kind in WORKLOAD_KINDS}

Kind.POOLS = Kind("inferencepools", GROUP, VERSION)
Kind.NODE_POOLS = Kind("gpunodepools", GROUP, VERSION, cluster_scoped=True)
Kind.PROFILES = Kind("servingprofiles", GROUP, VERSION, cluster_scoped=True)
Kind.POLICIES = Kind("scalingpolicies", GROUP, VERSION)
Kind.FLEET_POLICIES = Kind("fleetpolicies", GROUP, VERSION, cluster_scoped=True)
Kind.NODES = Kind("nodes", "", "v1", cluster_scoped=True)
Kind.PODS = Kind("pods", "", "v1")
Kind.DEPLOYMENTS = _BY_PLURAL["deployments"]
Kind.STATEFUL_SETS = _BY_PLURAL["statefulsets"]
Kind.AUTOSCALERS = Kind("horizontalpodautoscalers", "autoscaling", "v2")

OWN_KINDS: tuple[Kind, ...] = (
    Kind.POOLS,
    Kind.NODE_POOLS,
    Kind.PROFILES,
    Kind.POLICIES,
    Kind.FLEET_POLICIES,
)
ALL_KINDS: tuple[Kind, ...] = (*OWN_KINDS, Kind.NODES, Kind.PODS, *WORKLOAD_KINDS, Kind.AUTOSCALERS)
OPTIONAL_KINDS: frozenset[Kind] = frozenset(kind for kind in ALL_KINDS if kind.optional)


def watched_kind(api_version: str, kind: str) -> Kind | None:
    """Return the watched kind of a workload with exactly this version; ``None`` for other kinds."""
    for watched, row in WORKLOAD_KINDS.items():
        if (row.api_version, row.kind) == (api_version, kind):
            return watched
    return None
