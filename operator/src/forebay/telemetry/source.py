"""The port through which the loop observes traffic and engines, and the values that cross it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from forebay.flow.fleet import PoolKey, Role, Slo, VariantKey
from forebay.flow.observation import EngineSample, Freshness, Traffic
from forebay.flow.trace import FloatArray

PodName = tuple[str, str]
"""Namespace and name of a pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadTarget:
    """The workload behind one variant: whose pods to look for in the telemetry."""

    variant: VariantKey
    role: Role
    name: str
    """Name of the object that owns the pods (Deployment, StatefulSet, LeaderWorkerSet, ...)."""
    kind: str = "Deployment"
    ready_replicas: int | None = None
    """Ready replicas as Kubernetes counts them; with it, replicas that do not report are noticed."""
    most_replicas: int | None = None
    """Replicas that exist in any state; with it, numbers of more replicas than there are get noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTarget:
    """Where arrivals are counted before an engine sees them."""

    dialect: str
    labels: Mapping[str, str]
    """Labels that select this pool's series, such as ``{"model_name": "llama-3-70b"}``; at least one."""
    metric_prefix: str = ""
    """What a scrape configuration puts before the names of the dialect's metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTarget:
    """One pool, as the telemetry needs to know it."""

    key: PoolKey
    slo: Slo
    engine: str
    """Name of an engine dialect (``vllm``, ``sglang``, ...)."""
    metric_prefix: str = ""
    """What a scrape configuration puts before the names of the dialect's metrics, such as ``kserve_``."""
    workloads: tuple[WorkloadTarget, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Further labels that the engines' series must carry, such as ``{"model_name": "llama-3-70b"}``."""
    gateway: GatewayTarget | None = None
    forecast_query: str | None = None
    """PromQL expression of expected requests per second (a scalar or one series); ``None``: no such forecast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalRate:
    """What somebody else expects, read as data: requests per second, and how old that figure is."""

    requests_per_second: float
    sample_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTelemetry:
    """What the source knows of one pool in one round. ``None`` means unknown, never zero."""

    at_seconds: float
    """Evaluation time of the queries; a little before the time of the round."""
    traffic: Traffic | None = None
    engines: Mapping[VariantKey, EngineSample] = field(default_factory=dict)
    """By variant; a variant that nothing reports for is absent."""
    waiting_prefill: float | None = None
    waiting_decode: float | None = None
    finished: float | None = None
    missed: float | None = None
    missed_ttft: float | None = None
    """Of ``missed``, requests that missed TTFT."""
    missed_range: tuple[float, float] | None = None
    ttft_seconds: float | None = None
    itl_seconds: float | None = None
    external_forecast: ExternalRate | None = None
    freshness: tuple[Freshness, ...] = ()
    """One entry per signal that was looked for, with its problem if it cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """Requests per minute of the past, oldest first; NaN where nothing is known."""

    start_seconds: float
    """Beginning of the first minute."""
    requests_per_minute: FloatArray
    freshness: Freshness
    step_seconds: float = 60.0
    """Length of a minute, which is shorter in a world whose time runs faster (`forebay run --forecast-step`)."""

    @property
    def end_seconds(self) -> float:
        """Return the end of the last minute."""
        return self.start_seconds + self.step_seconds * len(self.requests_per_minute)

    @property
    def known_minutes(self) -> int:
        """Return how many minutes have a count."""
        return int((self.requests_per_minute == self.requests_per_minute).sum())


class TelemetrySource(Protocol):
    """Where telemetry comes from. Implementations never raise for a pool's or the server's fault."""

    async def observe(self, targets: Sequence[PoolTarget], at_seconds: float) -> Mapping[PoolKey, PoolTelemetry]:
        """Observe all pools at once; the answer has every key of ``targets``, in Unix seconds."""
        ...

    async def pod_requests(
        self, targets: Sequence[PoolTarget], pods: Collection[PodName], at_seconds: float
    ) -> Mapping[PodName, float]:
        """Return the requests that some pods of these pools hold now; a pod that does not report is absent."""
        ...

    async def look_up(self) -> bool:
        """Do, between two rounds, a piece of what `observe` need not do itself; whether there is more."""
        ...

    async def history(
        self, targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float
    ) -> Mapping[PoolKey, History]:
        """Return requests per minute of each pool from ``since_seconds`` to ``at_seconds``."""
        ...

    async def close(self) -> None:
        """Release connections and threads."""
        ...
