"""The problem that planning solves for the fleet, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.flow.fleet import OfVariant, PoolKey, RatioBand, Role, VariantKey
from forebay.flow.sizing import RoleNeed


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantOption(OfVariant):
    """One variant as the plan sees it."""

    node_pool: str | None
    gpus_per_replica: int
    usd_per_replica_hour: float
    watts_per_replica: float
    speed: float
    """Capacity in reference replicas of its role."""
    min_replicas: int
    max_replicas: int
    current: int
    """Ready and starting (those within their deadline)."""
    lead_time_seconds: float
    blocked: bool = False
    """Cannot grow now (node pool out of stock, target missing, conflict)."""
    frozen: bool = False
    """Must keep its current count (paused, telemetry lost)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNeed:
    """What one pool asks of the plan."""

    key: PoolKey
    roles: tuple[RoleNeed, ...]
    options: tuple[VariantOption, ...]
    priority: int = 0
    prefill_to_decode: RatioBand | None = None
    budget_usd_per_hour: float | None = None
    may_release: bool = True
    steady: frozenset[Role] = frozenset()
    """Roles that may be moved to cheaper replicas: nothing of them is held, queued for or starting."""
    spare_replicas: int = 0
    """Replicas per role that may fail without loss (N+1 is 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """Nodes of one node pool that the plan need not distinguish."""

    names: tuple[str, ...]
    """In the order in which they are kept: the last are emptied first."""
    free_gpus: int
    """GPUs that no pod holds, on each of them."""
    replicas: Mapping[tuple[PoolKey, VariantKey], int] = field(default_factory=dict)
    """Replicas of the planned pools on each of them."""
    stays: bool = False
    """They cannot be emptied: pods of others run on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSupply:
    """The nodes of one node pool that is billed by the node."""

    gpus_per_node: int
    usd_per_node_hour: float
    groups: tuple[NodeGroup, ...] = ()
    """Nodes that are there or launched; all of them are paid for while they stay."""
    obtainable: int | None = None
    """Most nodes that can be opened; ``None``: no limit known."""
    paid_nodes: int = 0
    """Nodes that are paid for in any case: reserved ones, and the fewest that the node pool may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """The nodes of one node pool that the planned replicas need."""

    kept: int
    opened: int
    emptied: tuple[str, ...]
    """Nodes whose replicas go, so that they can be given back."""
    usd_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanProblem:
    """All pools with the limits that they share."""

    pools: tuple[PoolNeed, ...]
    gpu_stock: Mapping[str, int] = field(default_factory=dict)
    """GPUs per node pool that the plan may use in all (held by these pools, free, and still obtainable); a node
    pool that is not named has no limit."""
    budget_usd_per_hour: float | None = None
    power_limit_watts: float | None = None
    nodes: Mapping[str, NodeSupply] = field(default_factory=dict)
    """Node pools that are billed by the node and whose nodes are known; the others are planned per GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where requests of one role and a range of prompt lengths should go."""

    role: Role
    upper_tokens: float
    """The longest prompt, in tokens; the shortest is beyond the route of the same role before this one."""
    weights: Mapping[VariantKey, float]
    """Share of these requests per variant; sums to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """Replicas per pool and variant, checked for feasibility."""

    replicas: Mapping[PoolKey, Mapping[VariantKey, int]]
    usd_per_hour: float
    limited_by: Mapping[PoolKey, tuple[str, ...]] = field(default_factory=dict)
    """Limits (stock, budget, power, maxReplicas, ratio) that kept a pool from what it would buy, in words."""
    moves: Mapping[PoolKey, tuple[str, ...]] = field(default_factory=dict)
    """What is bought to replace more expensive replicas, and what that saves, in words."""
    shadow_prices: tuple[str, ...] = ()
    solver: str = ""
    gap: float = 0.0
    routing: Mapping[PoolKey, Mapping[VariantKey, float]] = field(default_factory=dict)
    """Weight of each variant for new requests of its role; sums to 1 per pool and role."""
    routes: Mapping[PoolKey, tuple[Route, ...]] = field(default_factory=dict)
    """The same per prompt length, where lengths make a difference and the pool routes by them."""
    nodes: Mapping[str, NodePlan] = field(default_factory=dict)
    """Of each node pool that was planned in nodes."""
