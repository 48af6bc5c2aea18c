"""Asking a server on loopback whether it is ready."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

_TIMEOUT_SECONDS = 2.0
# Loopback is never asked through a proxy, whatever the environment says.
_NO_PROXY = urllib.request.ProxyHandler({})


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
    if not url.startswith(("http://127.0.0.1:", "https://127.0.0.1:")):
        raise ValueError(f"{url} is not on loopback")
    context = ssl.create_default_context(cafile=str(ca_certificate) if ca_certificate else None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(_NO_PROXY, urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310  (loopback, see above)
    try:
        with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
