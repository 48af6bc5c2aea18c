"""One look at everything, once a second: traffic, replicas, latencies, what the operator thinks."""

from dataclasses import dataclass

import devcluster
from demo.scene import NAMESPACE, POOL
from devcluster.rest import Json, mapping, sequence
from enginesim.simulator import Simulator
from runoperator import RunningOperator

ROLES = ("prefill", "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSample:
    """Replicas and queue of one role."""

    ready: int
    desired: int
    queue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state of the demo at one moment; ``None`` is "not known"."""

    seconds: float
    demand: float | None
    """Requests per second of the last minute."""
    arrived: int
    forecast_q90: float | None
    ttft_seconds: float | None
    itl_seconds: float | None
    attainment: float | None
    attainment_last_minute: float | None
    usd_per_hour: float | None
    roles: dict[str, RoleSample]
    prometheus_up: bool
    blind: str
    """Why telemetry cannot be used (reason of MetricsFresh=False), empty while it can."""
    why: str


def look(
    cluster: devcluster.Cluster,
    simulator: Simulator,
    operator: RunningOperator,
    *,
    seconds: float,
    prometheus_up: bool,
) -> Sample:
    """Collect one sample; what does not answer is ``None``."""
    rest = cluster.rest()
    pool = rest.get(f"/apis/forebay.io/v1alpha1/namespaces/{NAMESPACE}/inferencepools/{POOL}")
    status = mapping(pool, "status")
    engines = _engines(simulator)
    decision = _decision(operator)
    deployments = rest.items(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
    return Sample(
        seconds=seconds,
        demand=_number(engines.get("demand_requests_per_second")),
        arrived=int(_number(engines.get("arrived")) or 0),
        forecast_q90=_forecast(decision),
        ttft_seconds=_number(engines.get("ttft_seconds")),
        itl_seconds=_number(engines.get("itl_seconds")),
        attainment=_number(engines.get("slo_attainment")),
        attainment_last_minute=_number(engines.get("slo_attainment_last_minute")),
        usd_per_hour=_number(decision.get("usd_per_hour")),
        roles={role: _role(role, deployments, engines) for role in ROLES},
        prometheus_up=prometheus_up,
        blind=_why_false(status, "MetricsFresh"),
        why=str(status.get("message", "")),
    )


def _engines(simulator: Simulator) -> Json:
    return sequence(simulator.status(), "pools")[0]


def _decision(operator: RunningOperator) -> Json:
    try:
        return mapping(operator.decision(NAMESPACE, POOL), "decision")
    except OSError:
        return {}


def _forecast(decision: Json) -> float | None:
    """Return the 90th percentile of demand at the lead time, of the role that looks farthest ahead."""
    forecasts = mapping(decision, "forecasts")
    found = [mapping(forecasts, role, "at_horizon").get("q90") for role in forecasts]
    numbers = [number for one in found if (number := _number(one)) is not None]
    return max(numbers, default=None)


def _role(role: str, deployments: list[Json], engines: Json) -> RoleSample:
    mine = next((d for d in deployments if mapping(d, "metadata").get("name") == f"{POOL}-{role}"), {})
    simulated = mapping(mapping(engines, "roles"), role)
    return RoleSample(
        ready=int(_number(mapping(mine, "status").get("readyReplicas")) or 0),
        desired=int(_number(mapping(mine, "spec").get("replicas")) or 0),
        queue=int(_number(simulated.get("queue")) or 0),
    )


def _why_false(status: Json, kind: str) -> str:
    for condition in sequence(status, "conditions"):
        if condition.get("type") == kind and condition.get("status") != "True":
            return str(condition.get("reason"))
    return ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
