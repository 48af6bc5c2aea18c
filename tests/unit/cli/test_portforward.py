"""A request through a port-forward, against a server that speaks the API server's side of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from forebay.actuation.kube import ApiError, KubeApi
from forebay.cli.portforward import PortForwardError, get_from_pod

POD = "/api/v1/namespaces/forebay-system/pods/forebay-1"
PORT = (8080).to_bytes(2, "little")
Frames = list[bytes]


@asynccontextmanager
async def serving(frames: Frames, asked: Frames) -> AsyncIterator[KubeApi]:
    async def forward(request: web.Request) -> web.WebSocketResponse:
        assert request.query["ports"] == "8080"
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        for channel in (0, 1):
            await socket.send_bytes(bytes([channel]) + PORT)
        asked.append((await socket.receive()).data)
        for frame in frames:
            await socket.send_bytes(frame)
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get(f"{POD}/portforward", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with KubeApi(configuration) as api:
            yield api
    finally:
        await runner.cleanup()


async def test_an_answer_comes_in_pieces() -> None:
    asked: Frames = []
    pieces = [b"\x00HTTP/1.1 200 OK\r\nContent-Le", b'\x00ngth: 13\r\n\r\n{"mode": ', b'\x00"A"}']
    async with serving(pieces, asked) as api:
        assert await get_from_pod(api, POD, 8080, "/decisions/serving/chat") == (200, b'{"mode": "A"}')
    assert asked[0].startswith(b"\x00GET /decisions/serving/chat HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("frames", "words"),
    [([b"\x01connection refused"], "connection refused"), ([], "no HTTP"), ([b"\x00SSH-2.0 hello"], "no HTTP")],
)
async def test_what_is_no_answer_is_said(frames: Frames, words: str) -> None:
    async with serving(frames, []) as api:
        with pytest.raises(PortForwardError, match=words):
            await get_from_pod(api, POD, 8080, "/decisions/serving/chat")


async def test_a_pod_that_is_not_there_is_an_error_of_the_api() -> None:
    async with serving([], []) as api:
        with pytest.raises(ApiError) as caught:
            await get_from_pod(api, f"{POD}-gone", 8080, "/decisions/serving/chat")
    assert caught.value.not_found
