"""Write samples with times of their own into a Prometheus: minutes of the past without waiting for them.

Remote write 1.0 (https://prometheus.io/docs/specs/prw/remote_write_spec/): a protocol buffer in a snappy block.
Both are simple enough to be written here; a library for either would be one more thing to install.
"""

import struct
import urllib.request
from collections.abc import Mapping, Sequence

Labels = tuple[tuple[str, str], ...]
"""Names and values, `__name__` included."""

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""What Prometheus stores when a target is gone (https://prometheus.io/docs/specs/native_histograms/#staleness)."""
_LITERAL_BYTES = 60_000
_TIMEOUT_SECONDS = 30.0


def write(url: str, samples: Mapping[Labels, Sequence[tuple[float, float]]]) -> None:
    """Write series of (Unix seconds, value), oldest first, into a Prometheus that receives.

    The newest block takes nothing that is an hour older than what it has.

    Raises:
        OSError: the server does not answer, or does not take them.
    """
    body = _snappy(b"".join(_series(labels, points) for labels, points in samples.items()))
    request = urllib.request.Request(  # noqa: S310  (loopback)
        f"{url}/api/v1/write",
        data=body,
        headers={
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        },
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310
        return


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _series(labels: Labels, samples: Sequence[tuple[float, float]]) -> bytes:
    body = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in sorted(labels)
    )
    for at, value in samples:
        body += _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(at * 1000)))
    return _field(1, body)


def _snappy(content: bytes) -> bytes:
    """Frame `content` as a snappy block of literals (no compression)."""
    result = bytearray(_varint(len(content)))
    for start in range(0, len(content), _LITERAL_BYTES):
        part = content[start : start + _LITERAL_BYTES]
        result += b"\xf4" + struct.pack("<H", len(part) - 1) + part
    return bytes(result)
