"""What `helm test` runs: it passes for an operator that is ready, and says in a sentence what else it meets."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.openmetrics.exposition import generate_latest

from forebay.runtime.metrics import Metrics

SCRIPT = Path(__file__).resolve().parents[3] / "charts" / "forebay" / "files" / "test.py"
METRICS: bytes = generate_latest(Metrics().registry)  # type: ignore[no-untyped-call]


@contextmanager
def service(readyz: tuple[int, bytes], metrics: bytes) -> Iterator[str]:
    """Serve two answers; yield the address."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = readyz if self.path == "/readyz" else (200, metrics)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(address: str) -> tuple[int, str]:
    """Run the script as the pod does, but without patience; return its exit status and what it says."""
    command = [sys.executable, "-c", SCRIPT.read_text(), address, "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert not done.stderr
    return done.returncode, done.stdout.strip()


def test_a_ready_operator_passes() -> None:
    with service((200, b"ready"), METRICS) as address:
        assert ask(address) == (0, f"{address} is ready and has metrics")


@pytest.mark.parametrize(
    ("readyz", "metrics", "sentence"),
    [
        ((503, b"waits for caches"), METRICS, "/readyz answers 503: waits for caches"),
        ((200, b"ready"), b"# EOF\n", "/metrics is not Forebay's: it has no forebay_build_info"),
    ],
)
def test_what_is_wrong_is_said(readyz: tuple[int, bytes], metrics: bytes, sentence: str) -> None:
    with service(readyz, metrics) as address:
        assert ask(address) == (1, address + sentence)


def test_a_service_without_pods_is_named() -> None:
    with service((200, b""), METRICS) as address:
        pass
    status, said = ask(address)
    assert status == 1
    assert said.startswith(f"{address}/readyz cannot be reached: ")
