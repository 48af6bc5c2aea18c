"""One simulated pool: give it traffic, run it, observe it as an operator would, scale it."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from forebay.flow.fleet import Pool, VariantKey
from forebay.flow.observation import PoolObservation
from forebay.flow.performance import Performance
from forebay.flow.trace import IntArray, RequestTrace
from forebay.offline.simulation import kernel
from forebay.offline.simulation.kernel_state import (
    EVICTIONS,
    REJECTED,
    TIMED_OUT,
    more_queue_room,
)
from forebay.offline.simulation.nodes.capacity import PodCapacity
from forebay.offline.simulation.nodes.gpu_supply import GpuSupply
from forebay.offline.simulation.nodes.node_records import PlacedReplica
from forebay.offline.simulation.observer import Observer
from forebay.offline.simulation.replica_life import Replicas
from forebay.offline.simulation.result import ScaleAction, SimulationResult
from forebay.offline.simulation.setup import new_world, variant_models
from forebay.offline.simulation.simulated_replica import Life, Replica
from forebay.offline.simulation.simulation_options import SimulationOptions, StartUp


class SimulatedPool:
    """A pool of replicas that serves a trace.

    ``pool`` names the variants and the SLO. ``performance`` and ``start_up`` are the *true* values per variant in
    the simulation, if they differ from those of the pool's variants. ``initial`` replicas are ready at time 0.
    Time passes only in `run_until`; all other methods act at the present time.
    """

    def __init__(
        self,
        pool: Pool,
        trace: RequestTrace,
        *,
        initial: Mapping[VariantKey, int],
        performance: Mapping[VariantKey, Performance] | None = None,
        start_up: Mapping[VariantKey, StartUp] | None = None,
        options: SimulationOptions | None = None,
        capacity: PodCapacity | None = None,
        priority: IntArray | None = None,
        functions: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        """Set up the fleet at time 0.

        Args:
            pool: the served model.
            trace: its requests; times start at 0.
            initial: replicas per variant that are ready at time 0.
            performance: the true speed per variant, default: the variant's.
            start_up: the true start-up per variant, default: fixed, the variant's ``start_up_seconds`` or 120 s.
            options: failures, routing, clients and other rules.
            capacity: GPUs or nodes, shared with other simulated pools; default: GPUs without limit.
            priority: class per request, 0 the lowest, larger is served first.
            functions: the kernel's functions, for a run in plain Python (`accelerate.interpreted`).

        Raises:
            ValueError: a variant has no `Performance`, is unknown, or the roles do not serve requests.
        """
        self.pool = pool
        self.trace = trace
        self.now_seconds = 0.0
        self.options = options or SimulationOptions()
        self.actions: list[ScaleAction] = []
        self._index = {variant.key: number for number, variant in enumerate(pool.variants)}
        self._functions = functions or vars(kernel)
        models = variant_models(pool, trace, performance or {}, start_up or {}, self.options)
        world = new_world(pool, trace, models, self.options, priority)
        self.replicas = Replicas(models, world, self.options, capacity or GpuSupply(), self._functions)
        for name, count in initial.items():
            for _ in range(count):
                self.replicas.order(self._variant(name), 0.0, ready_at=0.0)
        self._desired = [initial.get(variant.key, 0) for variant in pool.variants]
        self._observer = Observer(self.replicas, pool, trace, self.options)

    def run_until(self, until_seconds: float) -> None:
        """Let time pass up to and including ``until_seconds``.

        Raises:
            ValueError: that time is in the past.
        """
        until_seconds = float(until_seconds)  # for the compiler, an int would be another type
        if until_seconds < self.now_seconds:
            raise ValueError(f"cannot run back from {self.now_seconds} s to {until_seconds} s")
        while True:
            due = self.replicas.next_due_seconds(self.now_seconds)
            stop = min(due, until_seconds)
            self._advance(stop)
            self.now_seconds = max(self.now_seconds, stop)
            self.replicas.run_due(self.now_seconds)
            if due > until_seconds:
                return

    def scale(self, wanted: Mapping[VariantKey, int], emptying: AbstractSet[str] = frozenset()) -> None:
        """Set the replica counts of variants, as a write to ``/scale`` would.

        Args:
            wanted: replicas by variant.
            emptying: nodes whose replicas go first, as by a low deletion cost of their pods.

        Raises:
            ValueError: a variant is unknown or a count is negative.
        """
        for key, count in wanted.items():
            variant = self._variant(key)
            if count < 0:
                raise ValueError(f"variant {key} cannot have {count} replicas")
            if count != self._desired[variant]:
                self.actions.append(ScaleAction(self.now_seconds, key, self._desired[variant], count))
                self._desired[variant] = count
            self.replicas.scale(variant, count, self.now_seconds, emptying, parks=self.options.parks)

    def free(self, names: Iterable[str]) -> None:
        """Release parked replicas."""
        for name in names:
            replica = self.replicas.by_name.get(name)
            if replica is not None and replica.life is Life.PARKED:
                self.replicas.release(replica, self.now_seconds)

    def observe(self) -> PoolObservation:
        """Return what an operator sees, for the time since the last call."""
        return self._observer.observe(self.now_seconds, self._desired)

    def placed(self) -> list[PlacedReplica]:
        """Return the replicas that hold GPUs, with the nodes of these GPUs."""
        return [
            PlacedReplica(
                pool=self.pool.key,
                variant=model.variant.key,
                pod=replica.pod,
                leaves=replica.life in (Life.PARKED, Life.DRAINING),
            )
            for model, replicas in zip(self.replicas.models, self.replicas.live, strict=True)
            for replica in replicas
        ]

    def result(self) -> SimulationResult:
        """Return latencies and bills up to now."""
        w = self.replicas.world
        count = len(self.trace)
        ttft, done = w.ttft[:count], w.done[:count]
        transfer = w.rules.transfer_token * w.prompt[:count]
        decoding = np.maximum(0.0, done - w.arrival[:count] - ttft - transfer)
        states = np.bincount(w.state[:count], minlength=REJECTED + 1)
        return SimulationResult(
            trace=self.trace,
            until_seconds=self.now_seconds,
            ttft_seconds=ttft,
            itl_seconds=decoding / np.maximum(1, w.output[:count]),
            done_seconds=done,
            replica_seconds=self.replicas.replica_seconds(self.now_seconds),
            actions=tuple(self.actions),
            orders=sum(self.replicas.ordered),
            cancelled_orders=sum(self.replicas.cancelled),
            timed_out=int(states[TIMED_OUT]),
            rejected=int(states[REJECTED]),
            evictions=int(w.counters[EVICTIONS]),
            failures=self.replicas.failures,
            cut_off=self.replicas.cut_off,
            taken_back=self.replicas.taken_back,
        )

    def finish(self, drain_seconds: float) -> SimulationResult:
        """Return bills and actions up to now, and latencies once the requests in flight had time to end.

        The fleet does not change meanwhile, so that no request counts as unserved because the run ended.

        Args:
            drain_seconds: the time that they have.
        """
        ended = self.result()
        self.run_until(self.now_seconds + drain_seconds)
        return replace(
            self.result(),
            until_seconds=ended.until_seconds,
            replica_seconds=ended.replica_seconds,
        )

    def ready(self, key: VariantKey) -> int:
        """Return the ready replicas of a variant."""
        return sum(r.life is Life.READY for r in self.replicas.live[self._variant(key)])

    def add_replica(self, variant: VariantKey, name: str, ready_at_seconds: float) -> Replica:
        """Order a replica called ``name`` that serves from ``ready_at_seconds`` on (for engine simulators)."""
        self._desired[self._variant(variant)] += 1
        return self.replicas.order(self._variant(variant), self.now_seconds, name=name, ready_at=ready_at_seconds)

    def remove_replica(self, name: str, *, drain: bool = True) -> None:
        """Remove the replica called ``name`` when its requests are done, or at once; then they start again.

        Raises:
            ValueError: there is no such replica.
        """
        replica = self._replica(name)
        if replica.life is not Life.DRAINING:
            self._desired[replica.variant] -= 1
        if drain:
            self.replicas.release(replica, self.now_seconds)
        else:
            self.replicas.fail(replica, self.now_seconds)

    def resume_replica(self, name: str) -> None:
        """Let the replica called ``name``, which drains, take requests again.

        Raises:
            ValueError: there is no such replica (a drained one is gone).
        """
        replica = self._replica(name)
        if replica.life is Life.DRAINING:
            self._desired[replica.variant] += 1
            self.replicas.resume(replica, self.now_seconds)

    def _replica(self, name: str) -> Replica:
        replica = self.replicas.by_name.get(name)
        if replica is None:
            raise ValueError(f"there is no replica named {name!r}")
        return replica

    def _advance(self, until: float) -> None:
        advance = self._functions["advance"]
        while advance(self.replicas.world, until) == kernel.NEEDS_ROOM:
            self.replicas.world = more_queue_room(self.replicas.world)

    def _variant(self, key: VariantKey) -> int:
        if key not in self._index:
            raise ValueError(f"there is no variant {key}; there are {', '.join(map(str, self._index))}")
        return self._index[key]
