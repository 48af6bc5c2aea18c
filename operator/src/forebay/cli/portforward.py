"""One HTTP request to a pod through the API server, as `kubectl port-forward` does it.

Of the WebSocket's frames (`v4.channel.k8s.io`) the first byte is the channel: 0 has the port's data, 1 its errors.
The first frame of each holds the port's number.
"""

import asyncio

import aiohttp

from forebay.actuation.kube import ApiError, KubeApi

_DATA, _ERROR = 0, 1
_PROTOCOL = "v4.channel.k8s.io"
_SECONDS = 10.0


class PortForwardError(Exception):
    """There was no answer; the message says why."""


async def get_from_pod(api: KubeApi, pod_path: str, port: int, path: str) -> tuple[int, bytes]:
    """Return the status and the body of ``GET path`` at a port of a pod.

    Raises:
        ApiError: the API server refused.
        PortForwardError: the pod did not answer.
    """
    try:
        async with (
            asyncio.timeout(_SECONDS),
            api.websocket(f"{pod_path}/portforward", {"ports": str(port)}, _PROTOCOL) as socket,
        ):
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            await socket.send_bytes(bytes([_DATA]) + request.encode())
            return _parsed(await _read(socket))
    except TimeoutError as error:
        raise PortForwardError("it did not answer in time") from error
    except aiohttp.WSServerHandshakeError as error:
        reason = {403: "Forbidden", 404: "NotFound"}.get(error.status, "")
        message = f"GET {pod_path}/portforward: {error.status} {error.message}"
        raise ApiError(message, status=error.status, reason=reason) from error
    except (aiohttp.ClientError, OSError) as error:
        raise PortForwardError(str(error) or type(error).__name__) from error


async def _read(socket: aiohttp.ClientWebSocketResponse) -> bytes:
    """Return what the pod sends until it closes the connection."""
    received: dict[int, bytearray] = {_DATA: bytearray(), _ERROR: bytearray()}
    async for frame in socket:
        if frame.type is not aiohttp.WSMsgType.BINARY or not frame.data:
            continue
        received.setdefault(frame.data[0], bytearray()).extend(frame.data[1:])
        if _is_whole(bytes(received[_DATA][2:])):
            break
    if failure := bytes(received[_ERROR][2:]):
        raise PortForwardError(failure.decode(errors="replace"))
    return bytes(received[_DATA][2:])


def _is_whole(answer: bytes) -> bool:
    """Whether an answer is there up to its announced length: some servers keep the tunnel open after it."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        None,
    )
    return bool(separator) and length is not None and len(body) >= length


def _parsed(answer: bytes) -> tuple[int, bytes]:
    head, separator, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split()
    if not separator or len(words) < 2 or not words[1].isdigit():
        raise PortForwardError("the answer is no HTTP")
    return int(words[1]), body
