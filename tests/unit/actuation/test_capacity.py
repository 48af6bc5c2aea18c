"""The capacity port and its first adapter."""

from forebay.actuation.capacity import CapacityProvider, CapacityWish, PodDrivenProvider, ProviderMode


async def test_pod_driven_asks_nobody_and_says_so() -> None:
    provider: CapacityProvider = PodDrivenProvider()
    assert provider.mode is ProviderMode.POD_DRIVEN
    said = await provider.ensure(CapacityWish(node_pool="h100", nodes=3, deadline_seconds=900.0))
    assert said == "h100: pending pods make the node autoscaler add nodes."
