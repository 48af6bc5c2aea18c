"""Ask Prometheus through ``prometheus-api-client``: off the event loop, bounded in threads and time."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Generic, Protocol, TypeVar

import requests
from prometheus_api_client import PrometheusConnect

from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.transport.breaker import Admission, Breaker, BreakerState
from forebay.telemetry.transport.connections import Connections
from forebay.telemetry.transport.errors import QueryError, QueryFailure
from forebay.telemetry.transport.meter import NullMeter, TelemetryMeter
from forebay.telemetry.transport.threads import WorkerThread, WorkerThreads

Read = TypeVar("Read")
_Ask = Callable[[PrometheusConnect, tuple[float, float]], Read]
"""What a thread does with its connection and the two time-outs."""
_RETRY_AFTER_LIMIT_SECONDS = 2.0
ROUND_PATIENCE = 2.0
"""Times of the limit of one query that a round waits for its telemetry; then it goes on without any of it."""
_STAY = 0.9 * ROUND_PATIENCE
"""Times of the limit of one query after which it ends, however long it waited for a thread: before the round's
patience does, so that what was read by then counts."""


class PromQlClient(Protocol):
    """Evaluate PromQL. ``read`` is given what the server calls ``result``: untrusted, to be read strictly.

    ``read`` runs in the thread of the query, so that large answers do not hold up the event loop.
    """

    async def instant(self, query: str, at_seconds: float, *, kind: str, read: Callable[[object], Read]) -> Read:
        """Evaluate at one time. Raises ``QueryError``."""
        ...

    async def range(
        self,
        query: str,
        start_seconds: int,
        end_seconds: int,
        step_seconds: int,
        *,
        kind: str,
        read: Callable[[object], Read],
    ) -> Read:
        """Evaluate at every step from start to end, both included. Raises ``QueryError``."""
        ...

    async def close(self) -> None:
        """Release connections and threads."""
        ...


@dataclass(frozen=True, slots=True)
class _Question(Generic[Read]):
    """One query, and how to ask it."""

    query: str
    ask: _Ask[Read]
    kind: str


@dataclass(frozen=True, slots=True)
class _Limit:
    """Until when a query may take, in monotonic seconds."""

    deadline_seconds: float
    is_short: bool
    """The queue took so much of its time that the rest says nothing of a server that does not answer in it."""


class PrometheusClient:
    """Bounded access to one Prometheus server (or Thanos, Mimir, VictoriaMetrics: anything with its API)."""

    def __init__(self, settings: PrometheusSettings, meter: TelemetryMeter | None = None) -> None:
        self._settings = settings
        self._meter: TelemetryMeter = meter or NullMeter()
        self._threads = WorkerThreads(settings.threads, "prometheus")
        self._connections = Connections(settings)
        self._breaker = Breaker(
            failures_to_open=settings.breaker_failures,
            cool_down_seconds=settings.breaker_cool_down_seconds,
            cool_down_max_seconds=settings.breaker_cool_down_max_seconds,
        )
        self._probe: asyncio.Future[None] | None = None

    @property
    def breaker_state(self) -> BreakerState:
        """Return whether the server is being asked at all."""
        return self._breaker.state

    async def instant(self, query: str, at_seconds: float, *, kind: str, read: Callable[[object], Read]) -> Read:
        """Evaluate ``query`` at one time.

        Raises:
            QueryError: There is no answer.
        """

        def ask(connect: PrometheusConnect, timeout: tuple[float, float]) -> Read:
            return read(connect.custom_query(query, params={"time": at_seconds}, timeout=timeout))

        return await self._ask(_Question(query, ask, kind))

    async def range(
        self,
        query: str,
        start_seconds: int,
        end_seconds: int,
        step_seconds: int,
        *,
        kind: str,
        read: Callable[[object], Read],
    ) -> Read:
        """Evaluate ``query`` at every step from start to end, both included.

        Raises:
            QueryError: There is no answer.
        """
        start, end = datetime.fromtimestamp(start_seconds, UTC), datetime.fromtimestamp(end_seconds, UTC)

        def ask(connect: PrometheusConnect, timeout: tuple[float, float]) -> Read:
            return read(connect.custom_query_range(query, start, end, f"{step_seconds}s", timeout=timeout))

        return await self._ask(_Question(query, ask, kind))

    async def close(self) -> None:
        """Release threads and connections; threads that still wait for an answer end with their deadline."""
        self._threads.close()
        self._connections.close()

    async def _ask(self, question: _Question[Read]) -> Read:
        end = time.monotonic() + _STAY * self._settings.query_timeout_seconds
        probing = await self._admitted()
        try:
            answer = await self._in_a_thread(question, end, probing=probing)
        except QueryError as error:
            self._record_failure(error, probing=probing)
            raise
        except BaseException:
            self._record_no_verdict(probing=probing)
            raise
        else:
            self._change(self._breaker.succeeded)
            return answer
        finally:
            if probing and self._probe is not None:
                self._probe.set_result(None)
                self._probe = None

    def _record_failure(self, error: QueryError, *, probing: bool) -> None:
        if error.is_our_own:
            self._record_no_verdict(probing=probing)
        elif error.blames_server:
            self._change(lambda: self._breaker.failed(time.monotonic(), jitter=random.random()))  # noqa: S311
        else:
            self._change(self._breaker.succeeded)

    def _record_no_verdict(self, *, probing: bool) -> None:
        """Let the next query probe; one that was no probe does not disturb the probe under way."""
        if probing:
            self._change(lambda: self._breaker.probe_inconclusive(time.monotonic()))

    async def _admitted(self) -> bool:
        """Wait until this query may go; return whether it is a probe."""
        while True:
            admission = self._breaker.admit(time.monotonic())
            if admission is Admission.PASS:
                return False
            if admission is Admission.PROBE:
                self._meter.breaker_changed(self._breaker.state.value)
                self._probe = asyncio.get_running_loop().create_future()
                return True
            if admission is Admission.REFUSE or self._probe is None:
                raise self._refusal()
            await asyncio.shield(self._probe)

    def _refusal(self) -> QueryError:
        wait = self._breaker.retry_in_seconds(time.monotonic())
        message = f"Prometheus failed repeatedly and is asked again in {wait:.0f} s."
        return QueryError(QueryFailure.BREAKER_OPEN, message)

    def _change(self, transition: Callable[[], None]) -> None:
        before = self._breaker.state
        transition()
        if self._breaker.state is not before:
            self._meter.breaker_changed(self._breaker.state.value)

    async def _in_a_thread(self, question: _Question[Read], end: float, *, probing: bool) -> Read:
        """Ask from a thread's worker. The query's time runs from when it has one, but not beyond ``end``."""
        worker = await self._take_thread(question.kind, end)
        try:
            if not probing and self._breaker.state is not BreakerState.CLOSED:
                raise self._refusal()  # the server was found ill while this query waited
            retries = 0 if probing else self._settings.retries
            return await self._with_retries(worker, question, self._limit(end), retries=retries)
        finally:
            worker.give_back()

    async def _take_thread(self, kind: str, end: float) -> WorkerThread:
        began = time.monotonic()
        try:
            return await self._threads.take(end - began)
        except TimeoutError:
            self._meter.query_finished(kind, time.monotonic() - began, QueryFailure.NO_THREAD.value)
            raise _no_thread() from None

    def _limit(self, end: float) -> _Limit:
        now, settings = time.monotonic(), self._settings
        fair = min(settings.read_timeout_seconds, settings.query_timeout_seconds)
        return _Limit(min(now + settings.query_timeout_seconds, end), is_short=end - now < fair)

    async def _with_retries(
        self, worker: WorkerThread, question: _Question[Read], limit: _Limit, *, retries: int
    ) -> Read:
        for attempt in range(retries + 1):
            try:
                return await self._attempt(worker, question, limit)
            except QueryError as error:
                pause = self._pause(error, attempt)
                late = time.monotonic() + pause >= limit.deadline_seconds
                if not error.retryable or attempt == retries or late:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause(self, error: QueryError, attempt: int) -> float:
        told = min(error.retry_after_seconds or 0.0, _RETRY_AFTER_LIMIT_SECONDS)
        backoff = self._settings.retry_backoff_seconds * 2.0**attempt
        return max(told, backoff * (0.5 + random.random()))  # noqa: S311 - spreads retries, hides nothing

    async def _attempt(self, worker: WorkerThread, question: _Question[Read], limit: _Limit) -> Read:
        started = time.monotonic()
        outcome = "ok"
        try:
            return await self._in_thread(worker, question, limit)
        except QueryError as error:
            outcome = error.failure.value
            raise
        finally:
            self._meter.query_finished(question.kind, time.monotonic() - started, outcome)

    async def _in_thread(self, worker: WorkerThread, question: _Question[Read], limit: _Limit) -> Read:
        left = limit.deadline_seconds - time.monotonic()
        if left <= 0:
            raise _no_thread()
        try:
            return await worker.run(partial(self._blocking, question, limit.deadline_seconds), left)
        except TimeoutError:
            self._meter.query_abandoned(question.kind)
            error = QueryError(QueryFailure.TIMEOUT, "Prometheus did not answer in time.")
        except QueryError as failed:
            error = failed
        raise _no_thread() if error.failure is QueryFailure.TIMEOUT and limit.is_short else error

    def _blocking(self, question: _Question[Read], deadline: float) -> Read:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _no_thread()
        connect, settings = self._connections.ready_for(question.query, deadline), self._settings
        timeout = (min(settings.connect_timeout_seconds, left), min(settings.read_timeout_seconds, left))
        try:
            return question.ask(connect, timeout)
        except (requests.exceptions.JSONDecodeError, ValueError, KeyError, TypeError, RecursionError):
            raise QueryError(
                QueryFailure.BAD_ANSWER, "What answered is not Prometheus' API, or its answer is cut off."
            ) from None


def _no_thread() -> QueryError:
    message = "Earlier queries took all the time of this round: Prometheus is slow for so many."
    return QueryError(QueryFailure.NO_THREAD, message)
