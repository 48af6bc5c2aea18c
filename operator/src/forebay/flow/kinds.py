"""Kinds of workload that Forebay scales: one row per kind, read wherever kinds are treated differently.

To add a kind, add one row here and one value in the chart (``rbac.targets``). The API's default versions, the
watches, the telemetry's pod names and the chart's rights follow from the row, or are tested against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType

_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""The alphabet of Kubernetes' random names (``k8s.io/apimachinery/pkg/util/rand``): no vowels."""
_RANDOM = f"-[{_SAFE}]{{5}}"


class PodNames(Enum):
    """How a workload's controller names its pods: what follows the workload's name, as a regular expression."""

    REPLICA_SET = f"-[{_SAFE}]{{6,10}}{_RANDOM}"
    """``NAME-HASH-RANDOM``. Kubernetes cuts a name of more than 46 letters inside the hash."""
    ORDINAL = "-[0-9]+"
    """``NAME-ORDINAL``."""
    GROUP = "-[0-9]+(?:-[0-9]+)?"
    """``NAME-GROUP`` for the leader of a group, ``NAME-GROUP-WORKER`` for its workers."""
    RANDOM = _RANDOM
    """``NAME-RANDOM``."""
    OTHER = "-.+"
    """Not known: the adapter's name need not be part of the pods' names."""


class RemovalOrder(StrEnum):
    """Which replica a workload's controller removes when its count is lowered."""

    REPLICA_SET = "replica-set"
    """Pods without a node first, then pods that are not Ready, then by deletion cost, then the youngest."""
    HIGHEST_ORDINAL = "highest-ordinal"
    """The highest ordinal, whatever its state."""
    UNKNOWN = "unknown"
    """Depends on what is behind the object: no replica is known to go before another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroup:
    """A replica that is a group of pods, one per node: it is Ready when all its pods are."""

    size_path: tuple[str, ...]
    """Where the object says how many pods a group has."""
    workload_label: str
    """Label of all pods of the workload, with its name: the selector in ``/scale`` finds leaders only."""
    key_label: str
    """Label that all pods of one group share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadKind:
    """One kind of scale target."""

    kind: str
    api_version: str
    plural: str
    chart_value: str
    """Its name under ``rbac.targets`` in the chart's values."""
    pod_names: PodNames
    removal: RemovalOrder
    selector_path: tuple[str, ...]
    """Where the object has the selector that its ``/scale`` shows: a LabelSelector, or one written as a string."""
    revision_label: str | None = None
    """Label of the pods that tells their revision."""
    ordinal_label: str | None = None
    """Label of the pods that tells their replica's ordinal."""
    group: PodGroup | None = None
    """``None``: a replica is one pod."""
    unset_replicas: int = 1
    """What an object has that does not say how many."""
    lowest: int = 0
    """Replicas below which the stack does not work as it should."""

    @property
    def api_group(self) -> str:
        """Return the API group."""
        return self.api_version.partition("/")[0]

    @property
    def version(self) -> str:
        """Return the version within the API group."""
        return self.api_version.partition("/")[2]

    @property
    def built_in(self) -> bool:
        """Whether every cluster serves it; the others come with a CRD."""
        return self.api_group == "apps"


_LWS = "leaderworkerset.sigs.k8s.io"

KINDS: tuple[WorkloadKind, ...] = (
    WorkloadKind(
        kind="Deployment",
        api_version="apps/v1",
        plural="deployments",
        chart_value="deployments",
        pod_names=PodNames.REPLICA_SET,
        removal=RemovalOrder.REPLICA_SET,
        selector_path=("spec", "selector"),
        revision_label="pod-template-hash",
    ),
    WorkloadKind(
        kind="StatefulSet",
        api_version="apps/v1",
        plural="statefulsets",
        chart_value="statefulSets",
        pod_names=PodNames.ORDINAL,
        removal=RemovalOrder.HIGHEST_ORDINAL,
        selector_path=("spec", "selector"),
        revision_label="controller-revision-hash",
        ordinal_label="apps.kubernetes.io/pod-index",
    ),
    WorkloadKind(
        kind="LeaderWorkerSet",
        api_version="leaderworkerset.x-k8s.io/v1",
        plural="leaderworkersets",
        chart_value="leaderWorkerSets",
        pod_names=PodNames.GROUP,
        removal=RemovalOrder.HIGHEST_ORDINAL,
        selector_path=("status", "hpaPodSelector"),
        revision_label=f"{_LWS}/template-revision-hash",
        ordinal_label=f"{_LWS}/group-index",
        group=PodGroup(
            size_path=("spec", "leaderWorkerTemplate", "size"),
            workload_label=f"{_LWS}/name",
            key_label=f"{_LWS}/group-index",
        ),
    ),
    WorkloadKind(
        kind="DisaggregatedSetRoleScaler",
        api_version="disaggregatedset.x-k8s.io/v1",
        plural="disaggregatedsetrolescalers",
        chart_value="disaggregatedSets",
        pod_names=PodNames.OTHER,
        removal=RemovalOrder.HIGHEST_ORDINAL,
        selector_path=("status", "selector"),
        revision_label=f"{_LWS}/template-revision-hash",
        ordinal_label=f"{_LWS}/group-index",
    ),
    WorkloadKind(
        kind="DynamoGraphDeploymentScalingAdapter",
        api_version="nvidia.com/v1beta1",
        plural="dynamographdeploymentscalingadapters",
        chart_value="dynamoGraphs",
        pod_names=PodNames.OTHER,
        removal=RemovalOrder.UNKNOWN,
        selector_path=("status", "selector"),
        # Without a worker Dynamo's frontend drops the model, and no request would ever reach it again.
        lowest=1,
    ),
    WorkloadKind(
        kind="RoleBasedGroupScalingAdapter",
        api_version="workloads.x-k8s.io/v1alpha2",
        plural="rolebasedgroupscalingadapters",
        chart_value="roleBasedGroups",
        pod_names=PodNames.OTHER,
        removal=RemovalOrder.UNKNOWN,
        selector_path=("status", "selector"),
        # Until its first write the adapter leaves the count to the RoleBasedGroup.
        unset_replicas=0,
    ),
    WorkloadKind(
        kind="Rollout",
        api_version="argoproj.io/v1alpha1",
        plural="rollouts",
        chart_value="argoRollouts",
        pod_names=PodNames.REPLICA_SET,
        removal=RemovalOrder.REPLICA_SET,
        selector_path=("status", "selector"),
        revision_label="rollouts-pod-template-hash",
    ),
)

BY_KIND: Mapping[str, WorkloadKind] = MappingProxyType({row.kind: row for row in KINDS})
"""Rows by the name of their kind."""


def workload_kind(api_version: str, kind: str) -> WorkloadKind | None:
    """Return the row of a kind; ``None`` for kinds that are known by their ``/scale`` only.

    Versions of one API group are one kind.
    """
    row = BY_KIND.get(kind)
    return row if row is not None and row.api_group == api_version.partition("/")[0] else None
