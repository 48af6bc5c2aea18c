"""One active writer: a Lease held by compare-and-swap, and a fence that every write passes.

The protocol is client-go's: a candidate takes the Lease when it has seen it unchanged for the lease's duration on
its *own* clock, so that clock skew between machines does not matter; every change is a PUT with the
resourceVersion read, so that of two candidates one fails. The leader counts its right to write from the moment
*before* the successful renewal was sent and gives it up at the renew deadline, earlier than anybody may take over.
`fence` is called right before each mutating request. A leader that loses its Lease must end its process: whatever
it has in flight is void, and a fresh process has no stale memory.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from forebay.actuation.kube import ApiError, JsonObject, KubeApi

logger = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """This process may not write any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Durations of an election, in seconds: retry < renew deadline < duration."""

    duration: float
    renew_deadline: float
    retry: float


class Leader:
    """Takes, renews and releases one Lease.

    Args:
        api: an unfenced client whose calls end within the retry period.
        namespace: of the Lease.
        name: of the Lease.
        identity: unique to this process.
        times: see LeaseTimes.
        clock: monotonic seconds.
        wall_clock: UTC now, for the times that people read in the Lease.
        jitter: a number in [0, 1) per call; spreads the candidates' retries.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases"
        self._name = name
        self._identity = identity
        self._times = times
        self._clock = clock
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._valid_until: float | None = None
        self._seen: tuple[str, float] | None = None  # resourceVersion, and since when (own clock)
        self._lease: JsonObject | None = None
        self.is_leading = asyncio.Event()

    def fence(self) -> None:
        """Raise LeaseLostError unless this process holds the Lease at this very moment."""
        if self._valid_until is None or self._clock() >= self._valid_until:
            raise LeaseLostError(f"{self._identity} does not hold the lease {self._name}")

    async def run(self, attempted: Callable[[], None] = lambda: None) -> None:
        """Campaign until elected, then renew until the lease is lost.

        Args:
            attempted: called after each attempt, whatever came of it.

        Raises:
            LeaseLostError: another process holds the lease, or it could not be renewed in time.
        """
        while True:
            await self._step()
            attempted()
            if self._valid_until is not None and self._clock() >= self._valid_until:
                self._valid_until = None
                raise LeaseLostError(
                    f"lease {self._name} could not be renewed for {self._times.renew_deadline:g} s; "
                    "ending, so that another replica can take over"
                )
            await asyncio.sleep(self._times.retry * (1.0 + 0.2 * self._jitter()))

    async def release(self) -> None:
        """Give the lease back, so that a standby takes over at once; errors only cost the wait."""
        if self._valid_until is None or self._lease is None:
            return
        self._valid_until = None
        self.is_leading.clear()
        try:
            async with asyncio.timeout(self._times.retry):
                await self._write(holder="", transitions=_transitions(self._lease), duration=1.0)
        except (ApiError, TimeoutError) as error:
            logger.warning("lease %s was not released: %s", self._name, error)

    async def _step(self) -> None:
        """Take or renew once; failures are logged and tried again until the deadline."""
        started = self._clock()
        try:
            async with asyncio.timeout(self._times.renew_deadline / 2):
                held = await self._acquire_or_renew(started)
        except (ApiError, TimeoutError) as error:
            logger.warning("lease %s: %s", self._name, str(error) or "timed out")
            return
        if held:
            self._valid_until = started + self._times.renew_deadline
            if not self.is_leading.is_set():
                logger.info("%s leads (lease %s)", self._identity, self._name)
                self.is_leading.set()
        elif self._valid_until is not None:
            self._valid_until = None
            raise LeaseLostError(f"lease {self._name} was taken by {_holder(self._lease)}")

    async def _acquire_or_renew(self, now: float) -> bool:
        try:
            self._lease = await self._api.get(f"{self._collection}/{quote(self._name)}")
        except ApiError as error:
            if not error.not_found:
                raise
            return await self._create()
        holder = _holder(self._lease)
        if holder != self._identity and holder and not self._expired(now):
            return False
        mine = holder == self._identity
        transitions = _transitions(self._lease) + (0 if mine else 1)
        return await self._swap(transitions=transitions, renew=mine)

    def _expired(self, now: float) -> bool:
        """Whether the lease was seen unchanged, on our own clock, for as long as its holder promised."""
        assert self._lease is not None  # noqa: S101 - just read
        version = str(self._lease["metadata"]["resourceVersion"])
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        duration = float(self._lease.get("spec", {}).get("leaseDurationSeconds") or self._times.duration)
        return now - self._seen[1] >= duration

    async def _create(self) -> bool:
        body: JsonObject = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": self._spec(holder=self._identity, transitions=0, duration=self._times.duration),
        }
        try:
            self._lease = await self._api.post(self._collection, body)
        except ApiError as error:
            if error.conflict:
                return False
            raise
        return True

    async def _swap(self, *, transitions: int, renew: bool) -> bool:
        try:
            await self._write(
                holder=self._identity, transitions=transitions, duration=self._times.duration, renew=renew
            )
        except ApiError as error:
            if error.conflict:
                return False if not renew else await self._reread_holder()
            raise
        return True

    async def _reread_holder(self) -> bool:
        """After a conflicting renewal: whose is it? A metadata edit by somebody else is no loss of the lease."""
        self._lease = await self._api.get(f"{self._collection}/{quote(self._name)}")
        if _holder(self._lease) != self._identity:
            return False
        await self._write(
            holder=self._identity,
            transitions=_transitions(self._lease),
            duration=self._times.duration,
            renew=True,
        )
        return True

    async def _write(self, *, holder: str, transitions: int, duration: float, renew: bool = False) -> None:
        assert self._lease is not None  # noqa: S101 - read before each write
        spec = self._spec(holder=holder, transitions=transitions, duration=duration)
        if renew or not holder:
            spec["acquireTime"] = self._lease.get("spec", {}).get("acquireTime") or spec["acquireTime"]
        body = {**self._lease, "spec": spec}
        self._lease = await self._api.put(f"{self._collection}/{quote(self._name)}", body)

    def _spec(self, *, holder: str, transitions: int, duration: float) -> dict[str, Any]:
        now = self._wall_clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(duration)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }


def _holder(lease: JsonObject | None) -> str:
    return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")


def _transitions(lease: JsonObject) -> int:
    return int((lease.get("spec") or {}).get("leaseTransitions") or 0)
