"""Pools as the telemetry tests ask about them, and what the answers say."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from forebay.flow.fleet import PoolKey, Role, Slo
from forebay.flow.observation import Freshness, Traffic
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import PoolTarget, PoolTelemetry, WorkloadTarget
from tests.cluster.telemetry_world import Server
from tests.keys import serve

DEFAULT = serve("default")

SLO = Slo(ttft_seconds=1.0, itl_seconds=0.05)


def target(namespace: str, name: str, *, ready: int | None = None, kind: str = "Deployment") -> PoolTarget:
    workload = WorkloadTarget(variant=DEFAULT, role=Role.SERVE, name=name, kind=kind, ready_replicas=ready)
    return PoolTarget(key=PoolKey(namespace, name), slo=SLO, engine="vllm", workloads=(workload,))


def signal(telemetry: PoolTelemetry, name: str) -> Freshness:
    return next(each for each in telemetry.freshness if each.signal == name)


async def observe(
    server: Server, targets: list[PoolTarget], times: Iterable[float], **settings: float
) -> list[Mapping[PoolKey, PoolTelemetry]]:
    source = PrometheusTelemetry(PrometheusSettings(url=server.url, **settings))  # type: ignore[arg-type]
    try:
        return [await source.observe(targets, at) for at in times]
    finally:
        await source.close()


def rounds(start: float, end: float, *, jitter: float = 0.9) -> list[float]:
    """Return the times of rounds that keep their pace as well as a busy process does."""
    generator = np.random.default_rng(5)
    return [at + generator.uniform(-jitter, jitter) for at in np.arange(start, end, 15.0)]


def traffic_of(seen: list[Mapping[PoolKey, PoolTelemetry]], pool: PoolTarget) -> list[Traffic]:
    return [traffic for each in seen if (traffic := each[pool.key].traffic) is not None]


def counted(seen: list[Mapping[PoolKey, PoolTelemetry]], pool: PoolTarget) -> float:
    return math.fsum(traffic.arrivals for traffic in traffic_of(seen, pool))
