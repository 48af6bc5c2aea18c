"""A little API server over real HTTP: answers what a test scripts, and remembers what it was asked."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from forebay.actuation.kube import KubeApi


@dataclass(slots=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class FakeServer:
    """Answers by method and path; anything else is 404, as from the real one."""

    url: str = ""
    answers: dict[tuple[str, str], list[web.Response | Callable[[], web.Response]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def on(self, method: str, path: str, status: int, body: object, **headers: str) -> None:
        """Script the next answer to a request; the last one stays."""

        def make() -> web.Response:
            return web.Response(
                status=status,
                text=body if isinstance(body, str) else json.dumps(body),
                headers={"Content-Type": "application/json", **headers},
            )

        self.answers.setdefault((method, path), []).append(make)

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.asked.append(Asked(request.method, request.path, dict(request.query), dict(request.headers), body))
        scripted = self.answers.get((request.method, request.path))
        if not scripted:
            return web.json_response({"kind": "Status", "reason": "NotFound", "message": "none"}, status=404)
        answer = scripted.pop(0) if len(scripted) > 1 else scripted[0]
        return answer if isinstance(answer, web.Response) else answer()


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A running fake server."""
    fake = FakeServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@dataclass(slots=True)
class Clock:
    """Seconds that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
async def api(server: FakeServer, clock: Clock) -> AsyncIterator[KubeApi]:
    """A client of the fake server."""
    configuration = Configuration()
    configuration.host = server.url
    configuration.api_key = {"BearerToken": "Bearer secret"}
    async with KubeApi(configuration, timeout_seconds=2.0, clock=clock) as client:
        yield client
