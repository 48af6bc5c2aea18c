"""A plain stock of GPUs per node pool, without nodes: how many there are, who holds them, and stock-outs."""

import math
from collections.abc import Iterable, Mapping

from forebay.offline.simulation.nodes.capacity import Pod
from forebay.offline.simulation.simulation_options import StockOut


class GpuSupply:
    """GPUs per node pool; every GPU can be used by every pod at once (a `PodCapacity`).

    A node pool that is not named in ``limits`` has no limit. GPUs are granted in the order of requests. After a
    refusal (stock-out, no free GPU) the caller asks again.
    """

    def __init__(self, limits: Mapping[str, int] | None = None, stock_outs: Iterable[StockOut] = ()) -> None:
        self.version = 0
        self._limits = dict(limits or {})
        self._stock_outs = tuple(stock_outs)
        self._held: dict[str, int] = {}

    def place(self, pod: Pod, now: float, *, at_once: bool = False) -> float | None:  # noqa: ARG002  no node to wait for
        """Give ``pod`` its GPUs if they are available at ``now``."""
        name = pod.node_pool
        if name is None:
            return now
        if self.blocked_until(name, now) is not None:
            return None
        held, limit = self._held.get(name, 0), self._limits.get(name)
        if limit is not None and held + pod.gpus > limit:
            return None
        self._held[name] = held + pod.gpus
        return now

    def move(self, pod: Pod, now: float) -> bool:  # noqa: ARG002  no pod waits for a node here
        """Return False: a pod either starts at once or is refused."""
        return False

    def remove(self, pod: Pod, when: float) -> None:  # noqa: ARG002
        """Take the GPUs of ``pod`` back."""
        if pod.node_pool is not None:
            self._held[pod.node_pool] = self._held.get(pod.node_pool, 0) - pod.gpus
            self.version += 1

    def next_change_seconds(self, now: float) -> float:
        """Return when the next stock-out ends."""
        return min((out.end_seconds for out in self._stock_outs if out.end_seconds > now), default=math.inf)

    def reclaim_seconds(self, pod: Pod) -> float:  # noqa: ARG002
        """Return infinity: there are no nodes."""
        return math.inf

    def notice_seconds(self, pod: Pod) -> float:  # noqa: ARG002
        """Return 0: there are no nodes."""
        return 0.0

    def node_wait_seconds(self, node_pool: str | None, gpus: int, now: float) -> float:  # noqa: ARG002
        """Return 0: no pod waits for a node."""
        return 0.0

    def crowding(self, pod: Pod, others: list[Pod]) -> int:  # noqa: ARG002
        """Return 0: there are no nodes to share."""
        return 0

    def held(self, node_pool: str) -> int:
        """Return the GPUs of ``node_pool`` in use."""
        return self._held.get(node_pool, 0)

    def limit(self, node_pool: str) -> int | None:
        """Return the GPUs that ``node_pool`` has in all, or ``None``."""
        return self._limits.get(node_pool)

    def blocked_until(self, node_pool: str, now: float) -> float | None:
        """Return the end of the stock-out that ``node_pool`` is in, or ``None``."""
        return stocked_out_until(self._stock_outs, node_pool, now)


def stocked_out_until(stock_outs: Iterable[StockOut], node_pool: str, now: float) -> float | None:
    """Return the end of the stock-out that ``node_pool`` is in at ``now``, or ``None``."""
    ends = [
        out.end_seconds
        for out in stock_outs
        if out.node_pool == node_pool and out.start_seconds <= now < out.end_seconds
    ]
    return max(ends, default=None)
