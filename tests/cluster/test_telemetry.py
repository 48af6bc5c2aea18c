"""Telemetry on a real Prometheus: known streams of requests go in, and the same counts must come out.

Samples are written with their own times through Prometheus' remote-write receiver, so that minutes of traffic with
chosen scrape phases, restarts and gaps are tested without waiting for them.
"""

import math
import struct
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from devcluster.binaries import Binaries
from devcluster.components import HOST, prometheus_argv
from devcluster.http_probe import answers_ok
from devcluster.ports import free_ports
from devcluster.processes import Component, ProcessHost

from forebay.flow.fleet import PoolKey, Role, Slo
from forebay.flow.observation import Freshness, Problem
from forebay.telemetry.dialect import built_in
from forebay.telemetry.facts import Facts
from forebay.telemetry.groups import Expressions, Group
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, PoolTarget, PoolTelemetry, WorkloadTarget

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""What Prometheus stores when a target is gone (https://prometheus.io/docs/specs/native_histograms/#staleness)."""
SCRAPE = 15.0
SLO = Slo(ttft_seconds=1.0, itl_seconds=0.05)

Labels = tuple[tuple[str, str], ...]
Samples = dict[Labels, list[tuple[float, float]]]


# ---------------------------------------------------------------------------------------------- writing samples


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _series(labels: Labels, samples: list[tuple[float, float]]) -> bytes:
    body = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in sorted(labels)
    )
    for at, value in samples:
        body += _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(at * 1000)))
    return _field(1, body)


def _snappy(content: bytes) -> bytes:
    """Frame ``content`` as a snappy block of literals (no compression)."""
    result = bytearray(_varint(len(content)))
    for start in range(0, len(content), 60_000):
        part = content[start : start + 60_000]
        result += b"\xf4" + struct.pack("<H", len(part) - 1) + part
    return bytes(result)


