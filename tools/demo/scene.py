"""What the demo plays: two GPU node pools, one model with prefill and decode, and a day of traffic in minutes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import devcluster
from devcluster import ColdStart, NodePool
from devcluster.rest import Json
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.traces import PRESETS, LoadOptions, TraceError, TrafficSpec, generate, load_trace
from runoperator.scenario import engine_deployment

NAMESPACE = "serving"
POOL = "chat"
PREFILL_NODES = NodePool(
    "l40s",
    accelerator="l40s",
    gpus_per_node=2,
    min_nodes=2,
    max_nodes=5,
    cold_start=ColdStart(node_ready_seconds=1, gpus_ready_seconds=2, image_pull_seconds=1, model_load_seconds=4),
)
DECODE_NODES = replace(PREFILL_NODES, name="h100", accelerator="h100")
ROLE_NODES = {"prefill": PREFILL_NODES, "decode": DECODE_NODES}
USD_PER_GPU_HOUR = {"l40s": "1.90", "h100": "2.99"}
TTFT_SECONDS = 1.5
ITL_SECONDS = 0.06
TARGET_PERCENT = 90
FIRST_REPLICAS = 3
MOST_REPLICAS = 10


@dataclass(frozen=True, slots=True)
class Pace:
    """What the resources say of time: it takes so long for a replica to start, and for a node to come."""

    start_up: str
    node_lead: tuple[str, str]
    """Median and 90th percentile."""
    policy: Mapping[str, object] | None = None
    """The spec of a ScalingPolicy, where the defaults are not made for this pace."""


COMPRESSED = Pace(
    "5s",
    ("4s", "5s"),
    {
        "guards": {"restart": "20s"},
        "forecast": {"rateWindow": "15s"},
        "errorBudget": {"window": "10m"},
        "stabilisation": {"actionCost": "5s"},
    },
)
"""A day in minutes."""
OWN_PACE = Pace("4m", ("2m", "3m"))
"""A day in a day, at the defaults of the policy."""

# The speed of one replica is scaled down, so that a laptop can simulate the engines of a whole fleet.
SPEED = {
    "prefill_base_seconds": 0.02,
    "prefill_seconds_per_token": 2.5e-4,
    "decode_base_seconds": 0.02,
    "decode_seconds_per_sequence": 1e-3,
    "decode_seconds_per_kv_token": 5e-8,
    "max_batch": 32,
    "kv_capacity_tokens": 100_000,
}
STEPS_PER_DAY = 144
"""The forecasters count in steps that stand for ten minutes of the day."""
DAYS_BEFORE = 6
"""Days of traffic that are in Prometheus before the curtain rises."""
BUSIEST_REQUESTS_PER_SECOND = 15.0
DAY_SECONDS = 86_400.0
START_HOUR = 4
WEEKDAY = "a generated weekday"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Traffic and its length; the trace's own clock runs ``speed`` times faster."""

    trace: RequestTrace
    original: RequestTrace
    """The traffic at its own pace."""
    seconds: float
    speed: float
    source: str
    outage: tuple[float, float] = field(default=(0.0, 0.0))
    """When Prometheus is away, in seconds from the start."""
    history: FloatArray | None = None
    """Requests per forecast step of the days before, oldest first; ``None``: nothing was recorded."""

    @property
    def step_seconds(self) -> int:
        """Return the forecast step: what stands for ten minutes of the day."""
        return round(self.seconds / STEPS_PER_DAY)


def scene(*, seconds: float, trace_file: Path | None, seed: int = 7) -> Scene:
    """Return the traffic to play: a generated weekday, or a recorded trace, compressed into ``seconds``.

    The rate is scaled so that the busiest ten seconds need about ten replicas per role; lengths stay as they are.

    Raises:
        TraceError: the file cannot be used.
    """
    if trace_file is None:
        source, original = WEEKDAY, weekday(seed)
    else:
        source, original = trace_file.name, load_trace(trace_file, LoadOptions(seed=seed, history_seconds=0.0))
    if original.span_seconds < seconds:
        raise TraceError(
            f"{source}: covers {original.span_seconds:.0f} s, and {seconds:.0f} s are played; give a longer trace"
        )
    speed = original.span_seconds / seconds
    faster = _faster(original, speed)
    factor = _factor(faster, BUSIEST_REQUESTS_PER_SECOND)
    trace = _scaled(faster, factor, seed)
    return Scene(
        trace=trace,
        original=original,
        seconds=seconds,
        speed=speed,
        source=source,
        outage=(round(0.48 * seconds), round(0.48 * seconds) + 20.0),
        history=_history(original, factor, seed),
    )


def weekday(seed: int) -> RequestTrace:
    """Return a day from the small hours on: quiet, a morning that trebles, a busy noon, a long quiet night."""
    return generate(_weekday(), seed)


def _weekday() -> TrafficSpec:
    return replace(
        PRESETS["chat"],
        duration_seconds=DAY_SECONDS,
        requests_per_second=1.0,
        start_of_day_seconds=START_HOUR * 3600.0,
        daily_amplitude=0.75,
        daily_peak_hour=12.0,
        half_daily_amplitude=0.0,
        dispersion=1.0,
        history_seconds=DAYS_BEFORE * DAY_SECONDS,
    )


def _history(original: RequestTrace, factor: float, seed: int) -> FloatArray | None:
    """Return the counts of the days before, thinned like the day that is played."""
    minutes = original.history_requests_per_minute
    if minutes is None:
        return None
    per_step = round(DAY_SECONDS / STEPS_PER_DAY / 60.0)
    whole = minutes[len(minutes) % per_step :].reshape(-1, per_step).sum(axis=1)
    return np.asarray(np.random.default_rng(seed).poisson(factor * whole), dtype=np.float64)


