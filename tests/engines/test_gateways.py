"""Real gateways on loopback: what their clients know to be true against what Forebay reads of them.

The gateway's metrics are read between batches of requests and written into a Prometheus with the times of scrapes,
so that nothing waits. ``tools/setup-engines`` installs the programs; where they are missing the tests are skipped.
"""

import http.client
import http.server
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devcluster.ports import free_ports
from devcluster.processes import Component, ProcessHost
from devcluster.remotewrite import write
from forebay.flow.fleet import PoolKey, Role, Slo
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, PoolTarget, WorkloadTarget
from tests.cluster.telemetry_world import Samples, Server
from tests.keys import serve

PROGRAMS = Path(os.environ.get("FOREBAY_ENGINES", Path.home() / ".cache" / "forebay-engines" / "gateways")) / "bin"
pytestmark = pytest.mark.skipif(
    not (PROGRAMS / "vllm-router").exists(), reason="tools/setup-engines has not installed the gateways"
)
SCRAPE_SECONDS = 5
POD = "router-7d9f8b6c5d-x2k4z"


class Worker(http.server.BaseHTTPRequestHandler):
    """An engine that answers everything at once."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({"status": "ok"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        message = {"role": "assistant", "content": "a"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._answer({"id": "x", "object": "chat.completion", "model": "tiny", "choices": [choice]})

    def _answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def worker() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Worker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Router:
    """vllm-router in front of one worker."""

    def __init__(self, directory: Path, worker_url: str) -> None:
        directory.mkdir()
        self.port, self.metrics_port = free_ports(2)
        self.host = ProcessHost(directory)
        argv = [str(PROGRAMS / "vllm-router"), "--host", "127.0.0.1", "--port", str(self.port)]
        argv += ["--worker-urls", worker_url, "--policy", "round_robin"]
        argv += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(self.metrics_port)]
        self.component = Component(host=self.host, name="router", argv=tuple(argv), is_ready=self._is_ready)
        self.component.start()
        self.component.wait_ready()

    def ask(self, count: int, path: str = "/v1/chat/completions") -> None:
        """Send requests, one after the other."""
        body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi"})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for _ in range(count):
            connection.request("POST", path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()

    def scrape(self, at: float, samples: Samples) -> None:
        """Add what a scrape would store."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = {"__name__": sample.name, "namespace": "llm", "pod": POD, **sample.labels}
                samples.setdefault(tuple(sorted(labels.items())), []).append((at, sample.value))

    def close(self) -> None:
        self.component.kill()
        self.host.close()

    def _is_ready(self) -> bool:
        try:
            self.ask(1)
        except (OSError, AssertionError, http.client.HTTPException):
            return False
        return True


async def test_vllm_router_counts_what_clients_ask(tmp_path: Path) -> None:
    server = Server(tmp_path)
    samples: Samples = {}
    sent = 0
    with worker() as url:
        router = Router(tmp_path / "router", url)
        try:
            for number in range(60):  # quiet at both ends, so that all requests fall into whole rounds
                if 12 <= number < 46:
                    router.ask(number % 5, "/v1/completions" if number % 3 else "/v1/chat/completions")
                    sent += number % 5
                router.scrape(server.start + SCRAPE_SECONDS * number, samples)
        finally:
            router.close()
    try:
        write(server.url, samples)
        target = PoolTarget(
            key=PoolKey("llm", "p"),
            slo=Slo(ttft_seconds=1.0, itl_seconds=0.05),
            engine="vllm",
            workloads=(WorkloadTarget(variant=serve("a"), role=Role.SERVE, name="a"),),
            gateway=GatewayTarget(dialect="vllm-router", labels={"namespace": "llm", "pod": POD}),
        )
        telemetry = PrometheusTelemetry(PrometheusSettings(url=server.url, settle_seconds=2.0))
        seen = 0.0
        for round_number in range(2, 19):
            at = server.start + 15.0 * round_number + 4.0
            observed = (await telemetry.observe([target], at))[target.key]
            seen += observed.traffic.arrivals if observed.traffic is not None else 0.0
        await telemetry.close()
    finally:
        server.close()
    assert sent > 60
    assert seen == pytest.approx(sent, abs=1e-6)
