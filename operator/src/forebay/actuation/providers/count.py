"""How many nodes to ask for, where a provider takes a number: pure, the same for all of them."""

from forebay.actuation.providers.port import Binding, CapacityWish, Situation


def count_to_ask(binding: Binding, wish: CapacityWish, situation: Situation, *, asked: int) -> int:
    """Return the number of nodes that a provider should be asked for.

    Up at once, within the pool's limits. Down only by nodes that no pod holds GPUs on and whose minimum billing
    time is over: the workload leaves first. While nothing can be had, the number falls back to what was bought, so
    that no raised number is left behind.

    Args:
        binding: the node pool.
        wish: what the plan wants.
        situation: what there is.
        asked: the number that the provider is asked for now.
    """
    # A node that the cloud takes back is counted until it is gone; its successor comes beside it.
    wanted = max(binding.min_nodes, wish.nodes + wish.warm_nodes) + situation.reclaimed_nodes
    for most in (binding.max_nodes, situation.sight.ceiling):
        wanted = wanted if most is None else min(wanted, most)
    kept = situation.kept_nodes(binding.minimum_billing_seconds)
    count = wanted if wanted >= asked else max(wanted, min(asked, kept))
    return min(count, asked, situation.bought_nodes) if situation.blocked else count
