"""One simulated pool: give it traffic, run it, observe it as an operator would, scale it."""

from collections.abc import Callable, Mapping

import numpy as np

from forebay.flow.fleet import Pool, Role
from forebay.flow.observation import PoolObservation
from forebay.flow.performance import Performance
from forebay.flow.trace import IntArray, RequestTrace
from forebay.simulation import kernel
from forebay.simulation.observer import Observer
from forebay.simulation.options import QueueOrder, SimulationOptions, StartUp
from forebay.simulation.replicas import Life, Replica, Replicas, VariantModel
from forebay.simulation.result import ScaleAction, SimulationResult
from forebay.simulation.state import (
    COUNTERS,
    EVICTIONS,
    REJECTED,
    TIMED_OUT,
    TOTAL,
    Rules,
    World,
    more_queue_room,
    new_queues,
    new_slots,
)
from forebay.simulation.structures import NEVER
from forebay.simulation.supply import GpuSupply

DEFAULT_START_UP_SECONDS = 120.0


class SimulatedPool:
    """A pool of replicas that serves a trace.

    ``pool`` names the variants and the SLO. ``performance`` and ``start_up`` say per variant what is *true* in
    the simulation, where that is not what the pool's variants claim. ``initial`` replicas are ready at time 0.
    Time only moves in `run_until`; everything else acts at the time that it reached.
    """

    def __init__(
        self,
        pool: Pool,
        trace: RequestTrace,
        *,
        initial: Mapping[str, int],
        performance: Mapping[str, Performance] | None = None,
        start_up: Mapping[str, StartUp] | None = None,
        options: SimulationOptions | None = None,
        supply: GpuSupply | None = None,
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
            options: what else happens.
            supply: GPUs per node pool, shared with other simulated pools; default: no limit.
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
        self._index = {variant.name: number for number, variant in enumerate(pool.variants)}
        self._functions = functions or vars(kernel)
        models = _models(pool, trace, performance or {}, start_up or {}, self.options)
        world = _world(pool, trace, models, self.options, priority)
        self.replicas = Replicas(models, world, self.options, supply or GpuSupply(), self._functions)
        for name, count in initial.items():
            for _ in range(count):
                self.replicas.order(self._variant(name), 0.0, ready_at=0.0)
        self._desired = [initial.get(variant.name, 0) for variant in pool.variants]
        self._observer = Observer(self.replicas, pool, trace, self.options)

    def run_until(self, until_seconds: float) -> None:
        """Let time pass up to and including ``until_seconds``.

        Raises:
            ValueError: that time is in the past.
        """
        until_seconds = float(until_seconds)  # an int would be another type to the compiler
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

    def scale(self, wanted: Mapping[str, int]) -> None:
        """Set the replica counts of variants, as a write to ``/scale`` would.

        Raises:
            ValueError: a variant is unknown or a count is negative.
        """
        for name, count in wanted.items():
            variant = self._variant(name)
            if count < 0:
                raise ValueError(f"variant {name!r} cannot have {count} replicas")
            if count != self._desired[variant]:
                self.actions.append(ScaleAction(self.now_seconds, name, self._desired[variant], count))
                self._desired[variant] = count
            self.replicas.scale(variant, count, self.now_seconds)

    def observe(self) -> PoolObservation:
        """Return what an operator sees of the time since the last call."""
        return self._observer.observe(self.now_seconds, self._desired)

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
            timed_out=int(states[TIMED_OUT]),
            rejected=int(states[REJECTED]),
            evictions=int(w.counters[EVICTIONS]),
            failures=self.replicas.failures,
        )

    def ready(self, name: str) -> int:
        """Return the ready replicas of variant ``name``."""
        return sum(r.life is Life.READY for r in self.replicas.live[self._variant(name)])

    def add_replica(self, variant: str, name: str, ready_at_seconds: float) -> Replica:
        """Order a replica called ``name`` that serves from ``ready_at_seconds`` on (for engine simulators)."""
        self._desired[self._variant(variant)] += 1
        return self.replicas.order(self._variant(variant), self.now_seconds, name=name, ready_at=ready_at_seconds)

    def remove_replica(self, name: str, *, drain: bool = True) -> None:
        """Take the replica called ``name`` away: when its requests are done, or at once, then they start again.

        Raises:
            ValueError: there is no such replica.
        """
        replica = self.replicas.by_name.get(name)
        if replica is None:
            raise ValueError(f"there is no replica named {name!r}")
        if replica.life is not Life.DRAINING:
            self._desired[replica.variant] -= 1
        if drain:
            self.replicas.release(replica, self.now_seconds)
        else:
            self.replicas.fail(replica, self.now_seconds)

    def _advance(self, until: float) -> None:
        advance = self._functions["advance"]
        while advance(self.replicas.world, until) == kernel.NEEDS_ROOM:
            self.replicas.world = more_queue_room(self.replicas.world)

    def _variant(self, name: str) -> int:
        if name not in self._index:
            raise ValueError(f"no variant is named {name!r}; there are {', '.join(self._index)}")
        return self._index[name]