def _faster(trace: RequestTrace, speed: float) -> RequestTrace:
    """Let the trace's clock run faster; the rate rises with it, and `_scaled` thins it again."""
    return replace(trace, arrival_seconds=trace.arrival_seconds / speed, history_requests_per_minute=None)


def _factor(trace: RequestTrace, requests_per_second: float) -> float:
    """Return by how much to thin the trace so that its busiest ten seconds have that rate."""
    busiest = np.bincount((trace.arrival_seconds // 10.0).astype(np.int64)).max() / 10.0
    return float(requests_per_second / busiest)


def _scaled(trace: RequestTrace, factor: float, seed: int) -> RequestTrace:
    """Thin the trace at random, or repeat requests."""
    chance = np.random.default_rng(seed)
    copies = np.floor(factor + chance.random(len(trace))).astype(np.int64)
    chosen = np.repeat(np.arange(len(trace)), copies)
    arrival = np.sort(trace.arrival_seconds[chosen] + chance.uniform(0.0, 0.2, len(chosen)))
    return RequestTrace(
        name=trace.name,
        arrival_seconds=arrival,
        input_tokens=trace.input_tokens[chosen],
        output_tokens=np.minimum(trace.output_tokens[chosen], 400),
    )


def workloads() -> list[Json]:
    """Return the namespace and the two Deployments."""
    namespace: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    return [
        namespace,
        engine_deployment(f"{POOL}-prefill", PREFILL_NODES, namespace=NAMESPACE, replicas=FIRST_REPLICAS),
        engine_deployment(f"{POOL}-decode", DECODE_NODES, namespace=NAMESPACE, replicas=FIRST_REPLICAS),
    ]


def resources(pace: Pace = COMPRESSED) -> list[Json]:
    """Return the custom resources: node pools with prices, a profile, a policy, the pool in Auto."""
    nodes = [_node_pool(PREFILL_NODES, pace), _node_pool(DECODE_NODES, pace)]
    profiles = [_profile(PREFILL_NODES), _profile(DECODE_NODES)]
    policies = [] if pace.policy is None else [_policy(pace.policy)]
    return [*nodes, *profiles, *policies, _pool(pace)]


def _node_pool(pool: NodePool, pace: Pace) -> Json:
    p50, p90 = pace.node_lead
    return {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "GPUNodePool",
        "metadata": {"name": pool.name},
        "spec": {
            "accelerator": devcluster.gpu.ACCELERATORS[pool.accelerator].product,
            "gpusPerNode": pool.gpus_per_node,
            "pricePerGPUHour": USD_PER_GPU_HOUR[pool.name],
            "nodeSelector": {devcluster.POOL_LABEL: pool.name},
            "maxNodes": pool.max_nodes,
            "leadTimePrior": {"p50": p50, "p90": p90},
        },
    }


def _profile(pool: NodePool) -> Json:
    return {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "ServingProfile",
        "metadata": {"name": f"demo-{pool.name}"},
        "spec": {
            "model": "demo",
            "accelerator": devcluster.gpu.ACCELERATORS[pool.accelerator].product,
            "gpusPerReplica": 1,
            "source": "the speed of the demo's simulated engines",
            "maxBatch": SPEED["max_batch"],
            "kvCacheTokens": SPEED["kv_capacity_tokens"],
            "linear": {
                "prefillBase": "20ms",
                "prefillPerThousandTokens": "250ms",
                "decodeBase": "20ms",
                "decodePerSequence": "1ms",
                "decodePerThousandKVTokens": "50us",
            },
        },
    }


def _policy(spec: Mapping[str, object]) -> Json:
    return {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "demo", "namespace": NAMESPACE},
        "spec": dict(spec),
    }


def _pool(pace: Pace) -> Json:
    roles = {"prefill": PREFILL_NODES, "decode": DECODE_NODES}
    spec: Json = {
        "mode": "Auto",
        "slo": {
            "ttft": f"{round(TTFT_SECONDS * 1000)}ms",
            "itl": f"{round(ITL_SECONDS * 1000)}ms",
            "percentile": TARGET_PERCENT,
        },
        "telemetry": {"engine": "vllm"},
        "roles": {name: _role(name, nodes, pace) for name, nodes in roles.items()},
    }
    if pace.policy is not None:
        spec["policyRef"] = {"name": "demo"}
    return {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": POOL, "namespace": NAMESPACE},
        "spec": spec,
    }


def _role(name: str, nodes: NodePool, pace: Pace) -> Json:
    return {
        "variants": [
            {
                "name": nodes.name,
                "target": {"kind": "Deployment", "name": f"{POOL}-{name}"},
                "nodePool": nodes.name,
                "profileRef": {"name": f"demo-{nodes.name}"},
                "maxReplicas": MOST_REPLICAS,
                "startUp": pace.start_up,
            }
        ]
    }


def simulated_engines() -> dict[str, object]:
    """Return the configuration of the simulated engines."""
    return {
        "name": POOL,
        "namespace": NAMESPACE,
        "slo": {"ttft_seconds": TTFT_SECONDS, "itl_seconds": ITL_SECONDS, "target": TARGET_PERCENT / 100},
        "workloads": [
            {"name": f"{POOL}-prefill", "role": "prefill", "speed": SPEED},
            {"name": f"{POOL}-decode", "role": "decode", "speed": SPEED},
        ],
    }


def clock_of_day(one: Scene, seconds: float) -> str:
    """Return the time of day that the traffic is at, as hours and minutes."""
    minutes = math.floor(seconds * one.speed / 60.0 + 1e-6)
    start = START_HOUR * 60 if one.source == WEEKDAY else 0
    return f"{(start + minutes) // 60 % 24:02}:{(start + minutes) % 60:02}"
