"""A small client of the Kubernetes API: raw JSON over one HTTP session, every call bounded and every write fenced.

The generated clients decode lists into models on the event loop (seconds for a few thousand pods), default to
five-minute timeouts and pick a patch's content type by the shape of its body. An autoscaler needs a dozen calls
of which it knows the exact shape, so it sends them itself; credentials and their refreshing stay with
`kubernetes.aio.config`.
"""

import asyncio
import json
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from forebay import __version__

logger = logging.getLogger(__name__)

JsonObject = dict[str, Any]
"""One JSON object as the API server speaks it; parsed into frozen records before anything else sees it."""

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
FIELD_MANAGER = "forebay"
"""First part of the field manager of every release; `field_manager` adds which one it is."""
_MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LONGEST_RETRY_AFTER_SECONDS = 120.0
_DEFAULT_RETRY_AFTER_SECONDS = 1.0


def field_manager(namespace: str, name: str) -> str:
    """Return the field manager of one release: the API server allows 128 letters."""
    return f"{FIELD_MANAGER}:{namespace}/{name}"[:128]


class ApiError(Exception):
    """The API server refused or failed a call.

    Attributes:
        status: the HTTP status; 0 when no answer came (connection refused, reset, timed out).
        reason: the `reason` of the Status object, CamelCase, or "".
        retry_after_seconds: what the server asked for with a 429 or 503, else None.
    """

    def __init__(
        self, message: str, *, status: int, reason: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds

    @property
    def not_found(self) -> bool:
        """The object (or its kind) does not exist."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """The object changed since it was read."""
        return self.status == 409

    @property
    def throttled(self) -> bool:
        """The server asks to come back later."""
        return self.status == 429

    @property
    def passing(self) -> bool:
        """The server was too busy, ill or not there: the same request may be taken later."""
        return self.status in {0, 429} or self.status >= 500

    @property
    def refused(self) -> bool:
        """The same request would be refused again: it is not allowed, or its content is not accepted."""
        return self.status in {400, 401, 403, 413, 422}

    @property
    def forbidden(self) -> bool:
        """RBAC does not allow it."""
        return self.status in {401, 403}


class CredentialsError(Exception):
    """Neither the pod's service account nor a kubeconfig gives access to a cluster."""


async def load_configuration(kubeconfig: str | None, context: str | None = None) -> Configuration:
    """Return credentials: the pod's own service account inside a cluster, else a kubeconfig.

    A kubeconfig that is named wins, so that one can run the operator of this shell against another cluster from
    within a pod.

    Raises:
        CredentialsError: nothing usable was found; the message says what was tried.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
            )
    except (ConfigException, OSError) as error:
        where = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise CredentialsError(
            f"No access to a cluster: {error}. Run in a pod with a service account, or name a kubeconfig with "
            f"--kubeconfig (tried {where})."
        ) from error
    return configuration


def ssl_context(configuration: Configuration) -> ssl.SSLContext | bool:
    """Return the TLS settings of a configuration; `True` (defaults) for a plain-HTTP server.

    Raises:
        CredentialsError: a certificate or key cannot be used.
    """
    if not str(configuration.host).startswith("https"):
        return True
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    except OSError as error:  # those of TLS, too; none of them names its file
        files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
        named = ", ".join(str(file) for file in files if file) or "the kubeconfig's own"
        raise CredentialsError(
            f"No access to a cluster: a certificate or key cannot be used: {error} (among {named})."
        ) from error
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class KubeApi:
    """Calls to one API server; use as an async context manager.

    Args:
        configuration: where the server is and how to authenticate.
        fence: called right before each mutating request is sent; it raises when this process may not write
            any more (its lease ran out). `None` for the calls that keep the lease itself.
        timeout_seconds: the longest that one call may take, connection included.
        parallel: most requests in flight at once.
        clock: monotonic seconds.
        manager: field manager under which it writes.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        fence: Callable[[], None] | None = None,
        timeout_seconds: float = 10.0,
        parallel: int = 16,
        clock: Callable[[], float] = time.monotonic,
        manager: str = FIELD_MANAGER,
    ) -> None:
        self.manager = manager
        """Field manager of its writes: which release it is."""
        self._configuration = configuration
        self._fence = fence
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._slots = asyncio.Semaphore(parallel)
        self._parallel = parallel
        self._clock = clock
        self._throttled_until = 0.0
        self._session: aiohttp.ClientSession | None = None
        self.writes = 0
        """Mutating requests sent, for metrics."""

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=ssl_context(self._configuration), limit=self._parallel)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers={"User-Agent": f"forebay/{__version__}", "Accept": "application/json"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, path: str, *, params: Mapping[str, str] | None = None, accept: str | None = None
    ) -> JsonObject:
        """GET `path` (from the leading slash); raises ApiError."""
        return await self.request("GET", path, params=params, accept=accept)

    async def merge_patch(self, path: str, body: JsonObject) -> JsonObject:
        """PATCH `path` with a JSON merge patch; raises ApiError."""
        return await self.request(
            "PATCH", path, params={"fieldManager": self.manager}, body=body, content_type=MERGE_PATCH
        )

    async def json_patch(self, path: str, body: list[JsonObject]) -> JsonObject:
        """PATCH `path` with a JSON patch, whose failed test is a 422; raises ApiError."""
        return await self.request(
            "PATCH", path, params={"fieldManager": self.manager}, body=body, content_type=JSON_PATCH
        )

    async def apply(self, path: str, body: JsonObject) -> JsonObject:
        """Create or change the object at `path` by server-side apply; its fields are ours from then on."""
        params = {"fieldManager": self.manager, "force": "true"}
        return await self.request("PATCH", path, params=params, body=body, content_type=APPLY_PATCH)

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """POST `body` to `path`; raises ApiError."""
        return await self.request("POST", path, params={"fieldManager": self.manager}, body=body)

    async def put(self, path: str, body: JsonObject) -> JsonObject:
        """PUT `body` to `path`; raises ApiError."""
        return await self.request("PUT", path, params={"fieldManager": self.manager}, body=body)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: JsonObject | list[JsonObject] | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
    ) -> JsonObject:
        """Send one request and return the JSON object of the answer.

        Raises:
            ApiError: the server refused, could not be reached, did not answer in time or asked to wait.
        """
        if self._session is None:
            raise RuntimeError("KubeApi is used outside its context")
        mutating = method in _MUTATING
        if mutating:
            self._refuse_while_throttled()
        headers = await self._authorization()
        if body is not None:
            headers["Content-Type"] = content_type
        if accept is not None:
            headers["Accept"] = accept
        data = json.dumps(body).encode() if body is not None else None
        async with self._slots:
            if mutating:
                # As late as possible: the wait for a slot may have outlasted the lease.
                if self._fence is not None:
                    self._fence()
                self.writes += 1
            return await self._send(method, path, params=params, data=data, headers=headers)

    @asynccontextmanager
    async def websocket(
        self, path: str, params: Mapping[str, str], protocol: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket, such as that of a port-forward.

        Raises:
            aiohttp.ClientError: the server refused or could not be reached.
        """
        if self._session is None:
            raise RuntimeError("KubeApi is used outside its context")
        async with self._session.ws_connect(
            f"{str(self._configuration.host).rstrip('/')}{path}",
            params=params,
            protocols=(protocol,),
            headers=await self._authorization(),
            proxy=self._configuration.proxy or None,
            max_msg_size=0,
        ) as socket:
            yield socket

    async def _authorization(self) -> dict[str, str]:
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        if not token:
            return {}
        return {"Authorization": str(token) if " " in str(token) else f"Bearer {token}"}

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        data: bytes | None,
        headers: Mapping[str, str],
    ) -> JsonObject:
        assert self._session is not None  # noqa: S101 - checked by the only caller
        url = f"{str(self._configuration.host).rstrip('/')}{path}"
        proxy = self._configuration.proxy or None
        try:
            async with self._session.request(
                method, url, params=params, data=data, headers=headers, proxy=proxy
            ) as response:
                raw = await response.read()
                if response.status < 300:
                    return _json_object(raw)
                error = _api_error(f"{method} {path}", response.status, raw, response.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            text = str(problem) or type(problem).__name__
            raise ApiError(f"{method} {path}: no answer from the API server: {text}", status=0) from problem
        if error.throttled and error.retry_after_seconds is not None:
            now = self._clock()
            if now >= self._throttled_until:
                logger.warning("the API server asks for %.1f s without writes", error.retry_after_seconds)
            self._throttled_until = max(self._throttled_until, now + error.retry_after_seconds)
        raise error

    def _refuse_while_throttled(self) -> None:
        wait = self._throttled_until - self._clock()
        if wait > 0:
            raise ApiError(
                f"the API server asked for {wait:.1f} s without writes",
                status=429,
                reason="TooManyRequests",
                retry_after_seconds=wait,
            )


def _json_object(raw: bytes) -> JsonObject:
    try:
        value = json.loads(raw or b"{}")
    except ValueError as error:
        raise ApiError("the API server's answer is not JSON", status=0) from error
    if not isinstance(value, dict):
        raise ApiError("the API server's answer is not a JSON object", status=0)
    return value


def _api_error(call: str, status: int, raw: bytes, retry_after: str | None) -> ApiError:
    try:
        answer = _json_object(raw)
    except ApiError:
        answer = {"message": raw[:200].decode(errors="replace")}
    seconds: float | None = None
    if status in {429, 503}:
        seconds = _retry_after_seconds(retry_after)
    return ApiError(
        f"{call}: {status} {answer.get('message') or answer.get('reason') or 'without a message'}",
        status=status,
        reason=str(answer.get("reason") or ""),
        retry_after_seconds=seconds,
    )


def _retry_after_seconds(header: str | None) -> float:
    """Return the seconds of a Retry-After header; a date or nonsense counts as one second, like no header."""
    try:
        return min(_LONGEST_RETRY_AFTER_SECONDS, max(0.0, float(header or "")))
    except ValueError:
        return _DEFAULT_RETRY_AFTER_SECONDS


def service_account_namespace() -> str | None:
    """Return the namespace of the pod that this process runs in, or None outside a cluster."""
    path = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
