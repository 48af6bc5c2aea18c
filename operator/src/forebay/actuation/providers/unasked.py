"""Providers that take no order: pods that wait bring nodes, or nothing does."""

from dataclasses import replace

from forebay.actuation.providers import clusterautoscaler
from forebay.actuation.providers.port import Binding, CapacityWish, Situation
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.sight import ProviderSight
from forebay.api.v1alpha1.nodeprovider import PodDriven


class PodDrivenProvider:
    """Cluster Autoscaler, Karpenter or a cloud's auto-provisioning reacts to pending pods.

    The scale-out itself is the request, so nothing is written, and taking replicas back takes it back.
    """

    def __init__(self, provisioners: Provisioners) -> None:
        self._provisioners = provisioners

    async def sight(self, binding: Binding, now_seconds: float) -> ProviderSight:  # noqa: ARG002 - the port's shape
        """Return what Karpenter and Cluster Autoscaler show of these nodes."""
        given = binding.provider.pod_driven or PodDriven()
        shown = self._provisioners.karpenter_sight(binding, given.karpenter_node_pools)
        if not given.node_groups:
            return shown
        groups = clusterautoscaler.sight(self._provisioners.node_groups, given.node_groups)
        return replace(
            shown,
            words=(*shown.words, *groups.words),
            launchable=groups.launchable if shown.launchable is None else shown.launchable,
            limit=shown.limit or groups.limit,
            problem=shown.problem or self._provisioners.node_groups_problem,
        )

    async def ensure(self, binding: Binding, wish: CapacityWish, situation: Situation) -> str:  # noqa: ARG002
        """Do nothing: pods are the request."""
        return ""


class FixedProvider:
    """Bare metal: the nodes that are there are all there are."""

    async def sight(self, binding: Binding, now_seconds: float) -> ProviderSight:  # noqa: ARG002 - the port's shape
        """Return that no node can be added."""
        return ProviderSight(launchable=0, limit="Nodes of provider Fixed are added by hand.")

    async def ensure(self, binding: Binding, wish: CapacityWish, situation: Situation) -> str:  # noqa: ARG002
        """Do nothing: nobody can be asked."""
        return ""
