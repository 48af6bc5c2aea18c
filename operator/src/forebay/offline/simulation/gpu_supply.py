"""GPUs of node pools: how many there are, who holds them, and when none can be had."""

from collections.abc import Iterable, Mapping

from forebay.offline.simulation.simulation_options import StockOut


class GpuSupply:
    """GPUs per node pool, shared by every simulated pool that is given the same instance.

    A node pool that is not named in ``limits`` has no limit. GPUs are granted in the order of asking; what a
    stock-out or a lack of GPUs refuses is asked for again by the caller.
    """

    def __init__(self, limits: Mapping[str, int] | None = None, stock_outs: Iterable[StockOut] = ()) -> None:
        self._limits = dict(limits or {})
        self._stock_outs = tuple(stock_outs)
        self._held: dict[str, int] = {}

    def grant(self, node_pool: str | None, gpus: int, now: float) -> bool:
        """Hand out ``gpus`` of ``node_pool`` if they can be had at ``now``."""
        if node_pool is None:
            return True
        if self.blocked_until(node_pool, now) is not None:
            return False
        held = self._held.get(node_pool, 0)
        limit = self._limits.get(node_pool)
        if limit is not None and held + gpus > limit:
            return False
        self._held[node_pool] = held + gpus
        return True

    def give_back(self, node_pool: str | None, gpus: int) -> None:
        """Return GPUs that `grant` handed out."""
        if node_pool is not None:
            self._held[node_pool] = self._held.get(node_pool, 0) - gpus

    def held(self, node_pool: str) -> int:
        """Return the GPUs of ``node_pool`` in use."""
        return self._held.get(node_pool, 0)

    def limit(self, node_pool: str) -> int | None:
        """Return the GPUs that ``node_pool`` has in all, or ``None``."""
        return self._limits.get(node_pool)

    def blocked_until(self, node_pool: str, now: float) -> float | None:
        """Return the end of the stock-out that ``node_pool`` is in, or ``None``."""
        ends = [
            out.end_seconds
            for out in self._stock_outs
            if out.node_pool == node_pool and out.start_seconds <= now < out.end_seconds
        ]
        return max(ends, default=None)
