"""Queries against a real Prometheus: hostile names, long ones, its outages, real scrapes."""

import asyncio
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from signal import SIGHUP

import numpy as np
import pytest

from devcluster.components import HOST
from devcluster.remotewrite import write
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.observation import Problem
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.query.dialect import GAUGES, HISTOGRAMS, built_in
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.grouping import SharedQueries
from forebay.telemetry.query.promql import one_of
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, PoolTelemetry, WorkloadTarget
from forebay.telemetry.transport.client import PrometheusClient
from tests.cluster.telemetry.asking import counted, observe, rounds, signal, target, traffic_of
from tests.cluster.telemetry_world import Fleet, Server, deployment_pods, stream
from tests.keys import serve

V = serve("v")


async def test_one_bad_pool_does_not_spoil_the_round(server: Server, namespace: str) -> None:
    start = server.start
    requests = stream(16, 200.0, 8.0, 1, start + 100.0)
    write(server.url, Fleet(requests, deployment_pods("chat", 1), namespace, start=start).samples(start + 400.0))
    good = target(namespace, "chat", ready=1)
    bad = [
        replace(target(namespace, "a"), engine="no-such-engine"),
        replace(target(namespace, "b"), labels={'x"} or vector(1) #': "y"}),
        target(namespace, '") or vector(1) #', kind="Strange"),
        replace(target(namespace, "c"), forecast_query="sum("),
        replace(target(namespace, "d"), gateway=GatewayTarget(dialect="vllm", labels={"a": "b"})),
        replace(target(namespace, "e"), labels={"model_name": '"} or vector(1e9) #'}),
    ]
    seen = await observe(server, [good, *bad], rounds(start + 90.0, start + 360.0))
    assert counted(seen, good) == pytest.approx(len(requests.arrival))
    for pool in bad:
        assert all(each[pool.key].traffic is None for each in seen)
    assert "use one of dynamo, lmdeploy" in signal(seen[0][bad[0].key], "arrivals").detail
    assert signal(seen[0][bad[3].key], "forecast").problem is Problem.UNREACHABLE


async def test_an_external_forecast_is_read_as_data(server: Server, namespace: str) -> None:
    pools = [
        replace(target(namespace, name), forecast_query=query)
        for name, query in (
            ("scalar", "12.5"),
            ("vector", "vector(3)"),
            ("none", "absent_metric"),
            ("nan", "vector(0)/0"),
            ("two", 'vector(1) or label_replace(vector(2),"a","b","","")'),
            ("below", "vector(-1)"),
        )
    ]
    seen = (await observe(server, pools, [server.start + 300.0]))[0]
    found = {key.name: each.external_forecast for key, each in seen.items()}
    assert {name: each.requests_per_second for name, each in found.items() if each is not None} == {
        "scalar": 12.5,
        "vector": 3.0,
    }
    said = {key.name: signal(each, "forecast").detail for key, each in seen.items()}
    # Series are the operator's to read, not the tenant's: failures quote none of them.
    assert {said[name] for name in ("none", "two")} == {"the query does not give exactly one number"}
    assert said["below"] == "the query gives less than zero requests"


@pytest.mark.parametrize("name", sorted(built_in()))
async def test_the_server_accepts_every_query_of_every_dialect(server: Server, name: str) -> None:
    dialect = built_in()[name]
    settings = PrometheusSettings(url=server.url)
    odd = 'we"i\\rd\n$1{}'
    workload = WorkloadTarget(variant=V, role=Role.SERVE, name=odd, kind="StatefulSet")
    if dialect.kind == "engine":
        groups = [
            SharedQueries(dialect, ("namespace", "model_name"), (one_of("namespace", [odd, "b"]),)),
            SharedQueries(dialect, ("namespace",), (), separate=(workload,)),
        ]
    else:
        groups = [SharedQueries(dialect, ("model_name",), (one_of("model_name", [odd]),), workloads=False)]
    client = PrometheusClient(settings)
    try:
        for group in groups:
            for ask in (
                Expressions(group, settings, None, 45),
                Expressions(group, replace(settings, workload_label="app"), None, 45),
            ):
                for query in queries(ask):
                    found = await client.instant(query, server.start, kind="test", read=lambda result: result)
                    assert found == [], query
    finally:
        await client.close()


def queries(ask: Expressions) -> list[str]:
    dialect = ask.group.dialect
    result: list[str | None] = [
        ask.newest(),
        ask.replicas(),
        ask.engines(),
        ask.scrapes(300),
        ask.names(),
        ask.edges(list(dialect.signals)),
        ask.kv_config(),
    ]
    for each in dialect.signals:
        if each in HISTOGRAMS:
            result += [ask.growth(each, 15, suffix=suffix) for suffix in ("_sum", "_count")]
            result += [ask.growth(each, 15, suffix="_bucket", edges=["+Inf", "1.0"])]
            result += [ask.quantile(each, 0.95, 300)]
        elif each in GAUGES:
            result += [ask.change(each, 15), ask.level(each)]
        else:
            result += [ask.growth(each, 15), ask.born(each, 15)]
    return [query for query in result if query is not None]


