"""How many free nodes to hold: what a start within seconds saves over all pools of a node pool, against the price.

Without free nodes a role has to order for the lead time of a node, or to miss what it did not foresee. With them
it can wait: what comes as a surprise finds room. The same room serves every role that can run there, since
surprises rarely come to all at once. So the gain is summed over the roles, and the nodes are paid for once.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from forebay.flow.fleet import Fleet, NodePool, PoolKey, Role, Variant, VariantKey
from forebay.flow.observation import FleetObservation, NodePoolObservation
from forebay.flow.plan import NodePlan
from forebay.pipeline.remember.turns import Turns
from forebay.pipeline.remember.warm_memory import WarmMemory
from forebay.pipeline.size.demand import curves_ahead, forecast_of
from forebay.pipeline.size.pool_draft import PoolDraft
from forebay.pipeline.size.role_draft import RoleDraft
from forebay.sizing.curve import CurveAsk, SizedCurve, demand_nodes

GIVEN_BACK_BELOW = 0.7
"""A warm node goes when it saves less than this share of what it costs; one is added from its full price on."""
_START_UP_SECONDS = 60.0
"""Of a replica that declares none."""

Counts = Mapping[PoolKey, Mapping[VariantKey, int]]


@dataclass(frozen=True, slots=True)
class Surprise:
    """What one role misses by the time that a node would have come, by its capacity in reference replicas."""

    ahead: SizedCurve
    capacity: float
    """What the plan gives it."""
    usd_per_hour: float
    """Of one reference replica."""
    miss_price_replica_seconds: float
    speed: float
    """Of one replica that the room takes."""
    gpus: int
    """Of that replica."""

    def saved_usd(self, *, free_gpus: int, nodes: int, gpus_per_node: int) -> float:
        """Return the dollars per hour that room saves: those of misses, or of ordering early."""
        if self.gpus > gpus_per_node:
            replicas = nodes * gpus_per_node // self.gpus
        else:
            replicas = free_gpus // self.gpus + nodes * (gpus_per_node // self.gpus)
        return max(0.0, self._without_room() - self._missed_usd(self.capacity + replicas * self.speed))

    def _missed_usd(self, capacity: float) -> float:
        return self.usd_per_hour * self.miss_price_replica_seconds * self.ahead.misses_at(capacity)

    def _without_room(self) -> float:
        """Return what the role costs without free nodes: it misses, or buys for the lead time of a node."""
        counts: list[float] = self.ahead.replicas[self.ahead.replicas > self.capacity].tolist()
        bought = [self.usd_per_hour * (count - self.capacity) + self._missed_usd(count) for count in counts]
        return min([self._missed_usd(self.capacity), *bought])


def nodes_worth_holding(node_pool: NodePool, surprises: Iterable[Surprise], *, free_gpus: int, held: int) -> int:
    """Return how many free nodes pay, between the fewest and the most that the node pool holds.

    Args:
        node_pool: with its limits.
        surprises: of the roles that can run there.
        free_gpus: room on the nodes that the plan keeps.
        held: warm nodes until now.
    """
    usd = (node_pool.usd_per_gpu_hour or 0.0) * node_pool.gpus_per_node
    surprises = list(surprises)

    def saved(nodes: int) -> float:
        return sum(
            each.saved_usd(free_gpus=free_gpus, nodes=nodes, gpus_per_node=node_pool.gpus_per_node)
            for each in surprises
        )

    count, before = node_pool.warm_min, saved(node_pool.warm_min)
    while count < node_pool.warm_max:
        after = saved(count + 1)
        if after - before <= usd * (GIVEN_BACK_BELOW if count < held else 1.0):
            break
        count, before = count + 1, after
    return count


def warm_nodes(
    fleet: Fleet,
    observed: FleetObservation,
    drafts: Mapping[PoolKey, PoolDraft],
    counts: Counts,
    planned: Mapping[str, NodePlan],
    memory: WarmMemory,
    turns: Turns,
    blind: Collection[str],
) -> dict[str, int]:
    """Return how many free nodes to hold of each node pool that may hold any.

    Of the node pools in ``blind`` none is given back: not all is known of who may need them.
    """
    found: dict[str, int] = {}
    for name, node_pool in fleet.node_pools.items():
        if node_pool.warm_max == 0:
            continue
        seen = observed.node_pools.get(name)
        if seen is None or node_pool.warm_min == node_pool.warm_max or not node_pool.usd_per_gpu_hour:
            found[name] = node_pool.warm_min
            continue
        lead = memory.lead(name, seen.lead_time_p90_seconds)
        surprises = _surprises(name, drafts, counts, lead, observed.at_seconds, turns)
        free = _free_gpus(seen, planned.get(name), node_pool, drafts, counts)
        held = memory.held.get(name, node_pool.warm_min)
        worth = nodes_worth_holding(node_pool, surprises, free_gpus=free, held=held)
        found[name] = max(worth, min(held, node_pool.warm_max)) if name in blind else worth
    memory.held = dict(found)
    return found


def _surprises(
    name: str,
    drafts: Mapping[PoolKey, PoolDraft],
    counts: Counts,
    node_lead_seconds: float,
    at_seconds: float,
    turns: Turns,
) -> list[Surprise]:
    asked: list[tuple[PoolDraft, RoleDraft, Variant, CurveAsk]] = []
    for draft in drafts.values():
        for role, sized in draft.roles.items():
            variant = _growing(draft, role, name, sized)
            if variant is None:
                continue
            lead = node_lead_seconds + (variant.start_up_seconds or _START_UP_SECONDS)
            forecast = forecast_of(draft.pool, draft.basis.memory, lead, at_seconds, turns)
            if forecast is not None:
                demand = demand_nodes(forecast.at_horizon, forecast.rate_cap)
                asked.append((draft, sized, variant, replace(sized.basis.curves.present, demands=(demand,))))
    curves = curves_ahead([ask for *_, ask in asked])
    return [
        Surprise(
            ahead=curve,
            capacity=sum(
                sized.basis.speed[v.key] * counts.get(draft.pool.key, {}).get(v.key, 0)
                for v in draft.pool.of_role(sized.basis.role)
            ),
            usd_per_hour=sized.basis.usd_per_replica_hour[sized.basis.reference.key],
            miss_price_replica_seconds=sized.size.miss_price_replica_seconds,
            speed=sized.basis.speed[variant.key],
            gpus=variant.gpus_per_replica,
        )
        for (draft, sized, variant, _), curve in zip(asked, curves, strict=True)
    ]


def _growing(draft: PoolDraft, role: Role, node_pool: str, sized: RoleDraft) -> Variant | None:
    """Return the variant of a role that gets most out of a GPU of this node pool, of those that may grow."""
    able = [
        variant
        for variant in draft.pool.of_role(role)
        if variant.node_pool == node_pool
        and draft.basis.supplies[variant.key].frozen is None
        and draft.basis.supplies[variant.key].desired < variant.max_replicas
    ]
    return max(able, key=lambda v: sized.basis.speed[v.key] / v.gpus_per_replica, default=None)


def _free_gpus(
    seen: NodePoolObservation,
    planned: NodePlan | None,
    node_pool: NodePool,
    drafts: Mapping[PoolKey, PoolDraft],
    counts: Counts,
) -> int:
    """Return the room that the plan leaves on nodes that it keeps or opens."""
    if planned is None or seen.placement is None:
        return 0
    kept = [node for node in seen.placement if node.name not in planned.emptied]
    coming = planned.kept - len(kept) + planned.opened
    free = sum(node.free_gpus for node in kept) + coming * node_pool.gpus_per_node
    for draft in drafts.values():
        for variant in draft.pool.variants:
            if variant.node_pool == seen.name:
                placed = sum(node.replicas.get((draft.pool.key, variant.key), 0) for node in kept)
                free -= variant.gpus_per_replica * (counts[draft.pool.key][variant.key] - placed)
    return max(0, free)
