"""Options of a simulation beyond the pool and its traffic. Every option is off by default."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import numpy as np

from forebay.flow.fleet import VariantKey

DEFAULT_START_UP_SECONDS = 120.0
"""Time from order to ready if none is given."""


class QueueOrder(StrEnum):
    """Who is served first when requests wait for their prefill."""

    FIFO = "fifo"
    LATE_LAST = "late-last"
    """A request that can no longer meet its TTFT is served when no in-time request waits. One that could never
    meet it keeps its place."""


@dataclass(frozen=True, slots=True)
class StartUpPhase:
    """A part of a start-up: lognormal around its median, or fixed when ``sigma`` is 0."""

    name: str
    median_seconds: float
    sigma: float = 0.0
    """Standard deviation of the logarithm."""


@dataclass(frozen=True, slots=True)
class StartUp:
    """The time until a pod serves, or until pods can start on a node."""

    phases: tuple[StartUpPhase, ...]

    @classmethod
    def fixed(cls, seconds: float) -> Self:
        """Return a start-up that always takes ``seconds``."""
        return cls((StartUpPhase("start", seconds),))

    @property
    def expected_seconds(self) -> float:
        """Return the mean."""
        return sum(phase.median_seconds * math.exp(phase.sigma**2 / 2) for phase in self.phases)

    def draw_seconds(self, chance: np.random.Generator) -> float:
        """Return one start-up time."""
        return sum(
            phase.median_seconds * (math.exp(phase.sigma * chance.standard_normal()) if phase.sigma > 0 else 1.0)
            for phase in self.phases
        )

    def quantile_seconds(self, share: float) -> float:
        """Return a quantile, from a fixed sample where phases vary."""
        if all(phase.sigma == 0 for phase in self.phases):
            return self.expected_seconds
        chance = np.random.default_rng(0)
        return float(np.quantile([self.draw_seconds(chance) for _ in range(2000)], share))


@dataclass(frozen=True, slots=True, kw_only=True)
class StockOut:
    """A time in which a node pool gets no further nodes; replicas that need one wait until it ends."""

    node_pool: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOptions:
    """Rules of a run. The defaults are the plain model: first come, first served, nothing fails."""

    seed: int = 0
    queue_order: QueueOrder = QueueOrder.FIFO
    prefix_cache: bool = False
    """Subtract the trace's ``cached_tokens`` from the prefill work."""
    reserve_kv: bool = False
    """Admit to decode only where the KV cache holds all admitted sequences at full length."""
    preemption: bool = False
    """When a KV cache is full, evict the sequence that began last and compute it again later."""
    prefill_chunk_tokens: int | None = None
    """Serve role: mix prefills with decoding in chunks of so many tokens; ``None``: a prefill stops decoding."""
    queue_timeout_seconds: float | None = None
    """A client gives up if its prefill has not started by then."""
    retries: int = 0
    """Times that a client tries again after a time-out."""
    retry_backoff_seconds: float = 1.0
    mean_seconds_between_failures: float | None = None
    """Mean life of one ready replica (exponential); its requests start again and a new replica is ordered."""
    grace_seconds: float | None = None
    """Grace period of a removed replica; its remaining requests then start again elsewhere. ``None``: no limit."""
    parks: bool = False
    """Replicas that Forebay's policy releases are parked, and end when the policy frees them."""
    routing_weights: Mapping[VariantKey, float] = field(default_factory=dict)
    """Weight by variant: scales its share of decode batches, and sets the order of idle prefill replicas."""
    slot_seconds: float = 5.0
    """Resolution of the arrivals that `SimulatedPool.observe` reports."""
    log_replicas: bool = False
    """Remember which replica served each request (for `SimulatedPool.take_finished`)."""

    def __post_init__(self) -> None:
        if self.retries > 0 and self.queue_timeout_seconds is None:
            raise ValueError("retries need queue_timeout_seconds: without a time-out nobody tries again")
        if self.queue_timeout_seconds is not None and self.queue_timeout_seconds <= 0:
            raise ValueError(f"queue_timeout_seconds must be positive, not {self.queue_timeout_seconds}")
        if self.retries > 200:
            raise ValueError(f"retries must be at most 200, not {self.retries}")
        if self.slot_seconds <= 0:
            raise ValueError(f"slot_seconds must be positive, not {self.slot_seconds}")
