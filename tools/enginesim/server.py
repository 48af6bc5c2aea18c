"""HTTP on loopback: every target's metrics, service discovery, status and the fault switch."""

import json
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from enginesim.errors import EngineSimError
from enginesim.exposition import CONTENT_TYPE
from enginesim.faults import parse_fault
from enginesim.simulator import Simulator

JSON = "application/json"
_PREFIX, _SUFFIX = "/targets/", "/metrics"
_LONGEST_BODY = 65_536
_POLL_SECONDS = 0.05
"""How soon the server notices that it is closed."""


class MetricsServer:
    """Serves a simulator until it is closed; a context manager."""

    def __init__(self, simulator: Simulator, host: str, port: int) -> None:
        """Listen at ``host:port`` (port 0: any free one).

        Raises:
            OSError: the address is taken.
        """

        class Handler(_Handler):
            served = simulator

        self._server = _Server((host, port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )

    @property
    def address(self) -> str:
        """Return host:port."""
        host, port = self._server.server_address[:2]
        return f"{host if isinstance(host, str) else host.decode()}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """Says nothing of scrapers that go away in mid-request; anything else is told as usual."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of what went wrong, unless the other side broke the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    served: Simulator
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(_PREFIX) and path.endswith(_SUFFIX):
            text = self.served.metrics(path.removeprefix(_PREFIX).removesuffix(_SUFFIX))
            if text is None:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", "this target does not answer\n")
            else:
                self._answer(HTTPStatus.OK, CONTENT_TYPE, text)
        elif path == "/sd":
            host = self.headers.get("Host") or "127.0.0.1"
            self._json(HTTPStatus.OK, self.served.discovery(host))
        elif path in ("/status", "/faults"):
            status = self.served.status()
            self._json(HTTPStatus.OK, status if path == "/status" else status["faults"])
        elif path == "/healthz":
            self._answer(HTTPStatus.OK, "text/plain", "ok\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "try /sd, /status, /faults or /healthz\n")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/faults" or length > _LONGEST_BODY:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "POST a fault to /faults\n")
            return
        try:
            fault = parse_fault(json.loads(self.rfile.read(length)))
        except EngineSimError as error:
            self._answer(HTTPStatus.BAD_REQUEST, "text/plain", f"{error}\n")
        except ValueError:
            self._answer(HTTPStatus.BAD_REQUEST, "text/plain", "the body is not JSON\n")
        else:
            self.served.inject(fault)
            self._json(HTTPStatus.OK, self.served.status()["faults"])

    def do_DELETE(self) -> None:
        if self.path != "/faults":
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "DELETE /faults ends all faults\n")
            return
        self.served.faults.clear()
        self._json(HTTPStatus.OK, [])

    def _json(self, status: HTTPStatus, data: object) -> None:
        self._answer(status, JSON, json.dumps(data))

    def _answer(self, status: HTTPStatus, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay quiet: a scrape every few seconds is no news."""
