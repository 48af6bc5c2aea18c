"""Ask Prometheus through ``prometheus-api-client``: off the event loop, bounded in threads and time."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

import requests
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from forebay.telemetry.breaker import Admission, Breaker, BreakerState
from forebay.telemetry.errors import QueryError, QueryFailure
from forebay.telemetry.http_session import BoundedSession, read_secret
from forebay.telemetry.meter import NullMeter, TelemetryMeter
from forebay.telemetry.settings import PrometheusSettings

_LONGEST_GET = 1500
Read = TypeVar("Read")
_Ask = Callable[[PrometheusConnect, tuple[float, float]], Read]
"""What a thread does with its connection and the two time-outs."""
_RETRY_AFTER_LIMIT_SECONDS = 2.0


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


@dataclass(slots=True)
class _Connection:
    """What one thread owns."""

    session: BoundedSession
    get: PrometheusConnect
    post: PrometheusConnect


class _TokenFile:
    """A secret's file that is read again when it changed."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        self._seen: tuple[int, int, int] | None = None
        self._text = ""
        self._lock = threading.Lock()

    def text(self) -> str:
        with self._lock:
            try:
                stat = self._path.stat()
            except OSError:
                raise QueryError(
                    QueryFailure.CREDENTIALS, f"The {self._what} in {self._path} cannot be read."
                ) from None
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._text = read_secret(self._path, self._what)
                self._seen = seen
            return self._text


class PrometheusClient:
    """Bounded access to one Prometheus server (or Thanos, Mimir, VictoriaMetrics: anything with its API)."""

    def __init__(self, settings: PrometheusSettings, meter: TelemetryMeter | None = None) -> None:
        self._settings = settings
        self._meter: TelemetryMeter = meter or NullMeter()
        self._executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="prometheus")
        self._local = threading.local()
        self._sessions: list[BoundedSession] = []
        self._sessions_lock = threading.Lock()
        self._breaker = Breaker(
            failures_to_open=settings.breaker_failures,
            cool_down_seconds=settings.breaker_cool_down_seconds,
            cool_down_max_seconds=settings.breaker_cool_down_max_seconds,
        )
        self._probe: asyncio.Future[None] | None = None
        auth = settings.auth
        self._token = _TokenFile(auth.bearer_token_file, "bearer token") if auth.bearer_token_file else None
        self._password = _TokenFile(auth.basic_password_file, "password") if auth.basic_password_file else None
        self._slots = asyncio.Semaphore(settings.threads)

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

        return await self._ask(query, ask, kind)

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

        return await self._ask(query, ask, kind)

    async def close(self) -> None:
        """Release threads and connections; threads that still wait for an answer end with their deadline."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._sessions_lock:
            for session in self._sessions:
                session.close()

    async def _ask(self, query: str, ask: _Ask[Read], kind: str) -> Read:
        probing = await self._admitted()
        try:
            answer = await self._with_retries(query, ask, kind, retries=0 if probing else self._settings.retries)
        except QueryError as error:
            if error.server_is_ill:
                self._change(lambda: self._breaker.failed(time.monotonic(), jitter=random.random()))  # noqa: S311
            else:
                self._change(self._breaker.succeeded)
            raise
        except BaseException:
            self._change(lambda: self._breaker.probe_inconclusive(time.monotonic()))
            raise
        else:
            self._change(self._breaker.succeeded)
            return answer
        finally:
            if probing and self._probe is not None:
                self._probe.set_result(None)
                self._probe = None

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
                wait = self._breaker.retry_in_seconds(time.monotonic())
                raise QueryError(
                    QueryFailure.BREAKER_OPEN,
                    f"Prometheus failed repeatedly and is asked again in {wait:.0f} s.",
                )
            await asyncio.shield(self._probe)

    def _change(self, transition: Callable[[], None]) -> None:
        before = self._breaker.state
        transition()
        if self._breaker.state is not before:
            self._meter.breaker_changed(self._breaker.state.value)

    async def _with_retries(
        self,
        query: str,
        ask: _Ask[Read],
        kind: str,
        *,
        retries: int,
    ) -> Read:
        deadline = time.monotonic() + self._settings.query_timeout_seconds
        for attempt in range(retries + 1):
            try:
                return await self._attempt(query, ask, kind, deadline)
            except QueryError as error:
                pause = self._pause(error, attempt)
                if not error.retryable or attempt == retries or time.monotonic() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause(self, error: QueryError, attempt: int) -> float:
        told = min(error.retry_after_seconds or 0.0, _RETRY_AFTER_LIMIT_SECONDS)
        backoff = self._settings.retry_backoff_seconds * 2.0**attempt
        return max(told, backoff * (0.5 + random.random()))  # noqa: S311 - spreads retries, hides nothing

    async def _attempt(
        self,
        query: str,
        ask: _Ask[Read],
        kind: str,
        deadline: float,
    ) -> Read:
        started = time.monotonic()
        outcome = "ok"
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, deadline - started)):
                async with self._slots:
                    return await self._in_thread(query, ask, deadline)
        except TimeoutError:
            outcome = QueryFailure.TIMEOUT.value
            self._meter.query_abandoned(kind)
            raise QueryError(QueryFailure.TIMEOUT, "Prometheus did not answer in time.") from None
        except QueryError as error:
            outcome = error.failure.value
            raise
        finally:
            self._meter.query_finished(kind, time.monotonic() - started, outcome)

    async def _in_thread(self, query: str, ask: _Ask[Read], deadline: float) -> Read:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._blocking, query, ask, deadline)

    def _blocking(self, query: str, ask: _Ask[Read], deadline: float) -> Read:
        left = deadline - time.monotonic()
        if left <= 0:
            raise QueryError(QueryFailure.TIMEOUT, "Every thread was busy with an earlier query.")
        connection = self._connection()
        connection.session.deadline_seconds = deadline
        connect = connection.post if len(query) > _LONGEST_GET else connection.get
        connect.headers = self._headers()
        settings = self._settings
        if settings.auth.basic_username is not None and self._password is not None:
            connect.auth = (settings.auth.basic_username, self._password.text())
        timeout = (min(settings.connect_timeout_seconds, left), min(settings.read_timeout_seconds, left))
        try:
            return ask(connect, timeout)
        except (requests.exceptions.JSONDecodeError, ValueError, KeyError, TypeError, RecursionError):
            raise QueryError(
                QueryFailure.BAD_ANSWER, "What answered is not Prometheus' API, or its answer is cut off."
            ) from None

    def _headers(self) -> Mapping[str, str]:
        headers = dict(self._settings.auth.headers)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.text()}"
        return headers

    def _connection(self) -> _Connection:
        existing: _Connection | None = getattr(self._local, "connection", None)
        if existing is not None:
            return existing
        session = BoundedSession(self._settings)
        url = self._settings.url.rstrip("/")
        connection = _Connection(
            session,
            PrometheusConnect(url=url, session=session, method="GET", retry=Retry(0, read=False)),
            PrometheusConnect(url=url, session=session, method="POST", retry=Retry(0, read=False)),
        )
        self._local.connection = connection
        with self._sessions_lock:
            self._sessions.append(session)
        return connection
