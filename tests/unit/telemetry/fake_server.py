"""A loopback HTTP server that speaks as much of Prometheus' API as a test wants, and breaks it as told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(slots=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    parameters: dict[str, str]
    address: str = ""
    """The path with its query, as in the request's first line."""


Reply = Callable[["Handler"], None]


@dataclass(slots=True)
class FakeServer:
    """What the server was asked, and how it replies next; the last reply is used for all further requests."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    """Set it to end replies that hang."""

    def next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class Handler(BaseHTTPRequestHandler):
    """Hands every request to the reply that the test chose."""

    fake: FakeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_POST = do_GET  # noqa: N815

    def _handle(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        parameters = {name: values[0] for name, values in parse_qs(parts.query + "&" + body.decode()).items()}
        self.fake.asked.append(Asked(self.command, parts.path, dict(self.headers.items()), parameters, self.path))
        self.fake.next()(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class QuietServer(ThreadingHTTPServer):
    """Says nothing about connections that break: the tests break them on purpose."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


def success(result: object, kind: str = "vector") -> Reply:
    body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()
    return lambda handler: handler.send(200, body, Content_Type="application/json")


def status(code: int, body: bytes = b"", **headers: str) -> Reply:
    return lambda handler: handler.send(code, body, **headers)


def raw(*parts: bytes) -> Reply:
    """Reply with bytes as they are, and close."""

    def reply(handler: Handler) -> None:
        for part in parts:
            handler.wfile.write(part)
        handler.close_connection = True

    return reply


def hang(handler: Handler) -> None:
    """Reply with nothing until the test is over."""
    handler.fake.release.wait(10.0)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Reply with one byte now and then, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not handler.fake.release.wait(0.02):
        try:
            handler.wfile.write(b" ")
        except OSError:
            break
    handler.close_connection = True


@contextmanager
def running() -> Iterator[FakeServer]:
    """Run a server on a free port of the loopback interface."""
    fake = FakeServer(replies=[success([])])
    handler = type("BoundHandler", (Handler,), {"fake": fake})
    http = QuietServer(("127.0.0.1", 0), handler)
    fake.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.release.set()
        http.shutdown()
        http.server_close()
        thread.join()
