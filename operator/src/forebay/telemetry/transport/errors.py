"""Why a query has no usable answer, told apart because each reason has another remedy."""

from enum import StrEnum


class QueryFailure(StrEnum):
    """Reason of a failed query; a metric label, so the set is closed."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    REDIRECT = "redirect"
    UNAUTHORIZED = "unauthorized"
    THROTTLED = "throttled"
    REFUSED = "refused"
    """The server understood the query and will not run it (bad data, too many samples)."""
    SERVER = "server"
    BAD_ANSWER = "bad_answer"
    TOO_LARGE = "too_large"
    BREAKER_OPEN = "breaker_open"
    CREDENTIALS = "credentials"
    """A token, password or certificate file cannot be read."""
    NO_THREAD = "no_thread"
    """Other queries had all threads for too long: the server was not asked, or had next to no time to answer."""


_PASSING = frozenset({QueryFailure.TIMEOUT, QueryFailure.CONNECTION, QueryFailure.THROTTLED, QueryFailure.SERVER})
_OUR_OWN = frozenset({QueryFailure.NO_THREAD, QueryFailure.BREAKER_OPEN})


class QueryError(Exception):
    """A query failed. The text is safe to log: it holds no header, no credential and no query."""

    def __init__(self, failure: QueryFailure, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds

    @property
    def retryable(self) -> bool:
        """Return whether the same query may succeed in a moment."""
        return self.failure in _PASSING

    @property
    def blames_server(self) -> bool:
        """Return whether the failure speaks of the server, and not of one query or of ourselves."""
        return not self.is_our_own and self.failure not in {QueryFailure.REFUSED, QueryFailure.TOO_LARGE}

    @property
    def is_our_own(self) -> bool:
        """Return whether the failure is our own and says neither good nor bad of the server."""
        return self.failure in _OUR_OWN