def _models(
    pool: Pool,
    trace: RequestTrace,
    performance: Mapping[str, Performance],
    start_up: Mapping[str, StartUp],
    options: SimulationOptions,
) -> list[VariantModel]:
    roles = set(pool.roles)
    if roles not in ({Role.SERVE}, {Role.PREFILL, Role.DECODE}):
        raise ValueError(
            f"a pool needs prefill and decode variants, or serve variants alone; it has {sorted(roles)}"
        )
    known = {variant.name for variant in pool.variants}
    for name in (*performance, *start_up, *options.routing_weights):
        if name not in known:
            raise ValueError(f"no variant is named {name!r}; there are {', '.join(sorted(known))}")
    prompt = float(trace.input_tokens.mean()) if len(trace) else 1000.0
    context = prompt + (float(trace.output_tokens.mean()) / 2 if len(trace) else 100.0)
    models = []
    for variant in pool.variants:
        speed = performance.get(variant.name, variant.performance)
        if not isinstance(speed, Performance):
            raise ValueError(  # noqa: TRY004  a profile of points is a fine type, but not here
                f"variant {variant.name!r} has no linear performance model; pass one in `performance`"
            )
        _check(variant.name, speed)
        weight = max(1e-9, options.routing_weights.get(variant.name, 1.0))
        default = StartUp.fixed(
            DEFAULT_START_UP_SECONDS if variant.start_up_seconds is None else variant.start_up_seconds
        )
        models.append(
            VariantModel(
                variant=variant,
                performance=speed,
                start_up=start_up.get(variant.name, default),
                share=weight * _edge_batch(speed, pool.slo.itl_seconds, context),
                rank=speed.prefill_seconds(prompt) / weight,
            )
        )
    return models


def _check(name: str, speed: Performance) -> None:
    if speed.max_batch < 1 or speed.kv_capacity_tokens < 1 or speed.decode_base_seconds <= 0:
        raise ValueError(
            f"variant {name!r}: max_batch, kv_capacity_tokens and decode_base_seconds must be positive"
        )
    if speed.prefill_base_seconds + speed.prefill_seconds_per_token <= 0:
        raise ValueError(f"variant {name!r}: a prefill must take time")


def _edge_batch(speed: Performance, itl: float, context: float) -> float:
    """Return the batch at which one iteration takes ``itl``: the capacity that routing balances by."""
    per_sequence = speed.decode_seconds_per_sequence + speed.decode_seconds_per_kv_token * context
    most = min(speed.max_batch, speed.kv_capacity_tokens / context)
    if per_sequence <= 0:
        return most
    return max(1.0, min(most, (itl - speed.decode_base_seconds) / per_sequence))


def _heap_room(batch: int) -> int:
    """Return entries per slot: an odd number of cache lines, so that the heaps do not share cache sets."""
    return (-(-batch // 8) | 1) * 8


def _world(
    pool: Pool,
    trace: RequestTrace,
    models: list[VariantModel],
    options: SimulationOptions,
    priority: IntArray | None,
) -> World:
    count = len(trace)
    prompt = np.require(trace.input_tokens, np.int64, ["C", "W"])
    output = np.require(trace.output_tokens, np.int64, ["C", "W"])
    work = prompt
    if options.prefix_cache and trace.cached_tokens is not None:
        work = np.maximum(0, prompt - trace.cached_tokens).astype(np.int64)
    if priority is not None and (
        len(priority) != count or (count and (priority.min() < 0 or priority.max() > 200))
    ):
        raise ValueError("priority needs one class from 0 to 200 per request")
    classes = 1 if priority is None or count == 0 else int(priority.max()) + 1
    mean_work = float(work.mean()) if count else 1000.0
    with_prefill = [m.performance for m in models if m.variant.role is not Role.DECODE]
    with_decode = [m.performance for m in models if m.variant.role is not Role.PREFILL]
    fastest = min(with_prefill, key=lambda p: p.prefill_seconds(mean_work))
    timeout = options.queue_timeout_seconds
    batch_limit = _heap_room(max(p.max_batch for p in with_decode))

    def optional(wanted: bool) -> int:
        return count if wanted else 1

    rules = Rules(
        ttft_slo=float(pool.slo.ttft_seconds),
        itl_slo=float(pool.slo.itl_seconds),
        late_last=options.queue_order is QueueOrder.LATE_LAST,
        reserve_kv=options.reserve_kv,
        preemption=options.preemption,
        timeout=NEVER if timeout is None else float(timeout),
        retries=int(options.retries),
        backoff=float(options.retry_backoff_seconds),
        classes=classes,
        chunk=float(options.prefill_chunk_tokens or 0),
        fast_base=float(fastest.prefill_base_seconds),
        fast_token=float(fastest.prefill_seconds_per_token),
        transfer_token=0.0
        if Role.SERVE in pool.roles
        else float(max(p.kv_transfer_seconds_per_token for p in with_prefill)),
        kv_room=float(max(p.kv_capacity_tokens for p in with_decode)),
        log_slots=options.log_replicas,
        batch_limit=int(batch_limit),
    )
    slots = new_slots(8, int(batch_limit))
    world = World(
        arrival=np.require(trace.arrival_seconds, np.float64, ["C", "W"]),
        prompt=prompt,
        work=work,
        output=output,
        ttft=np.full(count, np.nan),
        done=np.full(count, np.nan),
        link=np.full(count, -1, np.int32),
        state=np.zeros(count, np.uint8),
        log=np.zeros(count, np.int32),
        level=np.zeros(1, np.uint8) if priority is None else priority.astype(np.uint8),
        left=np.zeros(optional(options.preemption)),
        attempt=np.zeros(optional(timeout is not None), np.uint8),
        started=np.zeros(optional(options.log_replicas)),
        prefill_slot=np.zeros(optional(options.log_replicas), np.int32),
        decode_slot=np.zeros(optional(options.log_replicas), np.int32),
        gauges=slots.gauges,
        counts=slots.counts,
        keys=slots.keys,
        trees=slots.trees,
        tags=slots.tags,
        ids=slots.ids,
        sums=slots.sums,
        queues=new_queues(classes),
        counters=np.zeros(COUNTERS, np.int64),
        transfer_key=np.zeros(64),
        transfer_id=np.zeros(64, np.int32),
        retry_id=np.zeros(64, np.int32),
        retry_time=np.zeros(64),
        rules=rules,
    )
    world.counters[TOTAL] = count
    return world
