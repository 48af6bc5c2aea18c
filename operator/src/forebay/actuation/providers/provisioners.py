"""What provisioners of the whole cluster show, read once per round and shared by all node pools."""

import logging
from collections.abc import Iterable, Mapping

from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.clusterautoscaler import AutoscalerGroup, ClusterAutoscalerReader
from forebay.actuation.providers.karpenter import Karpenter, KarpenterReader
from forebay.actuation.providers.port import Binding
from forebay.actuation.providers.sight import ProviderSight

logger = logging.getLogger(__name__)


class Provisioners:
    """Karpenter and Cluster Autoscaler as they showed themselves last.

    Args:
        api: a client.
    """

    def __init__(self, api: KubeApi) -> None:
        self._karpenter_reader = KarpenterReader(api)
        self._autoscaler_reader = ClusterAutoscalerReader(api)
        self.karpenter: Karpenter | None = None
        self.node_groups: Mapping[str, AutoscalerGroup] = {}

    @property
    def node_groups_problem(self) -> str:
        """Why node groups cannot be looked up, and what to do; "" if they can."""
        return self._autoscaler_reader.problem

    async def read(self, bindings: Iterable[Binding], now_seconds: float) -> None:
        """Read what these node pools need; what cannot be read now stays as it was.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        bindings = list(bindings)
        try:
            if bindings:
                self.karpenter = await self._karpenter_reader.read(now_seconds)
            if any(item.provider.pod_driven and item.provider.pod_driven.node_groups for item in bindings):
                self.node_groups = await self._autoscaler_reader.read()
        except ApiError as error:
            logger.warning("provisioners could not be read, their last word is kept: %s", error)

    def karpenter_sight(self, binding: Binding, named: Iterable[str] = ()) -> ProviderSight:
        """Return what Karpenter shows of one node pool; nothing where there is no Karpenter."""
        if self.karpenter is None:
            return ProviderSight(problem=self._karpenter_reader.problem)
        return self.karpenter.sight(
            binding.selector, named, resource=binding.resource, gpus_per_node=binding.gpus_per_node
        )
