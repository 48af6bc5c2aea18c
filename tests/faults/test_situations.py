"""Situations from public bug reports, each played through the operator's real loop and ended as is right.

Where a situation is about files, manifests or names alone, its test is beside that code (in tests/unit): traces in
seconds (traces/test_formats.py), manifests of newcomers (api/test_parsing.py), metrics behind a prefix
(telemetry/test_flow.py), a `/scale` without a selector (runtime/cluster/test_targetreader.py).
"""

import math

import pytest

from forebay.actuation.kube import JsonObject
from forebay.runtime.watch.kinds import Kind
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import TelemetrySource
from tests.faults.bodies import NAMESPACE
from tests.faults.plant import CAPACITY, ROUND_SECONDS, Plant
from tests.unit.pipeline.fleets import INPUT
from tests.unit.runtime.conftest import Clock
from tests.unit.telemetry.scripted import ScriptedClient

MINUTE = 4
"""Rounds."""


def plant(**given: object) -> Plant:
    """Return a pool of type a (and b), with three replicas of a."""
    return Plant(Clock(), seed=1, **given)  # type: ignore[arg-type]


async def run(stage: Plant, rounds: int) -> None:
    for _ in range(rounds):
        await stage.step()


def condition(stage: Plant, name: str) -> dict[str, str]:
    return next(item for item in stage.status()["conditions"] if item["type"] == name)


@pytest.mark.parametrize("types", [("a",), ("a", "b")])
async def test_a_rollout_that_never_gets_ready(types: tuple[str, ...]) -> None:
    """Ready fell from 7 to 0 in 105 s: healthy replicas stay, it is told, and growth goes elsewhere."""
    stage = plant(types=types)
    stage.load.rate = 60.0
    await run(stage, 30 * MINUTE)
    workload = stage.cluster.workloads["a"]
    before = workload.ready()
    workload.surge, workload.unavailable, workload.revision = 0, 1, 2
    workload.broken.add(2)
    lowest = before
    for _ in range(40 * MINUTE):
        await stage.step()
        lowest = min(lowest, workload.ready())
    assert lowest >= before - 1, "but the one that the controller itself replaced"
    told = condition(stage, "Progressing")
    assert (told["status"], told["reason"]) == ("False", "RolloutStuck")
    assert "no such image" in told["message"]
    assert stage.load.queue == 0.0
    if len(types) == 2:
        stage.load.rate = 100.0
        await run(stage, 20 * MINUTE)
        assert stage.cluster.workloads["b"].ready() > 0
        assert workload.ready() >= lowest


async def test_a_quota_lets_only_some_pods_be_created() -> None:
    """26 replicas were "ordered 0 s ago" for ever: the quota is quoted, and another type is tried."""
    stage = plant()
    await run(stage, 10 * MINUTE)
    stage.cluster.workloads["a"].most_pods = len(stage.cluster.workloads["a"].pods)
    stage.load.rate = 100.0
    await run(stage, 15 * MINUTE)
    told = condition(stage, "Progressing")
    assert told["status"] == "False"
    assert "exceeded quota: gpus" in told["message"]
    assert stage.cluster.workloads["b"].ready() * CAPACITY > 60.0
    assert stage.load.queue == 0.0


@pytest.mark.parametrize("manager", ["helm", "kubectl-client-side-apply", "kserve-controller"])
async def test_a_manifest_resets_the_count_under_load(manager: str) -> None:
    """No write came for ten minutes, below the pool's minimum: it is corrected in the next round."""
    stage = plant(least=2)
    stage.load.rate = 80.0
    await run(stage, 20 * MINUTE)
    workload = stage.cluster.workloads["a"]
    needed = workload.replicas
    stage.cluster.scale(workload, 1, manager, by_scale=False)
    await run(stage, 1)
    assert manager in condition(stage, "Conflicted")["message"]
    await run(stage, 1)
    assert workload.replicas >= min(needed, 7)


async def test_a_person_is_respected_and_then_taken_over() -> None:
    stage = plant()
    await run(stage, 10 * MINUTE)
    workload = stage.cluster.workloads["a"]
    count = workload.replicas + 3
    stage.cluster.scale(workload, count, "kubectl", by_scale=True)
    for _ in range(39):
        await stage.step()
        assert workload.replicas == count
    assert condition(stage, "Conflicted")["status"] == "True"
    await run(stage, 20 * MINUTE)
    assert condition(stage, "Conflicted")["status"] == "False"


async def test_a_tool_that_resets_it_again_and_again() -> None:
    """120 writes in 40 minutes, each with new pods: given up after three, and the owner is named."""
    stage = plant()
    stage.load.rate = 60.0
    await run(stage, 10 * MINUTE)
    stage.cluster.workloads["a"].manifest = 2
    before = len(stage.cluster.scaled)
    await run(stage, 40 * MINUTE)
    writes = [name for _, name, _, _ in stage.cluster.scaled[before:]].count("a")
    assert writes <= 8
    told = condition(stage, "Conflicted")
    assert (told["status"], told["reason"]) == ("True", "RevertedTooOften")
    assert "argocd-controller" in told["message"]


