"""Which replicas run on which node."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from forebay.actuation.providers.port import Situation
from forebay.flow.fleet import PoolKey, Variant, VariantKey
from forebay.flow.observation import PlacedNode
from forebay.runtime.watch.records import PodRecord


class Placement:
    """Collects the replicas of all pools by node.

    A replica counts where one pod holds all its GPUs. All other pods with GPUs are others, which keep their node.
    """

    def __init__(self) -> None:
        self._pods: dict[str, Counter[tuple[PoolKey, VariantKey]]] = defaultdict(Counter)
        self._replicas: dict[str, Counter[tuple[PoolKey, VariantKey]]] = defaultdict(Counter)
        self._gpus: Counter[str] = Counter()

    def add(self, pool: PoolKey, variant: Variant, pods: Iterable[PodRecord]) -> None:
        """Add the pods of one variant; one that is parked or removed holds its GPUs, and is no replica."""
        for pod in pods:
            if pod.node is None:
                continue
            if not pod.terminating:
                self._pods[pod.node][pool, variant.key] += 1
            if pod.gpus == variant.gpus_per_replica:
                self._gpus[pod.node] += pod.gpus
                if not pod.terminating and pod.parked_seconds is None:
                    self._replicas[pod.node][pool, variant.key] += 1

    def staying(self, situation: Situation) -> Counter[tuple[PoolKey, VariantKey]]:
        """Return the pods of each variant on nodes that nobody takes away."""
        found: Counter[tuple[PoolKey, VariantKey]] = Counter()
        for node in situation.nodes:
            if not node.going:
                found.update(self._pods.get(node.name, {}))
        return found

    def of(self, situation: Situation) -> tuple[PlacedNode, ...]:
        """Return the usable nodes of a node pool with what runs on them."""
        return tuple(
            PlacedNode(
                name=node.name,
                free_gpus=node.free_gpus,
                replicas=self._replicas.get(node.name, {}),
                others=node.gpus_held > self._gpus[node.name],
            )
            for node in situation.nodes
            if node.usable
        )
