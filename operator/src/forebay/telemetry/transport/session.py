"""An HTTP session that ends in time, follows nobody's redirects, and says what went wrong without any secret."""

import json
import ssl
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.transport.errors import QueryError, QueryFailure
from forebay.telemetry.transport.streaming import decoded

_CHUNK = 64 * 1024


class BoundedSession(requests.Session):
    """A session whose answers have a deadline and a size limit, and whose failures are ``QueryError``.

    A read time-out alone bounds the pause between two packets, not the answer: a server that drips a byte a second
    would hold a thread for ever. The process's environment (``REQUESTS_CA_BUNDLE``, proxies, ``.netrc``) is
    ignored, because it would silently replace the certificate authorities and credentials that were configured.
    """

    def __init__(self, settings: PrometheusSettings) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = _verification(settings)
        certificate, key = settings.auth.client_certificate_file, settings.auth.client_key_file
        if certificate is not None:
            self.cert = (str(certificate), str(key)) if key is not None else str(certificate)
        if settings.proxy_url is not None:
            self.proxies = {"http": settings.proxy_url, "https": settings.proxy_url}
        self.deadline_seconds = float("inf")
        """Monotonic time at which an answer must be complete."""
        self._max_bytes = settings.max_answer_bytes

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Put the parameters of a POST into its body.

        ``prometheus-api-client`` hands them over as those of the address whatever the method, where proxies refuse
        what is longer than 8 KiB or so. The API of Prometheus takes them URL-encoded in the body as well.
        """
        if request.method == "POST" and request.params and not request.data:
            request.data, request.params = request.params, {}
        return super().prepare_request(request)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, read the whole answer within the deadline, and refuse everything but success."""
        kwargs.update(stream=True, allow_redirects=False)
        try:
            response = super().send(request, **kwargs)
        except requests.RequestException as error:
            raise _translated(error) from None
        except OSError:
            message = "The CA, client certificate or key file for Prometheus cannot be read."
            raise QueryError(QueryFailure.CREDENTIALS, message) from None
        with response:
            body = self._read(response)
        response._content = body  # noqa: SLF001 - the way to hand over a streamed body
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        if response.status_code != requests.codes.ok:
            raise refusal(response.status_code, response.headers.get("Retry-After"), body)
        response.json = lambda **_: decoded(body)  # type: ignore[method-assign]
        return response

    def _read(self, response: requests.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                size += len(chunk)
                self._check(size)
                chunks.append(chunk)
        except ReadTimeoutError:
            raise QueryError(QueryFailure.TIMEOUT, "Prometheus did not answer in time.") from None
        except (HTTPError, HTTPException, OSError):
            raise QueryError(QueryFailure.CONNECTION, "Prometheus' answer broke off.") from None
        return b"".join(chunks)

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise QueryError(QueryFailure.TOO_LARGE, f"Prometheus' answer is larger than {self._max_bytes} bytes.")
        if time.monotonic() > self.deadline_seconds:
            raise QueryError(QueryFailure.TIMEOUT, "Prometheus' answer did not end in time.")


def _verification(settings: PrometheusSettings) -> bool | str:
    if settings.insecure_skip_verify:
        return False
    return str(settings.ca_file) if settings.ca_file is not None else True


def _translated(error: requests.RequestException) -> QueryError:
    if isinstance(error, requests.Timeout):
        return QueryError(QueryFailure.TIMEOUT, "Prometheus did not answer in time.")
    if isinstance(error, requests.exceptions.SSLError):
        reason = _certificate_reason(error)
        return QueryError(QueryFailure.TLS, f"TLS with Prometheus failed{reason}; check caFile and the address.")
    return QueryError(QueryFailure.CONNECTION, "No connection to Prometheus.")


def _certificate_reason(error: BaseException) -> str:
    cause: object = error
    for _ in range(6):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f" ({cause.verify_message})"
        arguments = getattr(cause, "args", ())
        cause = getattr(cause, "reason", None) or (arguments[0] if arguments else None)
    return ""


def refusal(status: int, retry_after: str | None, body: bytes) -> QueryError:
    """Turn an HTTP status other than 200 into the error that it means."""
    if 300 <= status < 400:
        message = "Prometheus' address redirects elsewhere (a login page?); name the final address in the URL."
        return QueryError(QueryFailure.REDIRECT, message)
    if status in {401, 403}:
        message = f"Prometheus refused the credentials (HTTP {status}); check token, password and tenant header."
        return QueryError(QueryFailure.UNAUTHORIZED, message)
    if status == 429:
        return QueryError(
            QueryFailure.THROTTLED,
            "Prometheus asks to slow down (HTTP 429).",
            retry_after_seconds=_seconds(retry_after),
        )
    if status == 404:
        message = "There is no Prometheus API at this address (HTTP 404); check the URL's path."
        return QueryError(QueryFailure.BAD_ANSWER, message)
    if status >= 500:
        message = f"Prometheus failed (HTTP {status}{_told(body)})."
        return QueryError(QueryFailure.SERVER, message, retry_after_seconds=_seconds(retry_after))
    return QueryError(QueryFailure.REFUSED, f"Prometheus refused the query (HTTP {status}{_told(body)}).")


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None


def _told(body: bytes) -> str:
    """Return the server's own word for the error, without its text: that repeats the query."""
    try:
        content = json.loads(body[:_CHUNK])
    except (ValueError, RecursionError):
        return ""
    kind = content.get("errorType") if isinstance(content, dict) else None
    return f", {kind[:40]}" if isinstance(kind, str) and kind.replace("_", "").isalnum() else ""


def read_secret(path: Path, what: str) -> str:
    """Return the first line of a secret's file.

    Raises:
        QueryError: It cannot be read, or is empty, or holds more than a line.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise QueryError(QueryFailure.CREDENTIALS, f"The {what} in {path} cannot be read.") from None
    if not text or any(character in text for character in "\r\n\0"):
        raise QueryError(QueryFailure.CREDENTIALS, f"The {what} in {path} must be one line that is not empty.")
    return text
