"""A rollout that never gets Ready, with the controller's own order of removal: healthy replicas stay."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from forebay.flow.decision import PoolDecision
from forebay.flow.observation import EngineSample, Traffic
from forebay.pipeline import FleetState, decide
from forebay.runtime.act import actions
from forebay.runtime.cluster.look import PoolLook
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.cluster.writes import LastWrite
from forebay.runtime.observe import fleet_observation, fleet_of
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.store import Store
from forebay.telemetry.source import PoolTelemetry

NOW = 1_795_132_800.0
ROUND = 15.0
RATE = 60.0
START_UP = 120.0
PROFILE = {
    "model": "m",
    "accelerator": "NVIDIA-H100-80GB-HBM3",
    "gpusPerReplica": 1,
    "linear": {
        "prefillBase": "10ms",
        "prefillPerThousandTokens": "40ms",
        "decodeBase": "8ms",
        "decodePerSequence": "60us",
        "decodePerThousandKVTokens": "22us",
    },
    "maxBatch": 256,
    "kvCacheTokens": 400000,
    "source": "test",
}


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Scene:
    """Deployments with a controller that does as a real one was seen to do.

    In a rollout (maxSurge 0) it scales the old, healthy ReplicaSet down and keeps the broken pod.
    """

    def __init__(self, store: Store, objects: Any, names: list[str]) -> None:
        self.store, self.objects, self.names = store, objects, names
        self.pods: dict[str, dict[str, float | None]] = {name: {} for name in names}
        self.now, self.version, self.serial, self.broken = NOW, 10, 0, False
        self.created: dict[str, float] = {}
        variants = [
            {
                "name": name,
                "target": {"kind": "Deployment", "name": name},
                "nodePool": name,
                "gpusPerReplica": 1,
                "minReplicas": 1 if name == "a" else 0,
                "maxReplicas": 30,
                "profileRef": {"name": name},
            }
            for name in names
        ]
        slo = {"ttft": "500ms", "itl": "25ms", "percentile": 99}
        store.apply(Kind.POOLS, objects.pool(mode="Auto", slo=slo, roles={"serve": {"variants": variants}}))
        for number, name in enumerate(names):
            store.apply(Kind.NODE_POOLS, objects.node_pool(name, pricePerGPUHour=f"{3 + number}"))
            store.apply(Kind.NODES, objects.node(f"n{name}", gpus=40, labels={"pool": name}))
            store.apply(Kind.PROFILES, objects._own("ServingProfile", name, PROFILE))
            self.set(name, 8 if name == "a" else 0)
        for number in range(8):
            self.put("a", f"a-old-{number}", "old", NOW - 7200, NOW - 7100)
        self.view, self.state, self.keeper = ClusterView(store), FleetState(), RosterKeeper(store)
        self.random = np.random.default_rng(1)

    def set(self, name: str, count: int) -> None:
        self.version += 1
        fields = [{"manager": "forebay", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
        body = self.objects.deployment(name, count, resourceVersion=str(self.version), managedFields=fields)
        self.store.apply(Kind.DEPLOYMENTS, body)

    def put(self, name: str, pod: str, revision: str, created: float, ready: float | None) -> None:
        body = self.objects.pod(
            pod,
            labels={"app": name, "pod-template-hash": revision},
            node=f"n{name}",
            created=iso(created),
            scheduled=iso(created + 1),
            ready=None if ready is None else iso(ready),
            restarts=5 if revision == "new" else 0,
        )
        self.pods[name][pod] = ready
        self.created[pod] = created
        self.store.apply(Kind.PODS, body)

    def drop(self, name: str, pod: str) -> None:
        del self.pods[name][pod]
        self.store.apply(Kind.PODS, self.objects.pod(pod, labels={"app": name}), deleted=True)

    def begin_rollout(self) -> None:
        self.broken = True
        self.drop("a", "a-old-0")
        self.put("a", "a-new-0", "new", self.now, None)

    def ready(self, name: str) -> int:
        return sum(ready is not None for ready in self.pods[name].values())

    def carry_out(self, name: str, have: int, want: int) -> None:
        for _ in range(want - have):
            self.serial += 1
            revision = "new" if self.broken and name == "a" else "old"
            self.put(name, f"{name}-{self.serial}", revision, self.now, None)
        for _ in range(have - want):
            healthy = [pod for pod, ready in self.pods[name].items() if ready is not None]
            waiting = [pod for pod, ready in self.pods[name].items() if ready is None]
            first = healthy + waiting if name == "a" and self.broken else waiting + healthy
            self.drop(name, first[0])

    async def round(self) -> PoolDecision:
        self.now += ROUND
        for name in self.names:
            for pod, ready in list(self.pods[name].items()):
                starts = ready is None and "new" not in pod and not (self.broken and name == "a")
                if starts and self.now - self.created[pod] >= START_UP:
                    self.put(name, pod, "old", self.created[pod], self.created[pod] + START_UP)
        look = self.view.look(await self.keeper.build(self.now), self.now)
        (pool,) = look.pools
        measured = {pool.entry.pool.key: self.telemetry(pool)}
        (decision,) = decide(fleet_of(look, None), fleet_observation(look, measured), self.state).pools.values()
        for action in actions(look.pools, {decision.key: decision}):
            target, have, want = action.workload.target, action.workload.replicas, action.wanted.desired
            self.view.writes.last[target] = LastWrite(want, action.workload.resource_version, self.now)
            self.set(target.name, want)
            self.carry_out(target.name, have, want)
        return decision

    def telemetry(self, pool: PoolLook) -> PoolTelemetry:
        slots = self.random.poisson(RATE * 5.0, 3).astype(float)
        arrivals, serving = float(slots.sum()), sum(self.ready(name) for name in self.names)
        batch = RATE * 5.0 / max(1, serving)
        engines = {}
        for variant in pool.variants:
            ready = self.ready(variant.name)
            share = arrivals * ready / max(1, serving)
            if ready:
                engines[variant.key] = EngineSample(
                    interval_seconds=ROUND,
                    finished=share,
                    output_tokens=share * 200,
                    prefills=share,
                    prefill_tokens=share * 1200,
                    prefill_seconds=share * 0.058,
                    itl_seconds=0.008 + batch * (0.00006 + 22e-9 * 1300),
                    running=batch * ready,
                    running_now=batch * ready,
                    kv_tokens=batch * ready * 1300,
                    waiting=0.0,
                    reporting_replicas=ready,
                )
        traffic = Traffic(
            start_seconds=self.now - ROUND,
            end_seconds=self.now,
            arrivals=arrivals,
            slot_counts=tuple(slots),
            input_tokens=arrivals * 1200,
            cached_input_tokens=0.0,
            source="gateway",
        )
        return PoolTelemetry(
            at_seconds=self.now,
            traffic=traffic,
            engines=engines,
            waiting_prefill=0.0,
            finished=arrivals,
            missed=0.0,
        )


@pytest.fixture
def scene(store: Store, objects: Any) -> Callable[..., Scene]:
    return lambda *names: Scene(store, objects, list(names))


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
async def test_healthy_replicas_outlive_a_rollout_that_never_gets_ready(
    scene: Callable[..., Scene], names: tuple[str, ...]
) -> None:
    """Protects: overdue orders were withdrawn, and the controller removed healthy pods: Ready 7 -> 0 in 105 s."""
    stage = scene(*names)
    for _ in range(60):
        await stage.round()
    stage.begin_rollout()
    healthy = stage.ready("a")
    lowest, said = healthy, ""
    for _ in range(140):
        decision = await stage.round()
        lowest = min(lowest, stage.ready("a"))
        said += " ".join(reason.message for reason in decision.reasons)
    assert lowest == healthy
    if len(names) == 2:
        assert "does not get on" in said
    look = stage.view.look(await stage.keeper.build(stage.now), stage.now)
    rollout = look.pools[0].variants[0].rollout
    assert rollout is not None
    assert rollout.stuck
