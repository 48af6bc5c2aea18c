"""A Prometheus of one's own, and streams of requests that are written into it as engines would export them."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from devcluster.binaries import Binaries
from devcluster.components import HOST, prometheus_argv
from devcluster.http_probe import answers_ok
from devcluster.ports import free_ports
from devcluster.processes import Component, ProcessHost
from devcluster.remotewrite import STALE, Labels

SCRAPE = 15.0

Samples = dict[Labels, list[tuple[float, float]]]


class Server:
    """A Prometheus of this module's own; tests share it, each with a namespace of its own."""

    def __init__(self, directory: Path) -> None:
        config = directory / "prometheus.yaml"
        config.write_text("global: {}\n")
        (port,) = free_ports(1)
        self.url = f"http://{HOST}:{port}"
        self.config = config
        self.host = ProcessHost(directory)
        program = Binaries.from_environment().path("prometheus")
        argv = prometheus_argv(program, port, config, directory / "data", receives=True)
        self.component = Component(
            host=self.host, name="prometheus", argv=argv, is_ready=lambda: answers_ok(f"{self.url}/-/ready")
        )
        self.pid = self.component.start()
        self.component.wait_ready()
        self.start = math.floor(time.time() / 60.0) * 60.0 - 3000.0
        """A time in the past from which on samples are accepted."""

    def close(self) -> None:
        self.component.kill()
        self.host.close()


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


def joined(one: Requests, other: Requests) -> Requests:
    return Requests(
        *(np.concatenate([getattr(one, each.name), getattr(other, each.name)]) for each in fields(Requests))
    )


def deployment_pods(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}-7d9f8b6c5d-{'bcdfghjklm'[index]}2k4z" for index in range(count))
