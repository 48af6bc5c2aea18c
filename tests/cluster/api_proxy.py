"""A proxy before the API server that answers 429 when told to, as an overloaded API server does."""

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from devcluster import Cluster

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "keep-alive"})
_BUSY = b'{"kind":"Status","status":"Failure","reason":"TooManyRequests","code":429,"message":"too busy"}'


@dataclass(slots=True)
class Storm:
    """What is refused now, and what was.

    Attributes:
        refuses: whether a request with this method and path is answered 429.
        retry_after_seconds: told with each refusal.
        refused: monotonic time, method and path of each refusal.
    """

    retry_after_seconds: int
    refuses: Callable[[str, str], bool] = lambda method, path: False
    refused: list[tuple[float, str, str]] = field(default_factory=list)

    @contextmanager
    def rages(self, refuses: Callable[[str, str], bool]) -> Iterator[None]:
        """Refuse for as long as the context lasts."""
        self.refuses = refuses
        try:
            yield
        finally:
            self.refuses = lambda method, path: False


class _Handler(BaseHTTPRequestHandler):
    """Passes a request on, and its answer back as it comes."""

    storm: Storm
    host: str
    tls: ssl.SSLContext

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.close_connection = True
        if self.storm.refuses(self.command, path):
            self.storm.refused.append((time.monotonic(), self.command, path))
            self.send_response(429)
            self.send_header("Retry-After", str(self.storm.retry_after_seconds))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(_BUSY)))
            self.end_headers()
            self.wfile.write(_BUSY)
            return
        self._pass_on(body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _pass_on(self, body: bytes) -> None:
        upstream = http.client.HTTPSConnection(self.host, context=self.tls, timeout=300.0)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            while chunk := answer.read1(65_536):
                self.wfile.write(chunk)
        except OSError:
            # Either side went away; the other is told by the end of the connection.
            return
        finally:
            upstream.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that are killed break their connections."""


@contextmanager
def api_proxy(cluster: Cluster, storm: Storm) -> Iterator[str]:
    """Run a proxy before the cluster's API server; yields its address."""
    configuration = cluster.api().configuration
    handler = type(
        "Handler",
        (_Handler,),
        {
            "storm": storm,
            "host": urlsplit(configuration.host).netloc,
            "tls": ssl.create_default_context(cafile=configuration.ssl_ca_cert),
        },
    )
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)


def kubeconfig_through(url: str, kubeconfig: Path, path: Path) -> Path:
    """Write a kubeconfig at ``path`` that is ``kubeconfig`` but for the address of its server."""
    content = yaml.safe_load(kubeconfig.read_text())
    for entry in content["clusters"]:
        entry["cluster"] = {"server": url}
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o600)
    return path
