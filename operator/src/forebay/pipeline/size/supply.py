"""Replicas that were bought: those that serve, those on their way, and those that did not come."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from forebay.flow.fleet import Pool, Role, Variant, VariantKey
from forebay.flow.observation import (
    NodePoolObservation,
    ParkedReplica,
    PoolObservation,
    Standing,
    VariantObservation,
)
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
    rollout: str | None = None
    """The rollout that the workload is in: nothing of it is released; ``None`` if it is in none."""
    removal: tuple[Standing, ...] | None = None
    """All replicas in the order in which a lower count removes them; ``None``: first those that do not serve."""
    parked: tuple[ParkedReplica, ...] = ()
    """Replicas out of traffic, which count nowhere else."""
    never_came: int = 0
    """Of the replicas that are not live, those that were ordered and never Ready."""
    kept_orders: bool = False
    """A withdrawal removed replicas that served instead: no other is tried."""

    @property
    def withdrawable(self) -> int:
        """Return the overdue replicas that a lower count is known to remove, and nothing else before them."""
        if self.rollout is not None or self.kept_orders:
            return 0
        lost = next((n for n, where in enumerate(self.order) if where is not Standing.LOST), len(self.order))
        return min(self.overdue, lost)

    @property
    def bought(self) -> int:
        """Return the replicas to count on: those that serve and those on their way."""
        return self.live

    @property
    def kept(self) -> int:
        """Return what the target stays at where nothing is released: overdue orders may be withdrawn."""
        return self.desired - (self.withdrawable if self.blocked else 0)

    def target_for(self, wanted: int) -> int:
        """Return what to set the target to so that ``wanted`` replicas serve or come.

        Replicas that served and failed are replaced, and go when they are back. Replicas that never came are not:
        what is ordered in their place would fail as they did.
        """
        if self.live == self.desired:
            return wanted
        least = min(wanted, self.live)
        lowest = next(count for count in range(self.desired + 1) if self.live_at(count) >= least)
        if wanted <= self.live:
            return lowest
        return max(lowest, wanted + max(0, self.desired - self.live - self.never_came))

    def ready_at(self, count: int) -> int:
        """Return the Ready replicas that are left when the target is set to ``count``."""
        return self.ready - self._removed(count).count(Standing.READY)

    def live_at(self, count: int) -> int:
        """Return the replicas, Ready or on their way, that are left when the target is set to ``count``."""
        removed = self._removed(count)
        return self.live - removed.count(Standing.READY) - removed.count(Standing.STARTING)

    def _removed(self, count: int) -> tuple[Standing, ...]:
        return self.order[: max(0, self.desired - count)]

    @property
    def order(self) -> tuple[Standing, ...]:
        """Return all replicas in the order in which a lower count removes them."""
        if self.removal is not None:
            return self.removal
        return (
            *(Standing.LOST,) * max(0, self.desired - self.live),
            *(Standing.STARTING,) * max(0, self.live - self.ready),
            *(Standing.READY,) * self.ready,
        )


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
    Replicas that wait for a node pool without stock count no more, but for those that its bought nodes will hold.
    Where there is no other (``alone``), one replica that fails for good must not keep the others from growing:
    what the observation has given up blocks nothing then, and orders wait for the node pool to have nodes again.
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
    blocked = _block(variant, memory, overdue, at_seconds) or _limit(seen, alone=alone)
    if blocked is None and node_pool is not None and _is_blocked(node_pool, at_seconds):
        blocked = node_pool.blocked_reason or f"node pool {node_pool.name} is out of stock"
    stranded = 0 if alone else _stranded(variant, seen, node_pool, at_seconds, late=late)
    supply = Supply(
        seen.desired,
        seen.supply - late - stranded,
        seen.ready,
        overdue + stranded,
        blocked=blocked,
        never_came=seen.overdue + late + stranded + seen.gated,
        rollout=None if seen.rollout is None else seen.rollout.message,
        parked=seen.parked,
        removal=_given_up(seen.removal, all_starting=late + stranded == len(seen.starting)),
    )
    if not _withdrawal_failed(variant, supply, memory):
        return supply
    # The order is not what it was taken for: what serves may go first.
    serving_first = sorted(supply.order, key=(Standing.READY, Standing.STARTING, Standing.LOST).index)
    return replace(supply, kept_orders=True, removal=tuple(serving_first))


def beside_free_gpus(
    pool: Pool,
    seen: PoolObservation,
    supplies: Mapping[VariantKey, Supply],
    node_pools: Mapping[str, NodePoolObservation],
) -> dict[VariantKey, Supply]:
    """Return the supplies without replicas that wait for nodes, where requests queue and other GPUs are free.

    Their orders stand: what comes first stays, and the rest is given back.
    """
    found = dict(supplies)
    for role in pool.roles:
        variants = pool.of_role(role) if _queues(seen, role) else ()
        for variant in variants:
            supply, sight = supplies[variant.key], seen.variant(variant.key)
            if sight is None or supply.frozen is not None or supply.blocked is not None:
                continue
            waiting = sum(replica.unschedulable for replica in sight.starting)
            others = [other for other in variants if other is not variant]
            if waiting and any(_could_grow_now(other, supplies[other.key], node_pools) for other in others):
                blocked = f"{waiting} replicas wait for a node, requests queue, and other GPUs are free"
                found[variant.key] = replace(supply, live=supply.live - waiting, blocked=blocked)
    return found


def _queues(seen: PoolObservation, role: Role) -> bool:
    """Return whether requests wait before a role, in a gateway or in its engines."""
    before = seen.waiting_decode if role is Role.DECODE else seen.waiting_prefill
    inside = [v.engine.waiting for v in seen.variants if v.role is role and v.engine is not None]
    return (before or 0.0) + sum(waiting or 0.0 for waiting in inside) > 0.0


def _could_grow_now(variant: Variant, supply: Supply, node_pools: Mapping[str, NodePoolObservation]) -> bool:
    """Return whether one more replica of a variant would find free GPUs."""
    if supply.frozen is not None or supply.blocked is not None or supply.desired >= variant.max_replicas:
        return False
    node_pool = node_pools.get(variant.node_pool or "")
    return node_pool is not None and node_pool.free_gpus >= variant.gpus_per_replica > 0


def _limit(seen: VariantObservation, *, alone: bool) -> str | None:
    """Return why more replicas of a variant would not come, as the cluster says, or ``None``."""
    if seen.gated:
        return f"{seen.gated} replicas wait for a quota"
    if seen.rollout is not None and (seen.rollout.full or (seen.rollout.stuck and not alone)):
        return seen.rollout.message
    return None


def _given_up(removal: tuple[Standing, ...] | None, *, all_starting: bool) -> tuple[Standing, ...] | None:
    """Return an order of removal in which what is late is lost; which of several starting ones is not known."""
    if removal is None or not all_starting:
        return removal
    return tuple(Standing.LOST if where is Standing.STARTING else where for where in removal)


def _withdrawal_failed(variant: Variant, supply: Supply, memory: PoolMemory) -> bool:
    """Whether the last withdrawal left all that is overdue and took what served: then no other is tried."""
    tried = memory.withdrawals.get(variant.key)
    if tried is None:
        return False
    if supply.overdue == 0:
        del memory.withdrawals[variant.key]
        return False
    if supply.desired == tried.desired and supply.overdue >= tried.overdue and supply.ready < tried.ready:
        tried.failed = True
    return tried.failed


def _stranded(
    variant: Variant,
    seen: VariantObservation,
    node_pool: NodePoolObservation | None,
    at_seconds: float,
    *,
    late: int,
) -> int:
    """Return the replicas that wait for nodes that cannot be had; those that bought nodes will hold are none."""
    if node_pool is None or not _is_blocked(node_pool, at_seconds):
        return 0
    waiting = sum(replica.unschedulable for replica in seen.starting)
    expected = node_pool.coming_gpus // variant.gpus_per_replica
    return max(0, min(waiting, len(seen.starting) - late) - expected)


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
