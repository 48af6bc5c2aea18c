"""The load generator's process: its traffic can be read and replaced over HTTP while it runs."""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from enginepod.load import Limits, LoadGenerator
from enginepod.spread import Endpoints
from enginepod.traffic import Request, TrafficError, parse_steps, stepped


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the generator is run.

    Attributes:
        model: named in each request.
        first: address of the Service of engines that prefill, or of those that serve whole requests.
        second: address of the Service of engines that decode, if there is one.
        traffic: what it begins with.
        input_tokens: of each request of stepped traffic.
        output_tokens: of each request of stepped traffic.
        limits: what it never exceeds.
        ttft_seconds: target by which `/status` judges.
        itl_seconds: target by which `/status` judges.
        host: address of its own API.
        port: port of its own API.
    """

    model: str
    first: str
    second: str | None
    traffic: Iterator[Request]
    input_tokens: int
    output_tokens: int
    limits: Limits
    ttft_seconds: float
    itl_seconds: float
    host: str
    port: int


async def load(options: Options) -> None:
    """Send traffic until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    endpoints = [_endpoints(address) for address in (options.first, options.second) if address]
    followers = [asyncio.create_task(one.follow()) for one in endpoints]
    # A connection per request: a pod that goes away takes no idle connections along.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        generator = LoadGenerator(
            model=options.model,
            first=endpoints[0],
            second=endpoints[1] if len(endpoints) > 1 else None,
            session=session,
            limits=options.limits,
        )
        desk = Desk(generator, options)
        runner = web.AppRunner(desk.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, options.host, options.port).start()
        desk.play(options.traffic)
        await ended.wait()
        for task in followers:
            task.cancel()
        await runner.cleanup()


def _endpoints(address: str) -> Endpoints:
    parts = urlsplit(address if "//" in address else f"//{address}")
    if not parts.hostname:
        raise TrafficError(f"{address!r} is no address: write http://SERVICE.NAMESPACE:PORT")
    return Endpoints(parts.hostname, parts.port or 80)


class Desk:
    """The generator's own API: `/status`, `/healthz`, `/metrics`, and POST of steps to `/traffic`."""

    def __init__(self, generator: LoadGenerator, options: Options) -> None:
        self._generator = generator
        self._options = options
        self._playing: asyncio.Task[None] | None = None

    def application(self) -> web.Application:
        """Return the application with all paths."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self._health),
                web.get("/status", self._status),
                web.get("/metrics", self._metrics),
                web.post("/traffic", self._replace),
            ]
        )
        return application

    def play(self, traffic: Iterator[Request]) -> None:
        """Send this traffic from now on, instead of what was sent before."""
        if self._playing is not None:
            self._playing.cancel()
        self._playing = asyncio.create_task(self._generator.play(traffic))

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _status(self, _request: web.Request) -> web.Response:
        options = self._options
        return web.json_response(
            self._generator.status(ttft_seconds=options.ttft_seconds, itl_seconds=options.itl_seconds)
        )

    async def _metrics(self, _request: web.Request) -> web.Response:
        tally, model = self._generator.tally, self._options.model
        lines = [
            "# HELP loadgen_requests_total Requests by what became of them.",
            "# TYPE loadgen_requests_total counter",
            *(
                f'loadgen_requests_total{{model_name="{model}",outcome="{outcome}"}} {count}'
                for outcome, count in (
                    ("succeeded", tally.succeeded),
                    ("failed", tally.failed),
                    ("left_out", tally.left_out),
                )
            ),
        ]
        return web.Response(text="\n".join(lines) + "\n")

    async def _replace(self, request: web.Request) -> web.Response:
        options = self._options
        text = (await request.text()).strip()
        try:
            steps = parse_steps(text, most_per_second=options.limits.requests_per_second)
        except TrafficError as error:
            return web.Response(status=400, text=f"{error}\n")
        self.play(
            stepped(steps, input_tokens=options.input_tokens, output_tokens=options.output_tokens, seed=len(text))
        )
        return web.Response(text="ok\n")
