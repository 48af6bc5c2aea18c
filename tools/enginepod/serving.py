"""From its start-up delay to its end: the life of one engine's process."""

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass

from aiohttp import web

from enginepod.engine import Engine
from enginepod.recording import Recording
from enginepod.server import Server
from forebay.flow.performance import Performance

_QUIET_SECONDS = 2.0
"""After SIGTERM an engine that has had nothing to do for so long ends: by then nobody knows its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one engine is run.

    Attributes:
        model: the name under which it serves.
        dialect: whose metric names it uses.
        host: address to listen on.
        port: port to listen on.
        startup_seconds: from the start to the first answer, as for loading a model.
        drain_seconds: longest time that it finishes requests after SIGTERM.
        performance: its speed.
    """

    model: str
    dialect: str
    host: str
    port: int
    startup_seconds: float
    drain_seconds: float
    performance: Performance


async def serve(options: Options) -> None:
    """Load, serve until SIGTERM or SIGINT, then finish what was begun.

    While it loads nobody listens: an engine's port opens when its model is in memory.
    """
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), options.startup_seconds)
        return
    engine = Engine(options.performance, time.monotonic())
    recording = Recording(model=options.model, dialect=options.dialect, engine=engine)
    server = Server(engine, recording, model=options.model)
    runner = web.AppRunner(server.application(), access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port).start()
    print(f"enginepod: {options.model} on {options.host}:{options.port}", flush=True)
    stepping = asyncio.create_task(server.step())
    await ended.wait()
    await _drain(server, options.drain_seconds)
    stepping.cancel()
    await runner.cleanup()


async def _drain(server: Server, longest_seconds: float) -> None:
    """Wait until requests have ceased for a while, or for so long at most."""
    loop = asyncio.get_running_loop()
    began = busy = loop.time()
    while loop.time() - busy < _QUIET_SECONDS and loop.time() - began < longest_seconds:
        if server.in_flight:
            busy = loop.time()
        await asyncio.sleep(0.1)
