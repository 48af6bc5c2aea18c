"""What provisioners of the whole cluster show, read once per round and shared by all node pools."""

import logging
from collections.abc import Awaitable, Iterable, Mapping
from typing import TypeVar

from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.clusterautoscaler import AutoscalerGroup, ClusterAutoscalerReader
from forebay.actuation.providers.karpenter import Karpenter, KarpenterReader
from forebay.actuation.providers.port import Binding
from forebay.actuation.providers.sight import ProviderSight

logger = logging.getLogger(__name__)

_Shown = TypeVar("_Shown")


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
        if bindings:
            self.karpenter = await _read(self._karpenter_reader.read(now_seconds), "Karpenter", self.karpenter)
        if any(item.provider.pod_driven and item.provider.pod_driven.node_groups for item in bindings):
            self.node_groups = await _read(self._autoscaler_reader.read(), "Cluster Autoscaler", self.node_groups)

    def karpenter_sight(self, binding: Binding, named: Iterable[str] = ()) -> ProviderSight:
        """Return what Karpenter shows of one node pool; nothing where there is no Karpenter."""
        if self.karpenter is None:
            return ProviderSight(problem=self._karpenter_reader.problem)
        return self.karpenter.sight(
            binding.selector, named, resource=binding.resource, gpus_per_node=binding.gpus_per_node
        )


async def _read(reading: Awaitable[_Shown], name: str, last: _Shown) -> _Shown:
    """Return what a provisioner shows; where it fails, or its objects are not as expected, what it showed last."""
    try:
        return await reading
    except ApiError as error:
        logger.warning("%s could not be read, its last word is kept: %s", name, error)
    except (ValueError, LookupError, TypeError, AttributeError):  # not of the shape that this program knows
        logger.exception("%s could not be understood, its last word is kept", name)
    return last