async def test_prometheus_killed_and_back(server: Server, namespace: str) -> None:
    """Protects: without Prometheus nothing is known; afterwards the arrivals of the outage are made up for."""
    start = server.start
    requests = stream(17, 400.0, 8.0, 2, start + 100.0)
    write(server.url, Fleet(requests, deployment_pods("chat", 2), namespace, start=start).samples(start + 700.0))
    pool = target(namespace, "chat", ready=2)
    source = PrometheusTelemetry(
        PrometheusSettings(url=server.url, retries=0, breaker_cool_down_seconds=0.01, breaker_failures=3)
    )
    seen: list[Mapping[PoolKey, PoolTelemetry]] = []
    try:
        for at in np.arange(start + 90.0, start + 650.0, 15.0):
            if at == start + 300.0:
                server.component.kill()
            if at == start + 390.0:
                server.component.restart()
            seen.append(await source.observe([pool], float(at)))
    finally:
        await source.close()
    down = [each[pool.key] for each in seen if start + 290.0 <= each[pool.key].at_seconds < start + 385.0]
    assert len(down) == 6
    assert all(each.traffic is None and not each.engines for each in down)
    assert {signal(each, "arrivals").problem for each in down} == {Problem.UNREACHABLE}
    assert counted(seen, pool) == pytest.approx(len(requests.arrival), abs=1e-6)


class _Exporter(BaseHTTPRequestHandler):
    """Serves a counter that grows by ten a second."""

    began = 0.0

    def do_GET(self) -> None:
        total = math.floor(10.0 * (time.monotonic() - type(self).began))
        gauges = ("vllm:num_requests_running 3", "vllm:num_requests_waiting 0")
        lines = (f"vllm:request_success_total {total}", *gauges)
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


async def test_real_scrapes(server: Server, namespace: str) -> None:
    """Protects: what holds for written samples holds for scraped ones."""
    _Exporter.began = time.monotonic()
    exporter = ThreadingHTTPServer((HOST, 0), _Exporter)
    thread = threading.Thread(target=exporter.serve_forever, daemon=True)
    thread.start()
    labels = f"{{namespace: {namespace}, pod: chat-7d9f8b6c5d-x2k4z}}"
    config = (
        "scrape_configs:\n- job_name: engines\n  scrape_interval: 1s\n  scrape_timeout: 1s\n"
        f"  static_configs:\n  - targets: ['{HOST}:{exporter.server_port}']\n    labels: {labels}\n"
    )
    try:
        server.config.write_text(config)
        server.component.signal(SIGHUP)
        settings = PrometheusSettings(url=server.url, interval_seconds=2.0, grid_seconds=1, settle_seconds=0.5)
        source = PrometheusTelemetry(settings)
        pool = target(namespace, "chat", ready=1)
        seen = []
        for _ in range(20):
            await asyncio.sleep(2.0)
            seen.append(await source.observe([pool], time.time()))
            if len(traffic_of(seen, pool)) == 5:
                break
        await source.close()
    finally:
        exporter.shutdown()
        exporter.server_close()
        thread.join()
    traffic = traffic_of(seen, pool)
    assert len(traffic) == 5, [each[pool.key].freshness for each in seen]
    span = traffic[-1].end_seconds - traffic[0].end_seconds
    assert math.fsum(each.arrivals for each in traffic[1:]) == pytest.approx(10.0 * span, abs=12.0)
    ages = [signal(each[pool.key], "arrivals").age_seconds for each in seen if each[pool.key].traffic is not None]
    assert all(age is not None and 0.0 <= age <= 2.0 for age in ages)


@pytest.mark.parametrize("length", [9 * 1024, 3 * 1024 * 1024])
async def test_a_query_longer_than_any_address_is_answered(server: Server, length: int) -> None:
    """Protects large fleets: proxies refuse addresses beyond 8 KiB or so, and Prometheus itself beyond 1 MiB."""
    client = PrometheusClient(PrometheusSettings(url=server.url))
    query = "# " + "x" * length + "\nvector(42)"
    try:
        found = await client.instant(query, server.start, kind="test", read=lambda result: result)
        history = await client.range(
            query, int(server.start), int(server.start) + 60, 15, kind="test", read=lambda result: result
        )
    finally:
        await client.close()
    assert found == [{"metric": {}, "value": [server.start, "42"]}]
    times = [int(server.start) + offset for offset in range(0, 61, 15)]
    assert history == [{"metric": {}, "values": [[at, "42"] for at in times]}]
