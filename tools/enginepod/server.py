"""The HTTP side of an engine: OpenAI's completions, health and metrics."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from enginepod.engine import Engine, Job, Work
from enginepod.recording import Recording
from enginesim.exposition import CONTENT_TYPE

_PROGRESS_SECONDS = 0.5
"""A streamed answer says how far it is this often; engines do so per token, which two cores cannot pay for."""
_MOST_TOKENS = 100_000


class BadRequestError(ValueError):
    """A request that cannot be read, in one sentence."""


def parse_request(body: Mapping[str, object], now: float) -> Job:
    """Return the job that a completion asks for.

    Prompts are text, of which each word counts as a token, a list of token ids, or the messages of a chat.
    ``kv_transfer_params`` splits prefill from decode as in vLLM: ``do_remote_decode`` on the request to the
    prefill engine, ``do_remote_prefill`` on the one to the decode engine.

    Raises:
        BadRequestError: what is missing or wrong.
    """
    prompt = body.get("prompt", body.get("messages"))
    if isinstance(prompt, str):
        tokens = len(prompt.split())
    elif isinstance(prompt, list):
        tokens = sum(len(str(part["content"]).split()) if isinstance(part, dict) else 1 for part in prompt)
    else:
        raise BadRequestError("give a prompt (text or token ids) or messages")
    limit = body.get("max_tokens", body.get("max_completion_tokens", 16))
    if not isinstance(limit, int) or not 1 <= limit <= _MOST_TOKENS or tokens > _MOST_TOKENS:
        raise BadRequestError(f"max_tokens and the prompt must have 1 to {_MOST_TOKENS} tokens")
    transfer = body.get("kv_transfer_params")
    work = Work.WHOLE
    if isinstance(transfer, dict) and transfer.get("do_remote_decode"):
        work = Work.PREFILL
    elif isinstance(transfer, dict) and transfer.get("do_remote_prefill"):
        work = Work.DECODE
    return Job(prompt_tokens=max(1, tokens), output_tokens=limit, work=work, arrival=now)


class Server:
    """Serves one engine; `step` must be running."""

    def __init__(self, engine: Engine, recording: Recording, *, model: str) -> None:
        self.model = model
        self._engine = engine
        self._recording = recording
        self._first: dict[Job, asyncio.Event] = {}
        self._done: dict[Job, asyncio.Event] = {}
        self._woken = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Return how many requests are being answered."""
        return len(self._done)

    def application(self) -> web.Application:
        """Return the application with all paths."""
        application = web.Application(client_max_size=4 * 1024**2)
        application.add_routes(
            [
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/v1/completions", self._complete),
                web.post("/v1/chat/completions", self._complete),
            ]
        )
        return application

    async def step(self) -> None:
        """Let time pass over the engine for ever."""
        while True:
            wait = self._engine.next_event() - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), None if wait == float("inf") else max(0.0, wait))
            self._woken.clear()
            self._look()

    def _look(self) -> None:
        passed = self._engine.advance(time.monotonic())
        self._recording.record(passed)
        for job in passed.first_token:
            self._first[job].set()
        for job in passed.done:
            self._done[job].set()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        self._look()
        return web.Response(text=self._recording.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
            if not isinstance(body, dict):
                raise BadRequestError("the body must be a JSON object")
            job = parse_request(body, time.monotonic())
        except (ValueError, KeyError) as error:
            return web.json_response({"error": {"message": str(error), "code": 400}}, status=400)
        async with self._held(job):
            if body.get("stream"):
                return await self._stream(request, job)
            await self._done[job].wait()
            return web.json_response(self._answer(job, job.output_tokens, finished=True))

    @contextlib.asynccontextmanager
    async def _held(self, job: Job) -> AsyncIterator[None]:
        """Have a job in the engine; it is taken out again where its client goes away."""
        self._look()
        self._first[job], self._done[job] = asyncio.Event(), asyncio.Event()
        self._recording.took()
        self._engine.submit(job)
        self._woken.set()
        try:
            yield
        finally:
            self._look()
            if not self._done[job].is_set():
                self._engine.abort(job)
                self._recording.lost()
                self._woken.set()
            del self._first[job], self._done[job]

    async def _stream(self, request: web.Request, job: Job) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self._first[job].wait()
        sent = 0
        while not self._done[job].is_set():
            sent = await self._send(response, job, sent)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done[job].wait(), _PROGRESS_SECONDS)
        await self._send(response, job, sent)
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _send(self, response: web.StreamResponse, job: Job, sent: int) -> int:
        out = self._engine.generated_for(job)
        finished = self._done[job].is_set()
        chunk = self._answer(job, out - sent, finished=finished)
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        return out

    def _answer(self, job: Job, tokens: int, *, finished: bool) -> dict[str, object]:
        """Return an answer, or a piece of one, with ``tokens`` words."""
        return {
            "object": "text_completion",
            "model": self.model,
            "choices": [{"index": 0, "text": " word" * tokens, "finish_reason": "length" if finished else None}],
            "usage": {"prompt_tokens": job.prompt_tokens, "completion_tokens": self._engine.generated_for(job)},
        }