async def test_two_pools_name_one_target() -> None:
    """5 and 1 were written in the same round: the older pool keeps it, the younger one is told."""
    stage = plant(types=("a",))
    younger: JsonObject = {
        **stage.pool,
        "metadata": {**stage.pool["metadata"], "name": "young", "uid": "uid-young"},
    }
    younger["metadata"]["creationTimestamp"] = "2026-11-20T00:00:00Z"
    stage.store.apply(Kind.POOLS, younger)
    path = f"/apis/forebay.io/v1alpha1/namespaces/{NAMESPACE}/inferencepools/young/status"
    stage.cluster.objects[path] = younger
    writes = 0
    for _ in range(20 * MINUTE):
        before = len(stage.cluster.scaled)
        await stage.step()
        writes = max(writes, len(stage.cluster.scaled) - before)
    assert writes == 1, "one of the two writes"
    found = {item["type"]: item for item in stage.cluster.objects[path]["status"]["conditions"]}
    assert (found["Conflicted"]["status"], found["Conflicted"]["reason"]) == ("True", "SharedTarget")
    assert "serving/chat" in found["Conflicted"]["message"]
    assert condition(stage, "Conflicted")["status"] == "False"


class Engines:
    """The metrics of vLLM engines, some of whose clients leave, as Prometheus has them."""

    def __init__(self, stage: Plant, leave: float = 0.0) -> None:
        self.stage, self.leave, self.frozen = stage, leave, False
        self.key = (NAMESPACE, "a")
        self.client = ScriptedClient(scrapes={self.key: 20.0})
        self.client.script = {
            "newest": lambda at: {self.key: at - 2.0},
            "growth begun": lambda _: self.all(self.started),
            "growth finished": lambda _: self.all(self.started * (1.0 - self.leave)),
            "growth prompt_tokens": lambda _: self.all(self.started * INPUT),
            "growth output_tokens": lambda _: self.all(self.started * (1.0 - self.leave) * 200.0),
            "change running": {self.key: 0.0},
            "change waiting": {self.key: 0.0},
            "level running": lambda _: self.all(106.0 * self.ready if self.frozen else self.rate * 2.0),
            "level waiting": lambda _: self.all(15.0 * self.ready if self.frozen else 0.0),
            "level kv_usage": lambda _: self.all(0.9 * self.ready if self.frozen else 0.3 * self.ready),
            "replicas": lambda _: self.all(self.ready),
            "engines": lambda _: self.all(self.ready),
            "stuck engines": lambda _: self.all(self.ready) if self.frozen else {},
            "stuck running": lambda _: self.all(106.0 * self.ready) if self.frozen else {},
            "stuck waiting": lambda _: self.all(15.0 * self.ready) if self.frozen else {},
        }

    @property
    def ready(self) -> float:
        return float(self.stage.cluster.workloads["a"].ready())

    @property
    def rate(self) -> float:
        return 0.0 if self.frozen else self.stage.load.rate

    @property
    def started(self) -> float:
        return self.rate * ROUND_SECONDS

    def all(self, value: float) -> dict[tuple[str, ...], float]:
        return {self.key: value}

    def source(self) -> TelemetrySource:
        return PrometheusTelemetry(PrometheusSettings(settle_seconds=2.0), client=self.client)


async def test_clients_cancel_in_the_middle_of_an_answer() -> None:
    """28 of 40 requests a second were seen, and 61 % of TTFTs missed: all are sized for, and the drift is told."""
    counts = {}
    for leave in (0.0, 0.3):
        stage = plant(types=("a",))
        stage.load.rate = 40.0
        stage.start(Engines(stage, leave).source())
        await run(stage, 30 * MINUTE)
        assert stage.load.queue == 0.0
        counts[leave] = stage.cluster.workloads["a"].replicas
        assert ("Drift" in condition(stage, "MetricsFresh")["message"]) == (leave > 0.0)
    assert counts[0.3] == counts[0.0] >= math.ceil(40.0 / CAPACITY)


async def test_all_requests_are_cancelled_and_the_gauges_freeze() -> None:
    """Twelve idle replicas were held for two hours: engines that do not move are told and not steered by."""
    stage = plant(types=("a",))
    stage.load.rate = 60.0
    engines = Engines(stage)
    stage.start(engines.source())
    await run(stage, 20 * MINUTE)
    busy = stage.cluster.workloads["a"].replicas
    assert busy >= 6
    engines.frozen = True
    stage.load.rate = 0.0
    await run(stage, 3 * MINUTE)
    assert stage.cluster.workloads["a"].replicas <= busy, "nothing is bought for it"
    assert "EngineStuck" in condition(stage, "MetricsFresh")["message"]
    await run(stage, 57 * MINUTE)
    assert stage.cluster.workloads["a"].replicas <= 2
