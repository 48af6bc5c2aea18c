"""Engines and load generator over sockets on loopback: requests are spread, counted, and outlive an engine."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from enginepod.engine import Engine
from enginepod.load import Limits, LoadGenerator
from enginepod.recording import Recording
from enginepod.server import Server
from enginepod.spread import Endpoints
from enginepod.traffic import Request
from forebay.flow.performance import Performance

FAST = Performance(
    prefill_base_seconds=0.01,
    prefill_seconds_per_token=0.0,
    decode_base_seconds=0.001,
    decode_seconds_per_sequence=0.0,
    decode_seconds_per_kv_token=0.0,
    max_batch=8,
    kv_capacity_tokens=10_000,
)
TRAFFIC = [Request(0.0, 20, 5) for _ in range(8)]


@asynccontextmanager
async def serving(host: str, port: int = 0) -> AsyncIterator[tuple[int, Server]]:
    """An engine on a loopback address of its own, as a pod has; yields its port."""
    engine = Engine(FAST, time.monotonic())
    server = Server(engine, Recording(model="chat", dialect="vllm", engine=engine), model="chat")
    runner = web.AppRunner(server.application(), handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    stepping = asyncio.create_task(server.step())
    try:
        yield runner.addresses[0][1], server
    finally:
        stepping.cancel()
        await runner.cleanup()


async def idle(in_flight: Callable[[], int]) -> None:
    async with asyncio.timeout(10):
        while in_flight():  # noqa: ASYNC110 - a look every 10 ms, for at most 10 s
            await asyncio.sleep(0.01)


async def play(generator: LoadGenerator) -> None:
    await generator.play(iter(TRAFFIC))
    await idle(lambda: generator.in_flight)


async def endpoints(port: int, *addresses: str) -> Endpoints:
    async def resolve(_host: str, _port: int) -> list[str]:
        return list(addresses)

    made = Endpoints("engines", port, resolve=resolve)
    await made.refresh()
    return made


async def metrics(address: str, port: int, session: aiohttp.ClientSession) -> dict[str, float]:
    async with session.get(f"http://{address}:{port}/metrics") as answer:
        lines = (line for line in (await answer.text()).splitlines() if not line.startswith("#"))
        pairs = (line.rpartition(" ") for line in lines)
        return {series: float(value) for series, _, value in pairs}


async def test_requests_are_split_over_prefill_and_decode_and_counted_once_each() -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        prefill, _ = await stack.enter_async_context(serving("127.0.0.1"))
        await stack.enter_async_context(serving("127.0.0.2", prefill))
        decode, _ = await stack.enter_async_context(serving("127.0.0.1"))
        generator = LoadGenerator(
            model="chat",
            first=await endpoints(prefill, "127.0.0.1", "127.0.0.2"),
            second=await endpoints(decode, "127.0.0.1"),
            session=session,
            limits=Limits(),
        )
        await play(generator)
        assert generator.status(ttft_seconds=5, itl_seconds=1)["attainment"] == 1.0
        finished = 'vllm:request_success_total{model_name="chat",engine="0",finished_reason="stop"}'
        each = [await metrics(address, prefill, session) for address in ("127.0.0.1", "127.0.0.2")]
        assert [one[finished] for one in each] == [4, 4]
        last = await metrics("127.0.0.1", decode, session)
        assert last[finished] == 8
        assert last['vllm:generation_tokens_total{model_name="chat",engine="0"}'] == pytest.approx(40)
        assert last['vllm:prompt_tokens_total{model_name="chat",engine="0"}'] == 160


async def test_a_request_whose_engine_is_gone_goes_to_another() -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        port, _ = await stack.enter_async_context(serving("127.0.0.2"))
        generator = LoadGenerator(
            model="chat",
            first=await endpoints(port, "127.0.0.1", "127.0.0.2"),
            second=None,
            session=session,
            limits=Limits(),
        )
        await play(generator)
        assert generator.tally.succeeded == len(TRAFFIC)
        assert generator.tally.retried >= 1
        assert generator.tally.failed == 0


async def test_what_exceeds_the_limits_is_left_out_and_counted() -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        port, _ = await stack.enter_async_context(serving("127.0.0.1"))
        generator = LoadGenerator(
            model="chat",
            first=await endpoints(port, "127.0.0.1"),
            second=None,
            session=session,
            limits=Limits(requests_per_second=3),
        )
        await play(generator)
        assert generator.tally.left_out > 0
        assert generator.tally.sent + generator.tally.left_out == len(TRAFFIC)


async def test_a_client_that_leaves_frees_its_engine() -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        port, server = await stack.enter_async_context(serving("127.0.0.1"))
        body = {"prompt": "word", "max_tokens": 100_000, "stream": True}
        url = f"http://127.0.0.1:{port}/v1/completions"
        async with session.post(url, json=body) as answer:
            await answer.content.readany()
            assert server.in_flight == 1
        await idle(lambda: server.in_flight)


@pytest.mark.parametrize("body", [{}, {"prompt": 5}, {"prompt": "x", "max_tokens": 0}, [], "no"])
async def test_a_bad_request_gets_a_sentence(body: object) -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        port, server = await stack.enter_async_context(serving("127.0.0.1"))
        async with session.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body) as answer:
            assert answer.status == 400
            assert "must" in (said := (await answer.json())["error"]["message"]) or "give" in said
        assert server.in_flight == 0
