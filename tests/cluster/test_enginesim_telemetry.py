"""The operator's telemetry on simulated engines: every dialect, through a real Prometheus, against the trace.

Expositions of minutes of traffic are written with their own times, so that nothing waits for them.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from devcluster.remotewrite import write
from enginesim.config import parse_config
from enginesim.physics import PoolPhysics
from enginesim.pods import Pod
from enginesim.simulator import Simulator
from forebay.flow.fleet import PoolKey, Role, Slo, VariantKey
from forebay.flow.observation import EngineSample
from forebay.flow.trace import RequestTrace
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, PoolTarget, PoolTelemetry, WorkloadTarget
from tests.cluster.telemetry_world import Server

SCRAPE_SECONDS = 5.0
ROUND_SECONDS = 15.0
QUIET_SECONDS = 120.0
"""Of silence before and after the traffic, so that all of it falls into whole rounds."""
TRAFFIC_SECONDS = 300.0
EARLY_REQUESTS = 8
OBSERVED = slice(EARLY_REQUESTS, None)
"""The requests that arrive while telemetry is read."""
SPEED = {"max_batch": 64, "kv_transfer_seconds_per_token": 1e-5}
SLO = Slo(ttft_seconds=1.0, itl_seconds=0.05)
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("enginesim"))
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True, slots=True)
class Played:
    """What was played, and what the telemetry made of it."""

    trace: RequestTrace
    physics: PoolPhysics
    rounds: list[PoolTelemetry]

    def total(self, variant: VariantKey, field: str) -> float:
        """Return the sum of one field of a variant's samples over all rounds."""
        samples: list[EngineSample] = [one.engines[variant] for one in self.rounds if variant in one.engines]
        return math.fsum(getattr(sample, field) or 0.0 for sample in samples)

    @property
    def arrivals(self) -> float:
        """Return the arrivals of all rounds."""
        return math.fsum(one.traffic.arrivals for one in self.rounds if one.traffic is not None)


def played_trace(early: int = EARLY_REQUESTS) -> RequestTrace:
    """Return traffic behind a few early requests: engines that have served before show all their series."""
    rng = np.random.default_rng(3)
    count = early + 1200
    inputs = rng.integers(50, 1_500, count)
    late = QUIET_SECONDS + np.sort(rng.uniform(0.0, TRAFFIC_SECONDS, count - early))
    return RequestTrace(
        name="played",
        arrival_seconds=np.concatenate([np.full(early, 1.0), late]),
        input_tokens=inputs,
        output_tokens=rng.integers(5, 150, count),
        cached_tokens=(inputs * rng.uniform(0.0, 0.6, count)).astype(np.int64),
    )


def pods(namespace: str, workload: str, count: int) -> list[Pod]:
    names = [f"{workload}-7d9f8b6c5d-{letter}2k4z" for letter in "bcdfg"[:count]]
    return [Pod(name, namespace, "node", "10.0.0.1", True) for name in names]


Samples = dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]


def scrape(simulated: Simulator, at: float, samples: Samples) -> None:
    """Add what a scrape of every target would store."""
    for group in simulated.discovery("127.0.0.1:1"):
        labels = group["labels"]
        assert isinstance(labels, dict)
        name = labels["__metrics_path__"].removeprefix("/targets/").removesuffix("/metrics")
        kept = {key: value for key, value in labels.items() if not key.startswith("__")}
        for line in (simulated.metrics(name) or "").splitlines():
            found = _SAMPLE.fullmatch(line)
            if found is None:
                continue
            own = dict(_LABEL.findall(found[2] or ""))
            key = tuple(sorted({"__name__": found[1], "job": "engines", **kept, **own}.items()))
            samples.setdefault(key, []).append((at, float(found[3])))


async def play(
    server: Server, pool: Mapping[str, object], target: PoolTarget, *, trace: RequestTrace | None = None
) -> Played:
    """Play the traffic, write what scrapes would see, and observe it round by round."""
    namespace = target.key.namespace
    trace = trace or played_trace()
    config = parse_config({"pools": [{"name": "chat", "namespace": namespace, "model": namespace, **pool}]})
    simulated = Simulator(config, {(namespace, "chat"): trace})
    seen = {workload.name: pods(namespace, workload.name, 2) for workload in config.pools[0].workloads}
    simulated.follow((namespace, "chat"), seen)
    samples: Samples = {}
    end = 2 * QUIET_SECONDS + TRAFFIC_SECONDS
    for now in np.arange(SCRAPE_SECONDS, end + 1, SCRAPE_SECONDS).tolist():
        simulated.advance(now)
        scrape(simulated, server.start + now, samples)
    assert simulated.exhausted
    write(server.url, samples)
    telemetry = PrometheusTelemetry(PrometheusSettings(url=server.url))
    try:
        first = server.start + QUIET_SECONDS / 2
        times = np.arange(first, server.start + end, ROUND_SECONDS).tolist()
        rounds = [(await telemetry.observe([target], at))[target.key] for at in times]
    finally:
        await telemetry.close()
    return Played(trace, simulated._pools[namespace, "chat"].physics, rounds)


def pool_target(
    namespace: str, roles: Mapping[str, Role], engine: str, gateway: GatewayTarget | None = None
) -> PoolTarget:
    workloads = tuple(
        WorkloadTarget(variant=VariantKey(role, name), role=role, name=name, ready_replicas=2)
        for name, role in roles.items()
    )
    return PoolTarget(key=PoolKey(namespace, "chat"), slo=SLO, engine=engine, workloads=workloads, gateway=gateway)


