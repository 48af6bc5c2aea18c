"""What users ask for: pools, roles, variants, objectives and node pools, translated from the resources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from forebay.flow.performance import Performance, ProfilePoints
from forebay.flow.settings import PolicySettings


class Role(StrEnum):
    """The phase of inference that a group of replicas serves."""

    PREFILL = "prefill"
    DECODE = "decode"
    SERVE = "serve"
    """Prefill and decode on the same replica."""


class VariantKey(NamedTuple):
    """A variant within its pool. Names are unique per role: ``h100`` may stand in prefill and in decode."""

    role: Role
    name: str

    def __str__(self) -> str:
        return self.name if self.role is Role.SERVE else f"{self.role.value}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfVariant:
    """Base of what is said of one variant: its role, and its name as the user wrote it."""

    name: str
    role: Role
    key: VariantKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", VariantKey(self.role, self.name))


@dataclass(frozen=True, slots=True, order=True)
class PoolKey:
    """Namespace and name of an InferencePool."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Latency objectives: ``target`` of all requests meet both TTFT and mean ITL (``target`` .99 = 99 %)."""

    ttft_seconds: float
    itl_seconds: float
    target: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(OfVariant):
    """One way to serve a role: a scalable workload on one GPU type."""

    node_pool: str | None = None
    gpus_per_replica: int = 1
    min_replicas: int = 1
    max_replicas: int = 1
    usd_per_replica_hour: float | None = None
    """Price of one replica; ``None`` when no price is known, then every GPU costs the same."""
    watts_per_replica: float | None = None
    performance: Performance | ProfilePoints | None = None
    """``None``: learned from telemetry."""
    start_up_seconds: float | None = None
    """Declared start-up of a pod on a warm node; ``None``: measured, seeded with a prior."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioBand:
    """Allowed prefill replicas per decode replica, both ends included."""

    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One served model: its objectives and the variants of its roles."""

    key: PoolKey
    slo: Slo
    variants: tuple[Variant, ...]
    prefill_to_decode: RatioBand | None = None
    priority: int = 0
    """Larger is served first when GPUs run out."""
    budget_usd_per_hour: float | None = None
    acts: bool = True
    """Whether what is decided is written. A pool that does not act (recommend only, paused) keeps what it has:
    the plan for the others counts on that, and its own answer is advice."""
    settings: PolicySettings = field(default_factory=PolicySettings)
    roles: tuple[Role, ...] = field(init=False, repr=False, compare=False)
    """In the order of first appearance."""
    _by_role: Mapping[Role, tuple[Variant, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        roles = tuple(dict.fromkeys(variant.role for variant in self.variants))
        by_role = {role: tuple(variant for variant in self.variants if variant.role is role) for role in roles}
        # Asked for dozens of times per round.
        object.__setattr__(self, "roles", roles)
        object.__setattr__(self, "_by_role", by_role)

    def of_role(self, role: Role) -> tuple[Variant, ...]:
        """Return the variants that serve ``role``, in the order of the resource."""
        return self._by_role.get(role, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePool:
    """One kind of GPU node, shared by the variants that name it."""

    name: str
    accelerator: str
    gpus_per_node: int
    usd_per_gpu_hour: float | None = None
    spot: bool = False
    min_nodes: int = 0
    max_nodes: int | None = None
    """``None``: no limit known."""
    watts_per_gpu: float | None = None
    billed_per_gpu: bool = False
    """Only GPUs that pods hold cost; otherwise a node costs while it exists."""
    minimum_billing_seconds: float = 0.0
    """Giving a node back earlier after its launch saves nothing."""
    reserved_nodes: int = 0
    """Nodes that are paid for in any case: they cost nothing more to use."""
    warm_min: int = 0
    """Fewest free nodes to hold, so that a replica finds a node that is there."""
    warm_max: int = 0
    """Most free nodes to hold: between the two the plan decides."""

    def usd_per_hour(self, *, nodes: int, gpus_held: int) -> float | None:
        """Return what the bill says of so many nodes, launched ones included; ``None`` where no price is known."""
        if self.usd_per_gpu_hour is None:
            return None
        gpus = gpus_held if self.billed_per_gpu else nodes * self.gpus_per_node
        return self.usd_per_gpu_hour * max(gpus, self.reserved_nodes * self.gpus_per_node)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuQuota:
    """Most GPUs that some pools together may grow to."""

    source: str
    """Where it is written, for sentences."""
    gpus: int
    pools: frozenset[PoolKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything that is decided together in one round."""

    pools: Mapping[PoolKey, Pool]
    node_pools: Mapping[str, NodePool]
    budget_usd_per_hour: float | None = None
    power_limit_watts: float | None = None
    quotas: tuple[GpuQuota, ...] = ()
