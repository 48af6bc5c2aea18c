"""A control loop over an API in memory: what the tests of rounds and of pauses share."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from forebay.actuation.scale import ScaleWriter
from forebay.actuation.targets import TargetDirectory
from forebay.actuation.victims import VictimMarks
from forebay.flow.decision import FleetDecision, PoolDecision, Reason, ReasonCode, Step, VariantDecision
from forebay.flow.fleet import Fleet, PoolKey
from forebay.flow.observation import FleetObservation, Freshness, Problem
from forebay.pipeline import FleetState
from forebay.runtime import decider as module
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
from forebay.runtime.watch.store import Store
from forebay.telemetry.source import PodName, PoolTarget, PoolTelemetry

CHAT = PoolKey("serving", "chat")
SCALE = "/apis/apps/v1/namespaces/serving/deployments/chat/scale"
STATUS = "/apis/forebay.io/v1alpha1/namespaces/serving/inferencepools/chat/status"


class Telemetry:
    """Answers nothing, or hangs, as told."""

    def __init__(self) -> None:
        self.hangs = False
        self.asked: list[Sequence[PoolTarget]] = []

    async def observe(self, targets: Sequence[PoolTarget], at_seconds: float) -> Mapping[PoolKey, PoolTelemetry]:
        """Miss every pool's arrivals."""
        self.asked.append(targets)
        if self.hangs:
            await asyncio.Event().wait()
        problem = Freshness(signal="arrivals", problem=Problem.MISSING)
        return {target.key: PoolTelemetry(at_seconds=at_seconds, freshness=(problem,)) for target in targets}

    async def pod_requests(
        self, targets: Sequence[PoolTarget], pods: Collection[PodName], at_seconds: float
    ) -> Mapping[PodName, float]:
        """Know of no pod what it holds."""
        return {}

    async def look_up(self) -> bool:
        """Have nothing to look up."""
        return False

    async def history(self, targets: Sequence[PoolTarget], since_seconds: float, at_seconds: float) -> Any:
        """Fail: a test that reads history sets its own."""
        raise AssertionError("no history was asked for")

    async def close(self) -> None:
        """Nothing to close."""


class Rig:
    """A loop over an API in memory, and a decision that a test sets."""

    def __init__(
        self,
        store: Store,
        api: Any,
        clock: Any,
        monkeypatch: pytest.MonkeyPatch,
        *,
        files: StateFiles | None = None,
        history_seconds: float = 0.0,
    ) -> None:
        self.store, self.api, self.telemetry, self.metrics = store, api, Telemetry(), Metrics()
        self.desired: int | Exception = 1
        self.observed: list[FleetObservation] = []
        monkeypatch.setattr(module, "decide", self.decide)
        directory = TargetDirectory(api)
        writer = ScaleWriter(api, directory, clock)
        status = StatusWriter(api, store, self.metrics, drift_seconds=60.0, clock=clock)
        events = EventRecorder(api, self.metrics, instance="me", clock=clock, wall_clock=clock)
        self.world = ClusterView(store)
        steps = Steps(
            keeper=RosterKeeper(store),
            gateway_pools=GatewayPools(api=api, resync_seconds=300.0, clock=clock),
            target_reader=TargetReader(api, directory, writer),
            world=self.world,
            source=self.telemetry,
            warm_up=WarmUp(self.telemetry, files, history_seconds=history_seconds, wall_clock=clock),
            writer=writer,
            scale_ins=ScaleIns(VictimMarks(api), self.telemetry),
            capacity=Capacity(api),
            reporter=Reporter(status, events, self.metrics),
            metrics=self.metrics,
            files=files,
            wall_clock=clock,
        )
        self.warm_up = steps.warm_up
        self.loop = ControlLoop(steps, interval_seconds=15.0, telemetry_patience_seconds=0.05)

    def decide(self, fleet: Fleet, observed: FleetObservation, state: FleetState, *, jobs: int) -> FleetDecision:
        """Want as many replicas as the test does, or fail as it says."""
        assert jobs == 0, "what can wait is left to the pause"
        if isinstance(self.desired, Exception):
            raise self.desired
        self.observed.append(observed)
        return FleetDecision(
            at_seconds=observed.at_seconds,
            pools={key: self._decision(pool, observed, self.desired) for key, pool in fleet.pools.items()},
        )

    def _decision(self, pool: Any, observed: FleetObservation, desired: int) -> PoolDecision:
        seen = observed.pools[pool.key].variants[0]
        return PoolDecision(
            key=pool.key,
            at_seconds=observed.at_seconds,
            variants=(VariantDecision(name=seen.name, role=seen.role, current=seen.desired, desired=desired),),
            reasons=(Reason(step=Step.SIZE, code=ReasonCode.SIZED, message="because.", changed=True),),
        )

    async def warm(self) -> None:
        """Run the first round, in which a new pool is only prepared."""
        await self.loop.round()
        await asyncio.sleep(0)

    def scaled(self) -> list[Any]:
        """Return the replicas that were written."""
        return [body[-1]["value"] for method, path, body in self.api.sent if path == SCALE]
