"""One look at everything, once a second: traffic, replicas, latencies, what the operator thinks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import devcluster
from demo.scene import NAMESPACE, POOL, ROLE_NODES
from devcluster import POOL_LABEL
from devcluster.rest import Json, mapping, sequence
from enginesim.simulator import Simulator
from runoperator import RunningOperator

ROLES = tuple(ROLE_NODES)
DEMAND_SECONDS = 8.0
"""Over which the demand is counted: a minute is a third of the day here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSample:
    """Replicas and queue of one role."""

    ready: int
    desired: int
    queue: int
    nodes: int = 0
    """Of the node pool that it runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state of the demo at one moment; ``None`` is "not known"."""

    seconds: float
    demand: float | None
    """Requests per second that arrived during the last `DEMAND_SECONDS`."""
    arrived: int
    forecast_q90: float | None
    """What demand will reach at most in nine of ten cases ``lead_seconds`` ahead."""
    lead_seconds: float | None
    ttft_seconds: float | None
    """The objective's percentile over the last minute; so is ITL."""
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
    earlier: Sequence[Sample],
) -> Sample:
    """Collect one sample after the ``earlier`` ones; what does not answer is ``None``."""
    rest = cluster.rest()
    pool = rest.get(f"/apis/forebay.io/v1alpha1/namespaces/{NAMESPACE}/inferencepools/{POOL}")
    status = mapping(pool, "status")
    engines = _engines(simulator)
    decision = _decision(operator)
    q90, lead_seconds = _forecast(decision)
    arrived = int(_number(engines.get("arrived")) or 0)
    deployments = rest.items(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
    nodes = Counter(
        str(mapping(node, "metadata", "labels").get(POOL_LABEL)) for node in rest.items("/api/v1/nodes")
    )
    return Sample(
        seconds=seconds,
        demand=_demand(seconds, arrived, earlier),
        arrived=arrived,
        forecast_q90=q90,
        lead_seconds=lead_seconds,
        ttft_seconds=_number(engines.get("ttft_seconds")),
        itl_seconds=_number(engines.get("itl_seconds")),
        attainment=_number(engines.get("slo_attainment")),
        attainment_last_minute=_number(engines.get("slo_attainment_last_minute")),
        usd_per_hour=_number(decision.get("usd_per_hour")),
        roles={role: _role(role, deployments, engines, nodes) for role in ROLES},
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


def _demand(seconds: float, arrived: int, earlier: Sequence[Sample]) -> float | None:
    """Return the rate of arrivals since the newest sample that is `DEMAND_SECONDS` old, or since the first."""
    since = next((s for s in reversed(earlier) if seconds - s.seconds >= DEMAND_SECONDS), None) or next(
        iter(earlier), None
    )
    return (
        None
        if since is None or since.seconds >= seconds
        else (arrived - since.arrived) / (seconds - since.seconds)
    )


def _forecast(decision: Json) -> tuple[float | None, float | None]:
    """Return the 90th percentile of demand at the lead time, and that, of the role that expects most."""
    forecasts = mapping(decision, "forecasts")
    found = [
        (q90, _number(mapping(forecasts, role).get("lead_time_seconds")))
        for role in forecasts
        if (q90 := _number(mapping(forecasts, role, "at_horizon").get("q90"))) is not None
    ]
    return max(found, key=lambda one: one[0], default=(None, None))


def _role(role: str, deployments: list[Json], engines: Json, nodes: Counter[str]) -> RoleSample:
    mine = next((d for d in deployments if mapping(d, "metadata").get("name") == f"{POOL}-{role}"), {})
    simulated = mapping(mapping(engines, "roles"), role)
    return RoleSample(
        ready=int(_number(mapping(mine, "status").get("readyReplicas")) or 0),
        desired=int(_number(mapping(mine, "spec").get("replicas")) or 0),
        queue=int(_number(simulated.get("queue")) or 0),
        nodes=nodes[ROLE_NODES[role].name],
    )


def _why_false(status: Json, kind: str) -> str:
    for condition in sequence(status, "conditions"):
        if condition.get("type") == kind and condition.get("status") != "True":
            return str(condition.get("reason"))
    return ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
