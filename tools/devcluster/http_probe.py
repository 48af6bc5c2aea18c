"""Asking a server on loopback: whether it is ready, and for a JSON document."""

import json
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path

_TIMEOUT_SECONDS = 2.0


def answers_ok(
    url: str, *, ca_certificate: Path | None = None, headers: Mapping[str, str] | None = None, verify: bool = True
) -> bool:
    """Whether a GET of `url` is answered with status 200.

    Args:
        url: an http or https address on loopback.
        ca_certificate: trusted instead of the system's authorities.
        headers: sent along.
        verify: whether the certificate is checked; some components serve their health with one that they
            signed themselves.
    """
    context = ssl.create_default_context(cafile=str(ca_certificate) if ca_certificate else None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        _get(url, headers or {}, urllib.request.HTTPSHandler(context=context))
    except OSError:
        return False
    return True


def fetch_json(url: str) -> dict[str, object]:
    """Return the JSON object at an http address on loopback.

    Raises:
        OSError: the server does not answer, or not with a success (`urllib.error.HTTPError`).
    """
    document: dict[str, object] = json.loads(_get(url, {}))
    return document


def _get(url: str, headers: Mapping[str, str], *handlers: urllib.request.BaseHandler) -> bytes:
    if not url.startswith(("http://127.0.0.1:", "https://127.0.0.1:")):
        raise ValueError(f"{url} is not on loopback")
    # Loopback is never asked through a proxy, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310  (loopback, see above)
    with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
        body: bytes = answer.read()
    return body
