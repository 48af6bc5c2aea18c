"""The load generator: a client, or in its place a gateway, that sends requests when its traffic says so."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp

from enginepod.spread import Endpoints
from enginepod.traffic import Request

_RECENT_SECONDS = 30.0
_TRIES = 5
_RETRY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that was answered.

    Attributes:
        at: when, on the monotonic clock.
        ttft_seconds: from its arrival here to its first token.
        itl_seconds: mean time between its further tokens.
    """

    at: float
    ttft_seconds: float
    itl_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the generator never exceeds.

    Attributes:
        requests_per_second: most requests begun within one second; more are left out, and counted.
        in_flight: most requests at a time; more are left out, and counted.
        seconds: after so long it sends nothing more.
        request_seconds: a request that takes longer is given up.
    """

    requests_per_second: float = 50.0
    in_flight: int = 500
    seconds: float = 3_600.0
    request_seconds: float = 120.0


@dataclass(slots=True)
class Tally:
    """What became of the requests."""

    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    left_out: int = 0
    recent: deque[Ended] = field(default_factory=deque)
    begun: deque[float] = field(default_factory=deque)


class LoadGenerator:
    """Sends requests to the engines behind one Service, or to prefill and then decode engines behind two."""

    def __init__(
        self,
        *,
        model: str,
        first: Endpoints,
        second: Endpoints | None,
        session: aiohttp.ClientSession,
        limits: Limits,
    ) -> None:
        """Prepare it.

        Args:
            model: named in each request.
            first: engines that prefill; those that serve whole requests if there are no others.
            second: engines that decode.
            session: for all requests.
            limits: what it never exceeds.
        """
        self.tally = Tally()
        self._model = model
        self._first = first
        self._second = second
        self._session = session
        self._limits = limits
        self._born = time.monotonic()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Return how many requests are not answered yet."""
        return len(self._running)

    async def play(self, traffic: Iterator[Request]) -> None:
        """Send requests when they are due, until the traffic or the generator's time is over."""
        began = time.monotonic()
        for request in traffic:
            due = began + request.at_seconds
            if due - self._born > self._limits.seconds:
                return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._begin(request)

    def status(self, *, ttft_seconds: float, itl_seconds: float) -> dict[str, object]:
        """Return counts since the start, and rates, percentiles and attainment over the last half-minute."""
        now, tally = time.monotonic(), self.tally
        span = max(1.0, min(_RECENT_SECONDS, now - self._born))
        while tally.recent and tally.recent[0].at < now - _RECENT_SECONDS:
            tally.recent.popleft()
        recent = list(tally.recent)
        met = [one.ttft_seconds <= ttft_seconds and one.itl_seconds <= itl_seconds for one in recent]
        return {
            "sent": tally.sent,
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "retried": tally.retried,
            "left_out": tally.left_out,
            "in_flight": self.in_flight,
            "requests_per_second": self._begun(now - span) / span,
            "ttft_p95_seconds": _percentile([one.ttft_seconds for one in recent]),
            "itl_p95_seconds": _percentile([one.itl_seconds for one in recent]),
            "attainment": sum(met) / len(met) if met else None,
            "pods": {one.host: one.addresses for one in (self._first, self._second) if one is not None},
        }

    def _begun(self, since: float) -> int:
        """Return how many requests were begun since a time at most half a minute ago."""
        begun = self.tally.begun
        while begun and begun[0] < time.monotonic() - _RECENT_SECONDS:
            begun.popleft()
        return sum(1 for at in begun if at >= since)

    def _begin(self, request: Request) -> None:
        now = time.monotonic()
        crowded = len(self._running) >= self._limits.in_flight
        if crowded or self._begun(now - 1.0) >= self._limits.requests_per_second:
            self.tally.left_out += 1
            return
        self.tally.sent += 1
        self.tally.begun.append(now)
        task = asyncio.create_task(self._send(request, now))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _send(self, request: Request, arrived: float) -> None:
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                ended = await self._answered(request, arrived)
        except (TimeoutError, aiohttp.ClientError, OSError):
            self.tally.failed += 1
            return
        self.tally.succeeded += 1
        self.tally.recent.append(ended)

    async def _answered(self, request: Request, arrived: float) -> Ended:
        """Send a request, again from its beginning where an engine dies over it.

        Raises:
            TimeoutError: it took too long.
            aiohttp.ClientError: several engines in a row did not answer it.
        """
        for attempt in range(_TRIES):
            try:
                return await self._once(request, arrived)
            except (aiohttp.ClientError, OSError):
                if attempt == _TRIES - 1:
                    raise
                self.tally.retried += 1
                await asyncio.sleep(_RETRY_SECONDS * (attempt + 1))
        raise AssertionError("unreachable: the last try returns or raises")

    async def _once(self, request: Request, arrived: float) -> Ended:
        body: dict[str, object] = {
            "model": self._model,
            "prompt": "word " * request.input_tokens,
            "max_tokens": request.output_tokens,
            "stream": True,
            # So many tokens and no fewer, as every benchmark of an engine asks for.
            "ignore_eos": True,
        }
        if self._second is None:
            first, last = await self._post(self._first, body)
        else:
            prefill = body | {"max_tokens": 1, "stream": False, "kv_transfer_params": {"do_remote_decode": True}}
            _, first = await self._post(self._first, prefill)
            _, last = await self._post(self._second, body | {"kv_transfer_params": {"do_remote_prefill": True}})
        return Ended(last, first - arrived, (last - first) / max(1, request.output_tokens - 1))

    async def _post(self, endpoints: Endpoints, body: Mapping[str, object]) -> tuple[float, float]:
        """Send to one pod; return when the first and the last of its answer came."""
        address = await endpoints.take()
        try:
            url = f"http://{address}:{endpoints.port}/v1/completions"
            async with self._session.post(url, json=body) as answer:
                answer.raise_for_status()
                first = None
                async for _ in answer.content.iter_any():
                    first = first or time.monotonic()
        except (aiohttp.ClientError, OSError):
            endpoints.avoid(address)
            raise
        finally:
            endpoints.release(address)
        now = time.monotonic()
        return first or now, now


def _percentile(values: list[float], quantile: float = 0.95) -> float | None:
    """Return a quantile of values as they are, None of nothing."""
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, int(quantile * len(values)))]
