"""The operator's real loop over the small cluster, and traffic that its telemetry tells of."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from forebay.actuation.kube import JsonObject
from forebay.actuation.scale import ScaleWriter
from forebay.actuation.targets import TargetDirectory
from forebay.actuation.victims import VictimMarks
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.observation import Freshness, Problem, Traffic
from forebay.runtime.capacity import Capacity
from forebay.runtime.cluster.references import GatewayPools
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.targetreader import TargetReader
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.events import EventRecorder
from forebay.runtime.report.reporter import Reporter
from forebay.runtime.report.status import StatusWriter
from forebay.runtime.rounds import ControlLoop, Steps
from forebay.runtime.scalein import ScaleIns
from forebay.runtime.statefiles import StateFiles
from forebay.runtime.warmup import WarmUp
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from forebay.telemetry.source import PodName, PoolTarget, PoolTelemetry, TelemetrySource
from tests.faults.bodies import NAMESPACE
from tests.faults.cluster import POOL, STATUS, Cluster
from tests.faults.workloads import Workload
from tests.unit.pipeline.fleets import INPUT, PERFORMANCE, engine, variant
from tests.unit.runtime.conftest import Clock

KEY = PoolKey(NAMESPACE, POOL)
ROUND_SECONDS = 15.0
CAPACITY = 11.9
"""Requests per second that one replica serves."""


_FURTHEST_AHEAD_SECONDS = 60.0
"""An operator whose clock is farther ahead asks Prometheus for times of which nothing is known."""


@dataclass
class Load:
    """Requests per second, what waits, and what is wrong with the metrics."""

    rate: float = 20.0
    queue: float = 0.0
    wrong: Problem | None = None
    """Why arrivals are not known."""
    clock_offset: float = 0.0
    """How far the operator's clock is ahead."""
    out: dict[str, int] = field(default_factory=dict)
    """Engines of each workload that hold requests and do not move."""

    @property
    def blind(self) -> bool:
        """Whether the operator can know the arrivals."""
        return self.wrong is not None or self.clock_offset > _FURTHEST_AHEAD_SECONDS


@dataclass
class WallClock:
    """The operator's clock, which somebody sets."""

    clock: Clock
    load: Load

    def __call__(self) -> float:
        """Return its time."""
        return self.clock() + self.load.clock_offset


@dataclass
class Telemetry:
    """Tells what the engines did, exactly, or nothing."""

    load: Load
    cluster: Cluster
    rng: np.random.Generator

    async def observe(self, targets: Sequence[PoolTarget], at_seconds: float) -> Mapping[PoolKey, PoolTelemetry]:
        """Return the round's traffic, or that nothing answers."""
        return {target.key: self._of(target, at_seconds) for target in targets}

    async def pod_requests(
        self, targets: Sequence[PoolTarget], pods: Collection[PodName], at_seconds: float
    ) -> Mapping[PodName, float]:
        """Know of no pod what it holds."""
        return {}

    async def look_up(self) -> bool:
        """Have nothing to look up."""
        return False

    async def history(self, targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float) -> Any:
        """Have no history."""
        raise AssertionError("no history was asked for")

    async def close(self) -> None:
        """Nothing to close."""

    def working(self, name: str) -> int:
        """Return the Ready replicas of a workload whose engines answer."""
        return max(0, self.cluster.workloads[name].ready() - self.load.out.get(name, 0))

    def _of(self, target: PoolTarget, now: float) -> PoolTelemetry:
        if self.load.blind:
            lost = Freshness(signal="arrivals", problem=self.load.wrong or Problem.STALE)
            return PoolTelemetry(at_seconds=now, freshness=(lost,))
        slots = self.rng.poisson(self.load.rate * 5.0, 3)
        arrived = float(slots.sum())
        working = {name: self.working(name) for name in self.cluster.workloads}
        total = sum(working.values())
        served = min(self.load.rate, total * CAPACITY)
        late = self.load.queue > 0.0
        engines = {}
        for workload in target.workloads:
            count, out = working[workload.name], self.load.out.get(workload.name, 0)
            reporting = self.cluster.workloads[workload.name].ready()
            if reporting:
                share = served * count / total if total else 0.0
                sample = engine(variant(Role.SERVE, workload.name), share, count)
                engines[workload.variant] = replace(
                    sample, reporting_replicas=reporting, stuck_engines=min(out, reporting)
                )
        return PoolTelemetry(
            at_seconds=now,
            traffic=Traffic(
                start_seconds=now - ROUND_SECONDS,
                end_seconds=now,
                arrivals=arrived,
                slot_counts=tuple(float(count) for count in slots),
                input_tokens=arrived * INPUT,
                cached_input_tokens=0.0,
            ),
            engines=engines,
            waiting_prefill=self.load.queue,
            waiting_decode=0.0,
            finished=served * ROUND_SECONDS,
            missed=served * ROUND_SECONDS if late else 0.0,
            missed_ttft=served * ROUND_SECONDS if late else 0.0,
            freshness=tuple(
                Freshness(signal=f"engine/serve/{name}/stuck", problem=Problem.STUCK)
                for name, count in self.load.out.items()
                if count
            ),
        )


