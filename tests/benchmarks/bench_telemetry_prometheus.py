"""What a round asks of Prometheus itself: 1,000 pools with 2,000 workloads and 4,000 replicas, on a real server.

pytest tests/benchmarks/bench_telemetry_prometheus.py -m benchmark -s
"""

import math
import os
import statistics
import time
from collections import defaultdict
from pathlib import Path

import pytest

from devcluster.remotewrite import Labels, write
from forebay.flow.fleet import PoolKey, Role, Slo
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import PoolTarget, WorkloadTarget
from forebay.telemetry.transport.meter import NullMeter
from tests.cluster.telemetry_world import Samples, Server
from tests.keys import decode, prefill

P, D = prefill("p"), decode("d")

POOLS = 1_000
REPLICAS = 2
MINUTES = 11
SCRAPE_SECONDS = 15
COUNTERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("vllm:request_success_total", {"finished_reason": "stop"}),
    ("vllm:request_success_total", {"finished_reason": "length"}),
    ("vllm:request_success_total", {"finished_reason": "abort"}),
    ("vllm:generation_tokens_total", {}),
    ("vllm:prompt_tokens_total", {}),
    ("vllm:prefix_cache_queries_total", {}),
    ("vllm:prefix_cache_hits_total", {}),
    ("vllm:request_prefill_time_seconds_sum", {}),
    ("vllm:request_prefill_time_seconds_count", {}),
    ("vllm:request_prompt_tokens_sum", {}),
    ("vllm:request_prompt_tokens_count", {}),
    ("vllm:time_to_first_token_seconds_count", {}),
    ("vllm:request_time_per_output_token_seconds_count", {}),
)
HISTOGRAMS = (
    ("vllm:time_to_first_token_seconds_bucket", ("0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf")),
    ("vllm:request_time_per_output_token_seconds_bucket", ("0.025", "0.05", "0.1", "0.2", "+Inf")),
    ("vllm:request_prompt_tokens_bucket", ("100.0", "500.0", "1000.0", "5000.0", "+Inf")),
)
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")


def fleet() -> list[PoolTarget]:
    return [
        PoolTarget(
            key=PoolKey(f"team-{index % 20}", f"model-{index}"),
            slo=Slo(ttft_seconds=1.0, itl_seconds=0.05),
            engine="vllm",
            workloads=(
                WorkloadTarget(variant=P, role=Role.PREFILL, name=f"model-{index}-p", ready_replicas=REPLICAS),
                WorkloadTarget(variant=D, role=Role.DECODE, name=f"model-{index}-d", ready_replicas=REPLICAS),
            ),
        )
        for index in range(POOLS)
    ]


def samples_of(targets: list[PoolTarget], start: float) -> Samples:
    """Return the series of some pools: every counter grows by 30 a scrape."""
    result: Samples = {}
    scrapes = MINUTES * 60 // SCRAPE_SECONDS
    for number, target in enumerate(targets):
        for workload in target.workloads:
            for replica in "bcdfghjklm"[:REPLICAS]:
                phase = start + (number * 7.3 + ord(replica)) % SCRAPE_SECONDS
                times = [phase + SCRAPE_SECONDS * index for index in range(scrapes)]
                counter = [(at, 30.0 * index) for index, at in enumerate(times)]
                gauge = [(at, 0.5) for at in times]
                pod = f"{workload.name}-7d9f8b6c5d-{replica}2k4z"
                base: Labels = (("namespace", target.key.namespace), ("pod", pod), ("job", "engines"))
                for name, labels in COUNTERS:
                    result[(("__name__", name), *base, *labels.items())] = counter
                for name, edges in HISTOGRAMS:
                    for edge in edges:
                        result[(("__name__", name), *base, ("le", edge))] = counter
                for name in GAUGES:
                    result[(("__name__", name), *base)] = gauge
    return result


class QueryTimes(NullMeter):
    """Remembers how long each kind of question took."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def query_finished(self, kind: str, seconds: float, outcome: str) -> None:
        assert outcome == "ok", (kind, outcome)
        self.seconds[kind].append(seconds)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.benchmark
@pytest.mark.timeout(580)
async def test_a_round_against_a_real_prometheus(tmp_path: Path) -> None:
    server = Server(tmp_path)
    meter = QueryTimes()
    source = PrometheusTelemetry(
        PrometheusSettings(url=server.url, read_timeout_seconds=30.0, query_timeout_seconds=60.0), meter=meter
    )
    try:
        targets = fleet()
        series = 0
        for first in range(0, POOLS, 50):
            samples = samples_of(targets[first : first + 50], server.start)
            series += len(samples)
            write(server.url, samples)
        walls: list[float] = []
        served: list[float] = []
        ours: list[float] = []
        for index in range(8):
            if index == 1:
                meter.seconds.clear()
            wall, theirs, mine = time.monotonic(), cpu_seconds(server.pid), time.process_time()
            seen = await source.observe(targets, server.start + 500.0 + 15.0 * index)
            walls.append(time.monotonic() - wall)
            served.append(cpu_seconds(server.pid) - theirs)
            ours.append(time.process_time() - mine)
            arrivals = [each.traffic.arrivals for each in seen.values() if each.traffic is not None]
            assert len(arrivals) == POOLS
            assert math.isclose(statistics.fmean(arrivals), 30.0 * 3 * REPLICAS, rel_tol=0.05)
    finally:
        await source.close()
        server.close()
    print(f"\n{POOLS} pools, {2 * POOLS} workloads, {2 * POOLS * REPLICAS} replicas, {series} series")
    print(f"first round {walls[0]:.2f} s; then {' '.join(f'{each:.2f}' for each in walls[1:])} s")
    print(f"CPU of Prometheus a round {' '.join(f'{each:.2f}' for each in served[1:])} s")
    print(f"CPU of the operator a round {' '.join(f'{each:.2f}' for each in ours[1:])} s")
    for kind, seconds in sorted(meter.seconds.items(), key=lambda each: -statistics.fmean(each[1]))[:8]:
        print(f"  {kind:32} {statistics.fmean(seconds):6.3f} s on average, {len(seconds)} times")
