"""An API server of two kinds over real HTTP whose watches do what a test scripts."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PODS = "/api/v1/pods"
POOLS = "/apis/forebay.io/v1alpha1/inferencepools"

Watch = Callable[[web.Request], Awaitable[web.StreamResponse]]

_VERBS = ["get", "list", "patch", "watch"]


def _resource(plural: str, kind: str) -> dict[str, object]:
    return {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": _VERBS}


_VERSION = {"groupVersion": "forebay.io/v1alpha1", "version": "v1alpha1"}
_DISCOVERY: Mapping[str, object] = {
    "/api": {"versions": ["v1"]},
    # kopf does not begin before it has seen that there are namespaces.
    "/api/v1": {"resources": [_resource("pods", "Pod"), _resource("namespaces", "Namespace")]},
    "/apis": {"groups": [{"name": "forebay.io", "versions": [_VERSION], "preferredVersion": _VERSION}]},
    "/apis/forebay.io/v1alpha1": {"resources": [_resource("inferencepools", "InferencePool")]},
}


def told(*lines: str) -> Watch:
    """Return a watch that sends these lines and ends."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line.encode() + b"\n")
        return response

    return answer


def torn(line: str) -> Watch:
    """Return a watch whose connection breaks in the middle of a line."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(line[: len(line) // 2].encode())
        assert request.transport is not None
        request.transport.abort()
        return response

    return answer


def refused(status: int) -> Watch:
    """Return a watch that is not allowed to begin."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "code": status, "message": "not now"}, status=status)

    return answer


def error_event(code: int) -> str:
    """Return a line of a watch that tells of an error."""
    status = {"kind": "Status", "status": "Failure", "code": code, "message": "something broke"}
    return json.dumps({"type": "ERROR", "object": status})


@dataclass(slots=True)
class WatchServer:
    """Lists its ``items``; each watch of a path takes the next of its ``watches``, and after them stays silent."""

    url: str = ""
    items: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    watches: dict[str, list[Watch]] = field(default_factory=lambda: defaultdict(list))
    lists: Counter[str] = field(default_factory=Counter)
    open: Counter[str] = field(default_factory=Counter)
    """Watches that are open now."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        path = request.path
        if path in _DISCOVERY:
            return web.json_response(_DISCOVERY[path])
        if "watch" not in request.query:
            self.lists[path] += 1
            return web.json_response({"items": self.items[path], "metadata": {"resourceVersion": "1"}})
        if self.watches[path]:
            return await self.watches[path].pop(0)(request)
        return await self._silence(request)

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.open[request.path] += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.open[request.path] -= 1
        return response


@asynccontextmanager
async def watch_server() -> AsyncIterator[WatchServer]:
    """Run a server as long as the context lasts."""
    fake = WatchServer()
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", fake.handle)
    # A watch whose client is gone is cancelled, so that `open` counts those that are heard.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