@dataclass
class Plant:
    """Everything that a walk acts on."""

    clock: Clock
    seed: int
    least: int = 1
    most: int = 12
    types: tuple[str, ...] = ("a", "b")
    kinds: tuple[str, ...] = ("Deployment", "Deployment")
    contrary: bool = False
    """Whether the first workload's controller removes what serves first."""
    files: StateFiles | None = None
    load: Load = field(default_factory=Load)

    def __post_init__(self) -> None:
        """Set up nodes, Deployments and the pool, and start an operator."""
        self.store = Store()
        self.cluster = Cluster(self.store, self.clock)
        self.rng = np.random.default_rng(self.seed)
        for number, name in enumerate(self.types):
            for _ in range(3):
                self.cluster.add_node(name)
            self.cluster.workloads[name] = Workload(
                name,
                name,
                replicas=3 if number == 0 else 0,
                kind=self.kinds[number],
                contrary=self.contrary and number == 0,
            )
            self.store.apply(Kind.NODE_POOLS, _node_pool(name, 3.0 + number))
        self.cluster.settle()
        self.wall = WallClock(self.clock, self.load)
        self.pool = _pool(self.types, self.kinds, self.least, self.most)
        for name in self.types:
            self.store.apply(Kind.PROFILES, _profile(name))
        self.store.apply(Kind.POOLS, self.pool)
        self.cluster.objects[STATUS] = self.pool
        self.start()

    def start(self, source: TelemetrySource | None = None) -> None:
        """Start a new operator on the caches as they are; ``source`` replaces the telemetry."""
        metrics, directory = Metrics(), TargetDirectory(self.cluster)
        writer = ScaleWriter(self.cluster, directory, self.clock)
        events = EventRecorder(self.cluster, metrics, instance="me", clock=self.clock, wall_clock=self.wall)
        status = StatusWriter(self.cluster, self.store, metrics, drift_seconds=60.0, clock=self.clock)
        self.telemetry = Telemetry(self.load, self.cluster, self.rng)
        telemetry: TelemetrySource = source or self.telemetry
        self.loop = ControlLoop(
            Steps(
                keeper=RosterKeeper(self.store),
                gateway_pools=GatewayPools(api=self.cluster, resync_seconds=300.0, clock=self.clock),
                target_reader=TargetReader(self.cluster, directory, writer),
                world=ClusterView(self.store, shortest_deadline_seconds=300.0),
                source=telemetry,
                warm_up=WarmUp(telemetry, self.files, history_seconds=0.0, wall_clock=self.wall),
                writer=writer,
                scale_ins=ScaleIns(VictimMarks(self.cluster), telemetry),
                capacity=Capacity(self.cluster),
                reporter=Reporter(status, events, metrics),
                metrics=metrics,
                files=self.files,
                wall_clock=self.wall,
            ),
            interval_seconds=ROUND_SECONDS,
            telemetry_patience_seconds=5.0,
        )

    async def restart(self) -> None:
        """End the operator and start another one."""
        await self.loop.close()
        self.start()

    def pass_time(self) -> None:
        """Let one round's time pass in the cluster."""
        for _ in range(3):
            self.clock.now += ROUND_SECONDS / 3
            self.cluster.settle()
            served = self.working() * CAPACITY
            self.load.queue = max(0.0, self.load.queue + (self.load.rate - served) * ROUND_SECONDS / 3)
            # Clients give up: a queue of more than two minutes does not grow.
            self.load.queue = min(self.load.queue, 120.0 * self.load.rate)

    async def decide(self) -> None:
        """Run the operator's round."""
        await self.loop.round()
        await self.loop.use_pause(asyncio.get_running_loop().time())

    async def step(self) -> None:
        """Let one round's time pass, then run the operator's round."""
        self.pass_time()
        await self.decide()

    def working(self) -> int:
        """Return the Ready replicas of all workloads whose engines answer."""
        return sum(self.telemetry.working(name) for name in self.cluster.workloads)

    def status(self) -> JsonObject:
        """Return the pool's status as the operator wrote it."""
        found: JsonObject = self.cluster.objects[STATUS].get("status") or {}
        return found


def _own(kind: str, name: str, spec: JsonObject, namespace: str | None = None) -> JsonObject:
    metadata: JsonObject = {"name": name, "uid": f"uid-{kind}-{name}", "generation": 1, "resourceVersion": "1"}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": "forebay.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _node_pool(name: str, dollars: float) -> JsonObject:
    spec = {
        "accelerator": f"type-{name}",
        "gpusPerNode": 4,
        "nodeSelector": {"pool": name},
        "maxNodes": 3,
        "pricePerGPUHour": f"{dollars:.2f}",
    }
    return _own("GPUNodePool", name, spec)


def _profile(name: str) -> JsonObject:
    linear = {
        "prefillBase": "10ms",
        "prefillPerThousandTokens": "40ms",
        "decodeBase": "8ms",
        "decodePerSequence": "0.06ms",
        "decodePerThousandKVTokens": "0.022ms",
    }
    assert PERFORMANCE.prefill_seconds(1000.0) - PERFORMANCE.prefill_seconds(0.0) == 0.040
    spec = {
        "model": "test/model",
        "accelerator": f"type-{name}",
        "linear": linear,
        "maxBatch": 256,
        "kvCacheTokens": 400_000,
        "source": "made up",
    }
    return _own("ServingProfile", name, spec)


def _pool(types: Sequence[str], kinds: Sequence[str], least: int, most: int) -> JsonObject:
    variants = [
        {
            "name": name,
            "target": {"kind": kinds[number], "name": name},
            "nodePool": name,
            "minReplicas": least if number == 0 else 0,
            "maxReplicas": most,
            "profileRef": {"name": name},
        }
        for number, name in enumerate(types)
    ]
    spec = {
        "mode": "Auto",
        "slo": {"ttft": "500ms", "itl": "25ms", "percentile": 99},
        "telemetry": {"engine": "vllm"},
        "roles": {"serve": {"variants": variants}},
    }
    return _own("InferencePool", POOL, spec, NAMESPACE)
