"""The operator's loop over a fleet in one process and on its own clock: no API server, no network, no waiting.

The caches are filled with the objects that the fleet's API server would have held; queries are answered by
`Answers`, rendered and parsed as text; statuses are merged into the caches as the API server's answers are. What
runs in between is the operator's own control loop, so that an hour of rounds takes minutes.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kubernetes.aio.client.configuration import Configuration

from forebay.actuation.kube import ApiError, JsonObject, KubeApi
from forebay.actuation.scale import ScaleWriter
from forebay.actuation.targets import TargetDirectory
from forebay.actuation.victims import VictimMarks
from forebay.runtime.capacity import Capacity
from forebay.runtime.cluster.references import GatewayPools
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.targetreader import TargetReader
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.heap import Heap
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.events import EventRecorder
from forebay.runtime.report.reporter import Reporter
from forebay.runtime.report.status import StatusWriter
from forebay.runtime.rounds import ControlLoop, Steps
from forebay.runtime.scalein import ScaleIns
from forebay.runtime.warmup import WarmUp
from forebay.runtime.watch.kinds import ALL_KINDS, Kind
from forebay.runtime.watch.store import Store
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.transport.streaming import decoded
from tests.benchmarks.operator_fleet.answers import Answers
from tests.benchmarks.operator_fleet.fleet import nodes, pool_objects, shared_objects, workloads

INTERVAL_SECONDS = 15.0
_START_SECONDS = 1_795_132_800.0
_THREADS = 4
_BY_PLURAL = {kind.value: kind for kind in ALL_KINDS}

Read = TypeVar("Read")


class AnsweringClient:
    """A `PromQlClient` that renders each answer as text and parses it in a thread, as the real one does."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked = 0
        self.rendering_seconds = 0.0
        """CPU that a Prometheus would have spent, not the operator."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="prometheus")

    async def instant(self, query: str, at_seconds: float, *, kind: str, read: Callable[[object], Read]) -> Read:
        """Answer for one time."""
        return await self._in_thread(lambda: self.answers.instant(query, at_seconds), read)

    async def range(
        self,
        query: str,
        start_seconds: int,
        end_seconds: int,
        step_seconds: int,
        *,
        kind: str,
        read: Callable[[object], Read],
    ) -> Read:
        """Answer for several times."""
        return await self._in_thread(
            lambda: self.answers.range(query, start_seconds, end_seconds, step_seconds), read
        )

    async def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    async def _in_thread(self, render: Callable[[], str], read: Callable[[object], Read]) -> Read:
        self.asked += 1

        def work() -> Read:
            began = time.thread_time()
            body = f'{{"status":"success","data":{{"result":{render()}}}}}'.encode()
            self.rendering_seconds += time.thread_time() - began
            return read(decoded(body)["data"]["result"])

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class CacheApi(KubeApi):
    """An API that takes in status patches only: they are merged into the caches' own objects."""

    def __init__(self, store: Store) -> None:
        super().__init__(Configuration())
        self.store = store
        self.written: list[tuple[str, JsonObject]] = []
        """Since it was last emptied."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str | None = None,
    ) -> JsonObject:
        """Take a patch in; everything else does not exist."""
        if method == "GET" or not isinstance(body, dict):
            raise ApiError(f"{path} not found", status=404, reason="NotFound")
        self.written.append((path, body))
        if method != "PATCH":
            return {}
        parts = path.split("/")
        namespace = parts[5] if parts[4] == "namespaces" else ""
        record = self.store.resources[_BY_PLURAL[parts[-3]]][namespace, parts[-2]]
        status = json.loads(json.dumps(_merged(record.status, body["status"])))
        metadata = {
            "name": record.name,
            "uid": record.uid,
            "generation": record.generation,
            "labels": record.labels,
            **({"namespace": namespace} if namespace else {}),
        }
        return {"kind": record.kind, "metadata": metadata, "spec": record.spec, "status": status}


def _merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> JsonObject:
    merged = dict(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merged(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


@dataclass(slots=True)
class InProcess:
    """One operator over a fleet of ``pools`` pools; time moves by one interval per round."""

    pools: int
    history_seconds: float = 0.0
    now_seconds: float = _START_SECONDS
    heap: Heap = field(default_factory=Heap)
    store: Store = field(init=False)
    api: CacheApi = field(init=False)
    client: AnsweringClient = field(init=False)
    metrics: Metrics = field(init=False)
    loop: ControlLoop = field(init=False)

    def __post_init__(self) -> None:
        self.heap.set_up()
        self.store = filled_store(self.pools)
        self.api = CacheApi(self.store)
        self.client = AnsweringClient(Answers(workloads(self.pools)))
        self.metrics = Metrics()
        self.loop = self._loop()

    def _clock(self) -> float:
        return self.now_seconds

    def _loop(self) -> ControlLoop:
        settings = PrometheusSettings(url="http://nowhere.invalid", interval_seconds=INTERVAL_SECONDS)
        source = PrometheusTelemetry(settings, client=self.client, meter=self.metrics)
        directory = TargetDirectory(self.api)
        writer = ScaleWriter(self.api, directory, self._clock)
        status = StatusWriter(self.api, self.store, self.metrics, drift_seconds=60.0, clock=self._clock)
        events = EventRecorder(self.api, self.metrics, instance="me", clock=self._clock, wall_clock=self._clock)
        steps = Steps(
            keeper=RosterKeeper(self.store),
            gateway_pools=GatewayPools(api=self.api, resync_seconds=300.0, clock=self._clock),
            target_reader=TargetReader(self.api, directory, writer),
            world=ClusterView(self.store),
            source=source,
            warm_up=WarmUp(source, None, history_seconds=self.history_seconds, wall_clock=self._clock),
            writer=writer,
            scale_ins=ScaleIns(VictimMarks(self.api), source),
            capacity=Capacity(self.api),
            reporter=Reporter(status, events, self.metrics),
            metrics=self.metrics,
            files=None,
            wall_clock=self._clock,
        )
        return ControlLoop(steps, interval_seconds=INTERVAL_SECONDS, telemetry_patience_seconds=600.0)

    async def round(self) -> int:
        """Run one round and a short pause, move the clock, and return how many writes there were.

        Raises:
            AssertionError: the round failed.
        """
        self.api.written.clear()
        if not await self.loop.round():
            raise AssertionError("a round failed; see the log")
        await self.loop.use_pause(asyncio.get_running_loop().time())
        self.heap.after_round()
        self.now_seconds += INTERVAL_SECONDS
        await asyncio.sleep(0)
        return len(self.api.written)

    def seconds_in(self, step: str) -> float:
        """Return the wall time that all rounds spent in ``step``; `all` for whole rounds."""
        return float(self.metrics.round_seconds.labels(step)._sum.get())


def filled_store(pools: int) -> Store:
    """Return caches as the informer would have filled them for a fleet."""
    store = Store()
    for body in shared_objects():
        kind = {"GPUNodePool": Kind.NODE_POOLS, "ServingProfile": Kind.PROFILES}.get(body["kind"])
        if kind is not None:
            store.apply(kind, _created(body))
    for item in (*nodes(pools), *(each for number in range(pools) for each in pool_objects(number))):
        namespace, _, plural = item.collection.partition("/namespaces/")[2].partition("/")
        plural = plural or item.collection.rpartition("/")[2]
        body = json.loads(json.dumps(item.body | ({"status": item.status} if item.status else {})))
        store.apply(_BY_PLURAL[plural], _created(body, namespace))
    return store


def _created(body: JsonObject, namespace: str = "") -> JsonObject:
    metadata = body["metadata"] | {
        "uid": f"uid-{body['kind']}-{namespace}-{body['metadata']['name']}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-20T00:00:00Z",
    }
    if namespace:
        metadata["namespace"] = namespace
    return {**body, "metadata": metadata}
