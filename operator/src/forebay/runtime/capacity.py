"""What the plan's replicas ask of each node pool, handed to the pool's capacity provider."""

import logging
import math
from collections import Counter
from collections.abc import Mapping

from forebay.actuation.capacity import CapacityProvider, CapacityWish
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.decision import PoolDecision
from forebay.flow.fleet import PoolKey
from forebay.runtime.cluster.look import Look
from forebay.runtime.leader import LeaseLostError

logger = logging.getLogger(__name__)


def capacity_wishes(
    look: Look, decisions: Mapping[PoolKey, PoolDecision], *, deadline_seconds: float
) -> list[CapacityWish]:
    """Return the nodes that the replicas of each node pool fill, in the order of their names.

    Only pools in mode Auto count in full; the others count with what they have, since no more will come of them.
    A replica of more GPUs than a node has takes whole nodes.
    """
    nodes: Counter[str] = Counter()
    gpus: Counter[str] = Counter()
    per_node = {pool.entry.node_pool.name: pool.entry.node_pool.gpus_per_node for pool in look.node_pools}
    for pool in look.pools:
        decision = decisions.get(pool.entry.pool.key)
        wanted = {} if decision is None else {item.key: item.desired for item in decision.variants}
        current = {item.key: item.desired for item in pool.variants}
        counts = wanted if pool.entry.mode is Mode.AUTO and wanted else current
        for variant in pool.entry.pool.variants:
            size = per_node.get(variant.node_pool or "")
            if variant.node_pool is None or size is None:
                continue
            count = counts.get(variant.key, 0)
            if variant.gpus_per_replica >= size:
                nodes[variant.node_pool] += count * math.ceil(variant.gpus_per_replica / size)
            else:
                gpus[variant.node_pool] += count * variant.gpus_per_replica
    return [
        CapacityWish(
            node_pool=name,
            nodes=nodes[name] + math.ceil(gpus[name] / per_node[name]),
            deadline_seconds=look.at_seconds + deadline_seconds,
        )
        for name in sorted(per_node)
    ]


async def ensure_capacity(wishes: list[CapacityWish], provider: CapacityProvider) -> bool:
    """Hand the wishes to the provider; False if one failed: the others go on, and the next round repeats it.

    Raises:
        LeaseLostError: this process may not write any more.
    """
    complete = True
    for wish in wishes:
        try:
            await provider.ensure(wish)
        except LeaseLostError:
            raise
        except Exception:  # a provider that fails must not keep the round from reporting
            logger.exception("node pool %s: its capacity provider failed; the next round repeats", wish.node_pool)
            complete = False
    return complete
