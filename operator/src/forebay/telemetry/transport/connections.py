"""A connection to Prometheus for each thread, with the credentials as they are at the moment."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.transport.errors import QueryError, QueryFailure
from forebay.telemetry.transport.session import BoundedSession, read_secret

_LONGEST_GET = 1500


@dataclass(slots=True)
class _Connection:
    """What one thread owns."""

    session: BoundedSession
    get: PrometheusConnect
    post: PrometheusConnect


class Connections:
    """Connections, one per thread that asks."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._local = threading.local()
        self._sessions: list[BoundedSession] = []
        self._sessions_lock = threading.Lock()
        auth = settings.auth
        self._token = _SecretFile(auth.bearer_token_file, "bearer token") if auth.bearer_token_file else None
        self._password = _SecretFile(auth.basic_password_file, "password") if auth.basic_password_file else None

    def ready_for(self, query: str, deadline_seconds: float) -> PrometheusConnect:
        """Return this thread's connection, whose next answer must be complete at a monotonic time.

        Raises:
            QueryError: The credentials cannot be read.
        """
        connection = self._of_this_thread()
        connection.session.deadline_seconds = deadline_seconds
        connect = connection.post if len(query) > _LONGEST_GET else connection.get
        connect.headers = self._headers()
        auth = self._settings.auth
        if auth.basic_username is not None and self._password is not None:
            connect.auth = (auth.basic_username, self._password.text())
        return connect

    def close(self) -> None:
        """Close all connections."""
        with self._sessions_lock:
            for session in self._sessions:
                session.close()

    def _headers(self) -> Mapping[str, str]:
        headers = dict(self._settings.auth.headers)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.text()}"
        return headers

    def _of_this_thread(self) -> _Connection:
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


class _SecretFile:
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
