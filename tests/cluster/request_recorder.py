"""A proxy before the API server that notes what a client asks for: the rights that it really uses."""

import asyncio
import ssl
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

_START_SECONDS = 10.0
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in the words of RBAC: `resource` has its subresource behind a slash."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    status: int


def in_words_of_rbac(method: str, path: str, query: str, status: int) -> Asked | None:
    """Return what a request asks for; None for discovery and what else is no resource."""
    root, *parts = path.strip("/").split("/")
    if root not in {"api", "apis"}:
        return None
    group, rest = ("", parts[1:]) if root == "api" else ("".join(parts[:1]), parts[2:])
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return None
    resource, name, *sub = (*rest, "", "")[: max(2, len(rest))]
    verb = _VERBS.get(method) or ("get" if name else "watch" if "watch" in parse_qs(query) else "list")
    return Asked(verb, group, "/".join((resource, *sub)), namespace, name, status)


class RequestRecorder:
    """Forwards plain HTTP on loopback to an API server and notes each request; a context manager.

    Args:
        server: the API server's address.
        authorities: its certificate authorities, a file.
    """

    def __init__(self, server: str, authorities: str) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=authorities)
        self._asked: set[Asked] = set()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        # What still streams when it stops, such as a watch, is cancelled by `asyncio.run`.
        serve = self._serve
        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), name="request-recorder", daemon=True)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise TimeoutError("the recording proxy did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_SECONDS)

    def asked(self) -> set[Asked]:
        """Return what was asked for so far."""
        return set(self._asked)

    async def _serve(self) -> None:
        timeout = ClientTimeout(total=None, sock_connect=5.0)
        connector = TCPConnector(ssl=self._tls, limit=0)
        async with ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            server = web.Server(lambda request: self._forward(session, request), access_log=None)
            runner = web.ServerRunner(server, shutdown_timeout=1.0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _forward(self, session: ClientSession, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        body = await request.read()
        url = f"{self._server}{request.raw_path}"
        async with session.request(request.method, url, headers=headers, data=body or None) as answer:
            asked = in_words_of_rbac(request.method, request.path, request.query_string, answer.status)
            if asked is not None:
                self._asked.add(asked)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            if encoding := answer.headers.get("Content-Encoding"):
                kept["Content-Encoding"] = encoding
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