def write(url: str, samples: Samples) -> None:
    """Write samples by remote write 1.0 (https://prometheus.io/docs/specs/prw/remote_write_spec/)."""
    body = _snappy(b"".join(_series(labels, points) for labels, points in samples.items()))
    request = urllib.request.Request(
        f"{url}/api/v1/write",
        data=body,
        headers={
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status < 300


@pytest.fixture(scope="module")
def program() -> Path:
    return Binaries.from_environment().path("prometheus")


@pytest.fixture
def url(program: Path, tmp_path: Path) -> Iterator[str]:
    """An empty Prometheus of this test's own."""
    host = ProcessHost(tmp_path)
    config = tmp_path / "prometheus.yaml"
    config.write_text("global: {}\n")
    (port,) = free_ports(1)
    address = f"http://{HOST}:{port}"
    argv = (*prometheus_argv(program, port, config, tmp_path / "data"), "--web.enable-remote-write-receiver")
    component = Component(
        host=host, name="prometheus", argv=argv, is_ready=lambda: answers_ok(f"{address}/-/ready")
    )
    component.start()
    component.wait_ready()
    try:
        yield address
    finally:
        component.kill()
        host.close()


# ------------------------------------------------------------------------------------------- streams of requests


@dataclass(frozen=True, slots=True)
class Requests:
    """A known stream: request ``i`` arrives, is prefilled, and ends on one replica."""

    arrival: np.ndarray
    first: np.ndarray
    done: np.ndarray
    input_tokens: np.ndarray
    output_tokens: np.ndarray
    replica: np.ndarray

    def between(self, start: float, end: float) -> int:
        return int(((self.arrival > start) & (self.arrival <= end)).sum())


def stream(seed: int, seconds: float, rate: float, replicas: int, start: float) -> Requests:
    generator = np.random.default_rng(seed)
    count = generator.poisson(rate * seconds)
    arrival = np.sort(generator.uniform(start, start + seconds, count))
    first = arrival + generator.gamma(2.0, 0.4, count)
    return Requests(
        arrival,
        first,
        first + generator.gamma(3.0, 1.5, count),
        generator.integers(50, 2000, count),
        generator.integers(20, 400, count),
        generator.integers(0, replicas, count),
    )


@dataclass(slots=True)
class Fleet:
    """Replicas of one workload that are scraped, each at a phase of its own."""

    requests: Requests
    pods: tuple[str, ...]
    namespace: str = "serving"
    engine: str = "vllm"
    job: str = "engines"
    jitter: float = 0.004
    start: float = 0.0
    scrape: float = SCRAPE
    born: Mapping[int, float] = field(default_factory=dict)
    dead: Mapping[int, float] = field(default_factory=dict)
    skip: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    restart: Mapping[int, float] = field(default_factory=dict)

    def samples(self, until: float, *, seed: int = 1) -> Samples:
        result: Samples = {}
        for index, pod in enumerate(self.pods):
            generator = np.random.default_rng([seed, index])
            at = self.start + generator.uniform(0.0, self.scrape)
            while at < until:
                now = at + generator.uniform(-self.jitter, self.jitter)
                at += self.scrape
                if now < self.born.get(index, -math.inf):
                    continue
                gap = self.skip.get(index, (math.inf, math.inf))
                lost = gap[0] <= now < gap[1] or now >= self.dead.get(index, math.inf)
                for labels, value in self.scraped(index, pod, now).items():
                    points = result.setdefault(labels, [])
                    if not lost:
                        points.append((now, value))
                    elif points and not math.isnan(points[-1][1]):
                        points.append((now, STALE))
        return result

    def scraped(self, index: int, pod: str, now: float) -> dict[Labels, float]:
        base = (("namespace", self.namespace), ("pod", pod), ("job", self.job), ("model_name", "m"))
        mine = self.requests.replica == index
        began = self.restart.get(index, -math.inf)
        if now < began:
            began = -math.inf
        r = self.requests
        here = mine & (r.arrival <= now) & (r.arrival > began)
        done = here & (r.done <= now)
        started = here & (r.first <= now)
        itl = (r.done - r.first) / r.output_tokens
        values: dict[Labels, float] = {}

        def put(name: str, value: float, **labels: str) -> None:
            values[(("__name__", name), *base, *labels.items())] = float(value)

        put("vllm:request_success_total", int(done.sum()) * 0.5, finished_reason="stop")
        put("vllm:request_success_total", int(done.sum()) * 0.5, finished_reason="length")
        put("vllm:num_requests_running", int((started & ~done).sum()))
        put("vllm:num_requests_waiting", int((here & ~started).sum()))
        put("vllm:generation_tokens_total", float(r.output_tokens[done].sum()))
        put("vllm:prompt_tokens_total", float(r.input_tokens[started].sum()))
        put("vllm:prefix_cache_queries_total", float(r.input_tokens[started].sum()))
        put("vllm:prefix_cache_hits_total", float(r.input_tokens[started].sum()) * 0.25)
        put("vllm:kv_cache_usage_perc", 0.5)
        put("vllm:cache_config_info", 1.0, num_gpu_blocks="1000", block_size="16")
        put("vllm:request_prefill_time_seconds_sum", 0.2 * done.sum())
        put("vllm:request_prefill_time_seconds_count", done.sum())
        put("vllm:request_prompt_tokens_sum", float(r.input_tokens[done].sum()))
        put("vllm:request_prompt_tokens_count", done.sum())
        for edge in (100.0, 1000.0, math.inf):
            put(
                "vllm:request_prompt_tokens_bucket",
                int((done & (r.input_tokens <= edge)).sum()),
                le="+Inf" if math.isinf(edge) else f"{edge:.1f}",
            )
        for edge in (0.5, 1.0, 2.5, math.inf):
            put(
                "vllm:time_to_first_token_seconds_bucket",
                int((started & (r.first - r.arrival <= edge)).sum()),
                le="+Inf" if math.isinf(edge) else f"{edge:.1f}",
            )
        put("vllm:time_to_first_token_seconds_count", started.sum())
        for edge in (0.025, 0.05, 0.1, math.inf):
            put(
                "vllm:request_time_per_output_token_seconds_bucket",
                int((done & (itl <= edge)).sum()),
                le="+Inf" if math.isinf(edge) else f"{edge:g}",
            )
        put("vllm:request_time_per_output_token_seconds_count", done.sum())
        return values


def deployment_pods(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}-7d9f8b6c5d-{'bcdfghjklm'[index]}2k4z" for index in range(count))


def target(name: str, *, ready: int | None = None, kind: str = "Deployment", **more: object) -> PoolTarget:
    workload = WorkloadTarget(variant="default", role=Role.SERVE, name=name, kind=kind, ready_replicas=ready)
    pool = PoolTarget(key=PoolKey("serving", name), slo=SLO, engine="vllm", workloads=(workload,))
    return replace(pool, **more)  # type: ignore[arg-type]


def signal(telemetry: PoolTelemetry, name: str) -> Freshness:
    return next(each for each in telemetry.freshness if each.signal == name)


async def rounds(
    url: str, targets: list[PoolTarget], times: list[float], **settings: float
) -> list[Mapping[PoolKey, PoolTelemetry]]:
    source = PrometheusTelemetry(PrometheusSettings(url=url, **settings))  # type: ignore[arg-type]
    try:
        return [await source.observe(targets, at) for at in times]
    finally:
        await source.close()


START = 1_800_000_000.0


def now_ish() -> float:
    """Return a beginning that Prometheus accepts: samples may not be too old beside its clock."""
    import time

    return math.floor(time.time() / 60.0) * 60.0 - 3600.0


# ------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("scrape", [5.0, 15.0, 30.0])
async def test_every_arrival_is_counted_once(url: str, scrape: float) -> None:
    """Protects: nothing is counted twice or lost between rounds, whatever the phase of scrapes and rounds."""
    start = now_ish()
    requests = stream(1, 900.0, 8.0, 3, start)
    fleet = Fleet(requests, deployment_pods("chat", 3), start=start, scrape=scrape)
    write(url, fleet.samples(start + 960.0))
    pool = target("chat", ready=3)
    generator = np.random.default_rng(5)
    times = [start + 120.0 + 15.0 * index + generator.uniform(-0.9, 0.9) for index in range(54)]
    seen = [each[pool.key] for each in await rounds(url, [pool], times)]
    traffic = [each.traffic for each in seen]
    assert all(each is not None for each in traffic), [signal(each, "arrivals") for each in seen]
    whole = [each for each in traffic if each is not None]
    assert all(one.end_seconds == other.start_seconds for one, other in zip(whole, whole[1:], strict=False))
    counted = math.fsum(each.arrivals for each in whole)
    truth = requests.between(whole[0].start_seconds - scrape / 2, whole[-1].end_seconds - scrape / 2)
    assert counted == pytest.approx(truth, abs=6.0 * math.sqrt(8.0 * scrape))
    assert min(each.arrivals for each in whole) > 0.0
    slots = {len(each.slot_counts) for each in whole}
    assert slots == ({3} if scrape == 5.0 else {1}), slots