SPLIT = {"chat-prefill": Role.PREFILL, "chat-decode": Role.DECODE}
WHOLE = {"chat": Role.SERVE}
ENGINES = {
    "vllm": "vllm",
    "vllm-0.9": "vllm",
    "sglang": "sglang",
    "tensorrt-llm": "tensorrt-llm",
    "tgi": "tgi",
}
"""Table of the simulator -> dialect of the operator."""


def keys_of(roles: Mapping[str, Role]) -> list[VariantKey]:
    return [VariantKey(role, name) for name, role in roles.items()]


def workloads_of(roles: Mapping[str, Role]) -> list[dict[str, object]]:
    return [{"name": name, "role": str(role), "speed": SPEED} for name, role in roles.items()]


@pytest.mark.parametrize("roles", [SPLIT, WHOLE], ids=["split", "whole"])
@pytest.mark.parametrize("engine", ENGINES)
async def test_engines_are_read_as_they_served(server: Server, engine: str, roles: dict[str, Role]) -> None:
    """Protects: arrivals, finished requests and tokens of every dialect are those that the engines served."""
    namespace = f"{engine.replace('.', '-')}-{len(roles)}"
    target = pool_target(namespace, roles, ENGINES[engine])
    played = await play(server, {"engine": engine, "workloads": workloads_of(roles)}, target)
    last, count = keys_of(roles)[-1], len(played.trace) - EARLY_REQUESTS
    assert played.arrivals == pytest.approx(count, rel=0.01)
    assert played.total(last, "finished") == pytest.approx(count, rel=0.01)
    assert played.total(last, "output_tokens") == pytest.approx(
        float(played.trace.output_tokens[OBSERVED].sum()), rel=0.02
    )
    busy = [one for one in played.rounds if one.ttft_seconds is not None and one.finished]
    if engine != "tgi":
        assert busy
        assert np.median([one.ttft_seconds or 0.0 for one in busy]) < 1.0


@pytest.mark.parametrize("roles", [SPLIT, WHOLE], ids=["split", "whole"])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_capacity_is_read_as_it_is(server: Server, engine: str, roles: dict[str, Role]) -> None:
    """Protects: what calibrates capacity (time per uncached token, iteration time) is what the engines took."""
    namespace = f"capacity-{engine}-{len(roles)}"
    target = pool_target(namespace, roles, ENGINES[engine])
    played = await play(server, {"engine": engine, "workloads": workloads_of(roles)}, target)
    assert played.trace.cached_tokens is not None
    first, last = keys_of(roles)[0], keys_of(roles)[-1]
    uncached = float((played.trace.input_tokens - played.trace.cached_tokens)[OBSERVED].sum())
    assert played.total(first, "prefills") == pytest.approx(len(played.trace) - EARLY_REQUESTS, rel=0.01)
    assert played.total(first, "prefill_tokens") == pytest.approx(uncached, rel=0.02)
    requests = played.physics.requests
    prefill_seconds = float((requests.arrival + requests.ttft - requests.started)[OBSERVED].sum())
    assert played.total(first, "prefill_seconds") == pytest.approx(prefill_seconds, rel=0.02)
    everyone = np.arange(EARLY_REQUESTS, len(played.trace))
    weights = played.trace.output_tokens[OBSERVED].astype(np.float64)
    itl = float(np.average(played.physics.itl_seconds(everyone), weights=weights))
    decoding = [one.engines[last] for one in played.rounds if last in one.engines]
    measured = [(one.itl_seconds, one.output_tokens) for one in decoding if one.itl_seconds and one.output_tokens]
    read = sum(seconds * tokens for seconds, tokens in measured) / sum(tokens for _, tokens in measured)
    assert read == pytest.approx(itl, rel=0.05)


@pytest.mark.parametrize("dialect", ["inference-extension", "llm-d", "dynamo-frontend"])
async def test_gateways_count_what_arrived(server: Server, dialect: str) -> None:
    """Protects: arrivals counted at a gateway that holds the queue, which engines see late."""
    namespace = f"gateway-{dialect}"
    reader = "inference-extension" if dialect == "llm-d" else dialect
    labels = {"model" if dialect == "dynamo-frontend" else "model_name": namespace}
    target = pool_target(namespace, SPLIT, "vllm", GatewayTarget(dialect=reader, labels=labels))
    pool = {"workloads": workloads_of(SPLIT), "gateway": {"name": "epp", "dialect": dialect}}
    played = await play(server, pool, target)
    assert played.arrivals == pytest.approx(len(played.trace) - EARLY_REQUESTS, rel=0.01)
    assert {one.traffic.source for one in played.rounds if one.traffic is not None} == {"gateway"}


@pytest.mark.parametrize("engine", ["sglang", "tensorrt-llm", "tgi"])
async def test_a_pool_that_never_served_counts_its_first_requests(server: Server, engine: str) -> None:
    """Protects: client libraries show a series with its first event, long after the pool was first looked at."""
    namespace = f"first-{engine}"
    target = pool_target(namespace, WHOLE, ENGINES[engine])
    pool = {"engine": engine, "workloads": workloads_of(WHOLE)}
    played = await play(server, pool, target, trace=played_trace(early=0))
    # What the very first scrapes find has no sample before it to be measured against.
    assert 0.95 * len(played.trace) <= played.arrivals <= len(played.trace)
