"""Replicas that were bought: those that serve, those on their way, and those that did not come."""

from dataclasses import dataclass

from forebay.flow.fleet import Variant
from forebay.flow.observation import NodePoolObservation, VariantObservation
from forebay.pipeline.remember.memory import Block, PoolMemory

_DEADLINE_LEAD_TIMES = 2.0
_SHORTEST_DEADLINE_SECONDS = 300.0
_FIRST_BLOCK_SECONDS = 600.0
_LONGEST_BLOCK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Supply:
    """One variant's replicas as the decision counts them."""

    desired: int
    """What the target is set to now."""
    live: int
    """Ready, and starting within their deadline."""
    ready: int
    overdue: int
    blocked: str | None = None
    """Why the variant cannot grow now; ``None`` if it can."""
    frozen: str | None = None
    """Why the variant must be left alone; ``None`` if it may change."""

    @property
    def bought(self) -> int:
        """Return the replicas to count on: of a blocked variant, only those that are there or on their way."""
        return self.live if self.blocked else self.desired


def supply_of(
    variant: Variant,
    seen: VariantObservation | None,
    node_pool: NodePoolObservation | None,
    memory: PoolMemory,
    at_seconds: float,
    *,
    alone: bool = False,
) -> Supply:
    """Return the supply of ``variant``, and block it where orders are overdue.

    A starting replica counts until twice the lead time after its order, or until the observation gives it up. Then
    the variant is blocked for ten minutes, longer each time it happens again, so that another GPU type is tried.
    Where there is no other (``alone``), one replica that fails for good must not keep the others from growing:
    what the observation has given up blocks nothing then.
    """
    if seen is None:
        last = memory.desired.get(variant.key, variant.min_replicas)
        return Supply(last, last, 0, 0, frozen="it was not observed")
    if not seen.target_found:
        return Supply(seen.desired, seen.supply, seen.ready, 0, frozen="its scale target does not exist")
    if seen.conflict:
        return Supply(
            seen.desired, seen.supply, seen.ready, 0, frozen=f"another writer scales it: {seen.conflict}"
        )
    deadline = max(_DEADLINE_LEAD_TIMES * seen.lead_time_seconds, _SHORTEST_DEADLINE_SECONDS)
    late = sum(1 for replica in seen.starting if at_seconds - replica.ordered_seconds > deadline)
    overdue = late if alone else seen.overdue + late
    blocked = _block(variant, memory, overdue, at_seconds)
    if blocked is None and node_pool is not None and _is_blocked(node_pool, at_seconds):
        blocked = node_pool.blocked_reason or f"node pool {node_pool.name} is out of stock"
    return Supply(seen.desired, seen.supply - late, seen.ready, overdue, blocked=blocked)


def _is_blocked(node_pool: NodePoolObservation, at_seconds: float) -> bool:
    until = node_pool.blocked_until_seconds
    return until is not None and at_seconds < until and node_pool.free_gpus <= 0


def _block(variant: Variant, memory: PoolMemory, overdue: int, at_seconds: float) -> str | None:
    block = memory.blocks.get(variant.key)
    if block is not None and at_seconds < block.until_seconds:
        return "replicas ordered earlier did not become ready in time"
    if overdue == 0:
        memory.blocks.pop(variant.key, None)
        return None
    failures = 1 if block is None else block.failures + 1
    pause = min(_LONGEST_BLOCK_SECONDS, _FIRST_BLOCK_SECONDS * 2.0 ** (failures - 1))
    memory.blocks[variant.key] = Block(at_seconds + pause, failures)
    return f"{overdue} ordered replicas did not become ready in time"
