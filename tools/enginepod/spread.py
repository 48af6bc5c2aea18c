"""Which pod gets a request: the least busy of the Ready pods behind a headless Service, asked from DNS."""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

_REFRESH_SECONDS = 1.0

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, none while it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
    except socket.gaierror:
        return []
    return sorted({str(entry[4][0]) for entry in found})


class Endpoints:
    """The Ready pods of one Service, and how many requests each has from here."""

    def __init__(self, host: str, port: int, *, resolve: Resolve = resolve) -> None:
        self.host = host
        self.port = port
        self.addresses: list[str] = []
        self.held: Counter[str] = Counter()
        self._resolve = resolve
        self._changed = asyncio.Event()

    async def refresh(self) -> None:
        """Ask DNS once."""
        self.addresses = await self._resolve(self.host, self.port)
        if self.addresses:
            self._changed.set()

    async def follow(self) -> None:
        """Ask DNS again and again, for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(_REFRESH_SECONDS)

    def avoid(self, address: str) -> None:
        """Send nothing more to a pod that did not answer, until DNS names it again."""
        self.addresses = [other for other in self.addresses if other != address]

    async def take(self) -> str:
        """Return the least busy pod, once there is one; `release` it afterwards."""
        while not self.addresses:
            self._changed.clear()
            await self._changed.wait()
        address = min(self.addresses, key=lambda one: (self.held[one], one))
        self.held[address] += 1
        return address

    def release(self, address: str) -> None:
        """Note that a request to a pod has ended."""
        self.held[address] -= 1
        if self.held[address] <= 0:
            del self.held[address]
