"""A static Karpenter NodePool: its replicas are its nodes.

What is measured of Karpenter 1.14 and heeded here:

* A NodeClaim is Initialized before its GPUs are there, and `status.nodes` counts claims: usable is what the
  scheduler can use, and nothing else.
* Sold out, it tries again every second or so, for ever: the number is taken back to what was bought.
* At `limits.nodes` it says nothing: the limit is read and heeded.
* A node that it has tainted cannot be called back: the number goes down only by nodes without pods, of which it
  takes the empty ones first.
"""

from dataclasses import replace

from forebay.actuation.kube import ApiError, KubeApi
from forebay.actuation.providers.count import count_to_ask
from forebay.actuation.providers.karpenter import GROUP, NODE_POOL_LABEL
from forebay.actuation.providers.port import Binding, CapacityWish, Situation
from forebay.actuation.providers.provisioners import Provisioners
from forebay.actuation.providers.scalesubresource import explained, read_count, write_count
from forebay.actuation.providers.sight import ProviderSight

_RIGHT = "rbac.nodeProviders.karpenterStatic"


class KarpenterStaticProvider:
    """Sets the replicas of a static NodePool.

    Args:
        api: a fenced client.
        provisioners: what Karpenter shows.
    """

    def __init__(self, api: KubeApi, provisioners: Provisioners) -> None:
        self._api = api
        self._provisioners = provisioners

    async def sight(self, binding: Binding, now_seconds: float) -> ProviderSight:  # noqa: ARG002 - the port's shape
        """Return the NodePool's claims, limit and number."""
        name = _name(binding)
        only = replace(binding, selector={NODE_POOL_LABEL: name})
        shown = self._provisioners.karpenter_sight(only)
        pools = self._provisioners.karpenter.pools if self._provisioners.karpenter is not None else {}
        pool = pools.get(name)
        if pool is None:
            problem = shown.problem or f"Karpenter has no NodePool {name}: create it, or correct its name."
            return replace(shown, problem=problem)
        if pool.replicas is None:
            problem = (
                f"Karpenter NodePool {name} has no replicas, so pods bring its nodes: use provider PodDriven, or"
                " name a static NodePool."
            )
            return replace(shown, problem=problem)
        return replace(shown, asked=pool.replicas, ceiling=pool.limits.get("nodes"))

    async def ensure(self, binding: Binding, wish: CapacityWish, situation: Situation) -> str:
        """Set the NodePool's replicas, where they differ from what they should be."""
        if situation.sight.asked is None:
            return situation.sight.problem
        name = _name(binding)
        path = f"{GROUP}/nodepools/{name}"
        try:
            before = await read_count(self._api, path)
            count = count_to_ask(binding, wish, situation, asked=before.nodes)
            if count != before.nodes:
                await write_count(self._api, path, count, before)
        except ApiError as error:
            return explained(error, f"Karpenter NodePool {name}", _RIGHT)
        return ""


def _name(binding: Binding) -> str:
    given = binding.provider.karpenter_static
    return given.node_pool if given is not None else ""
