"""Free loopback ports for servers that must come back on the same port after being killed.

The ports are taken below the range from which Linux serves outgoing connections (32768 and up by default): a
port out of that range could be taken by anybody's connection while the server that owns it is down.
"""

import secrets
import socket
from collections.abc import Callable

LOOPBACK = "127.0.0.1"
FIRST_PORT = 15_000
LAST_PORT = 31_999


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, free: Callable[[int], bool] = is_free, attempts: int = 2_000) -> list[int]:
    """Return `count` different ports that were free a moment ago, chosen at random.

    Two runs side by side therefore hardly ever choose the same; the loser of such a race sees "address already
    in use" and draws again (`devcluster.local`).

    Args:
        count: how many ports.
        free: tells whether a port can be had.
        attempts: how many draws before giving up.

    Raises:
        OSError: no free port was found.
    """
    chosen: list[int] = []
    for _ in range(attempts):
        if len(chosen) == count:
            return chosen
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1)
        if port not in chosen and free(port):
            chosen.append(port)
    if len(chosen) == count:
        return chosen
    raise OSError(f"no {count} free ports between {FIRST_PORT} and {LAST_PORT} on {LOOPBACK}")
