"""Bridge to `forebay.offline.simulation`: pods are its replicas; events since the last look come out.

Nothing here serves a request; it starts and ends replicas by the names of their pods, lets time pass, and reads
the simulated pool's arrays (prefill queue, decode batches, KV transfer) for what an engine would have counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from enginesim.config import PoolConfig
from forebay.flow.fleet import Pool, PoolKey, Role, Slo, Variant
from forebay.flow.trace import RequestTrace
from forebay.offline.simulation import SimulatedPool, SimulationOptions, kernel
from forebay.offline.simulation.accelerate import interpreted
from forebay.offline.simulation.kernel_state import (
    BATCH,
    CURRENT,
    DONE,
    FOR_DECODE,
    HELD,
    IDLE,
    IN_TRANSFER,
    KV,
    KV_LIMIT,
    NEXT,
    QUEUES,
    RATE,
    REJECTED,
    TIMED_OUT,
    UPDATED,
    KernelState,
)
from forebay.offline.simulation.structures import LENGTH

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReplicaGauges:
    """What one replica holds now."""

    running: int
    sequences: int
    kv_tokens: float
    kv_capacity: float
    tokens_so_far: float
    """Tokens that the running sequences have been given."""


@dataclass(frozen=True, slots=True)
class Happenings:
    """Requests (by index) to which something happened since the last look."""

    arrived: Indices
    first_token: Indices
    """Their prefill ended."""
    done: Indices
    refused: Indices
    """Ended without an answer: longer than any KV cache."""


class PoolPhysics:
    """One simulated pool whose replicas are named pods."""

    def __init__(self, config: PoolConfig, trace: RequestTrace) -> None:
        self.config = config
        self.trace = trace
        pool = _flow_pool(config)
        self._variants = {variant.name: variant.key for variant in pool.variants}
        self._pool = SimulatedPool(
            pool,
            trace,
            initial={},
            options=SimulationOptions(log_replicas=True, prefix_cache=True),
            functions=_plain_python(),
        )
        self.cut_off = 0
        """Requests that pods held when they went."""
        self._slot_names: dict[int, str] = {}
        self._arrived = 0
        self._before_first: Indices = np.empty(0, np.int64)
        self._decoding: Indices = np.empty(0, np.int64)

    # Time and replicas -----------------------------------------------------------------------------------------

    @property
    def now_seconds(self) -> float:
        """Return the time reached."""
        return self._pool.now_seconds

    def advance(self, until_seconds: float) -> None:
        """Let time pass."""
        self._pool.run_until(until_seconds)

    def add(self, workload: str, pod: str) -> None:
        """Let a pod that is Ready take requests."""
        replica = self._pool.add_replica(self._variants[workload], pod, self.now_seconds)
        self._slot_names[replica.slot] = pod

    def resume(self, pod: str) -> None:
        """Let a pod that drains take requests again."""
        self._pool.resume_replica(pod)

    def drain(self, pod: str) -> None:
        """Give a pod no more requests; it finishes those it has."""
        if pod in self._pool.replicas.by_name:
            self._pool.remove_replica(pod, drain=True)

    def lose(self, pod: str) -> None:
        """End a pod at once; its requests start again on others."""
        replica = self._pool.replicas.by_name.get(pod)
        if replica is not None:
            self.cut_off += self._pool.replicas.held(replica) if replica.slot >= 0 else 0
            self._pool.remove_replica(pod, drain=False)

    # What happened ----------------------------------------------------------------------------------------------

    @property
    def requests(self) -> KernelState:
        """Return the simulation's arrays; those of requests have one entry per request of the trace."""
        return self._pool.replicas.world

    def happenings(self) -> Happenings:
        """Return what happened since the last call; call it after every `advance`, before pods come and go."""
        requests = self.requests
        upto = int(self.requests.counters[NEXT])
        arrived = np.arange(self._arrived, upto)
        self._arrived = upto
        lost = np.isnan(requests.ttft[self._decoding])
        waiting = np.concatenate([self._before_first, self._decoding[lost], arrived])
        refused = np.isin(requests.state[waiting], (REJECTED, TIMED_OUT))
        begun = ~np.isnan(requests.ttft[waiting]) & ~refused
        decoding = np.concatenate([self._decoding[~lost], waiting[begun]])
        ended = requests.state[decoding] == DONE
        self._before_first = waiting[~begun & ~refused]
        self._decoding = decoding[~ended]
        return Happenings(arrived, waiting[begun], decoding[ended], waiting[refused])

    def pod_of(self, slot: int) -> str | None:
        """Return the pod that holds, or held last, ``slot``."""
        return self._slot_names.get(slot)

    def itl_seconds(self, index: Indices) -> npt.NDArray[np.float64]:
        """Return mean time per output token of finished requests, waiting for a decode slot included."""
        requests = self.requests
        spent = (
            requests.done[index] - requests.arrival[index] - requests.ttft[index] - self.transfer_seconds(index)
        )
        return np.asarray(np.maximum(spent, 0.0) / np.maximum(1, requests.output[index]), dtype=np.float64)

    def transfer_seconds(self, index: Indices) -> npt.NDArray[np.float64]:
        """Return the time of the KV transfer of these requests."""
        return np.asarray(self.requests.rules.transfer_token * self.requests.prompt[index], dtype=np.float64)

    # What is ----------------------------------------------------------------------------------------------------

    @property
    def arrived(self) -> int:
        """Return how many requests have arrived."""
        return self._arrived

    @property
    def before_first_token(self) -> int:
        """Return how many wait for, or are in, their prefill."""
        return len(self._before_first)

    @property
    def in_flight(self) -> int:
        """Return how many have arrived and not ended."""
        return len(self._before_first) + len(self._decoding)

    @property
    def waiting_prefill(self) -> int:
        """Return how many wait for a prefill to start."""
        return int(self.requests.counters[HELD])

    @property
    def waiting_decode(self) -> int:
        """Return how many wait for a decode slot, their KV cache being there."""
        return int(self.requests.queues[LENGTH, FOR_DECODE::QUEUES].sum())

    @property
    def transferring(self) -> int:
        """Return how many KV caches are on their way."""
        return int(self.requests.counters[IN_TRANSFER])

    @property
    def exhausted(self) -> bool:
        """Return whether the trace is played and all its requests have ended."""
        return self._arrived >= len(self.trace) and not self.in_flight

    def serves(self, pod: str) -> bool:
        """Return whether a pod is a live replica, draining ones included."""
        return pod in self._pool.replicas.by_name

    def gauges(self, pod: str) -> ReplicaGauges | None:
        """Return what a pod holds, or ``None`` if it is no live replica."""
        replica = self._pool.replicas.by_name.get(pod)
        if replica is None or replica.slot < 0:
            return None
        world, slot = self.requests, replica.slot
        first = slot * world.rules.batch_limit
        batch = int(world.counts[BATCH, slot])
        prefilling = int(world.counts[CURRENT, slot])
        prompts = float(world.prompt[world.ids[first : first + batch]].sum())
        elapsed = self.now_seconds - float(world.gauges[UPDATED, slot])
        kv_tokens = 0.0
        if batch:
            kv_tokens = float(world.gauges[KV, slot]) + batch * elapsed * float(world.gauges[RATE, slot])
        tokens_so_far = max(0.0, kv_tokens - prompts)
        if prefilling > IDLE:
            kv_tokens += float(world.prompt[prefilling])
        return ReplicaGauges(
            running=batch + int(prefilling > IDLE),
            sequences=batch,
            kv_tokens=kv_tokens,
            kv_capacity=float(world.gauges[KV_LIMIT, slot]),
            tokens_so_far=tokens_so_far,
        )


def _plain_python() -> Mapping[str, Callable[..., object]]:
    """Return the simulation's functions uncompiled.

    In real time these keep up with thousands of requests per second, and compiling would take half a minute.
    """
    return cast("Mapping[str, Callable[..., object]]", interpreted(vars(kernel)))


def _flow_pool(config: PoolConfig) -> Pool:
    return Pool(
        key=PoolKey(config.namespace, config.name),
        slo=Slo(
            ttft_seconds=config.slo.ttft_seconds, itl_seconds=config.slo.itl_seconds, target=config.slo.target
        ),
        variants=tuple(
            Variant(name=workload.name, role=Role(workload.role), performance=workload.speed.performance())
            for workload in config.workloads
        ),
    )
