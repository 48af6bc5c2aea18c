"""The life of a simulated pool's replicas, from order to end, and their cost.

A replica is billed from its start until it is gone, and at least for its whole start-up, even if the order is
cancelled. The cost of nodes is counted by `forebay.offline.simulation.nodes`.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from forebay.flow.fleet import Role, VariantKey
from forebay.offline.simulation import kernel
from forebay.offline.simulation import kernel_state as state
from forebay.offline.simulation.kernel_state import KernelState, more_slots
from forebay.offline.simulation.nodes.capacity import Pod, PodCapacity
from forebay.offline.simulation.simulated_replica import Due, Life, Replica, VariantModel
from forebay.offline.simulation.simulation_options import SimulationOptions
from forebay.offline.simulation.structures import NEVER

KINDS = {Role.PREFILL: state.PREFILL, Role.DECODE: state.DECODE, Role.SERVE: state.SERVE}


class Replicas:
    """The replicas of one pool, on the slots of one world."""

    def __init__(
        self,
        models: Sequence[VariantModel],
        world: KernelState,
        options: SimulationOptions,
        capacity: PodCapacity,
        functions: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        self.models = tuple(models)
        self.world = world
        self.live: list[list[Replica]] = [[] for _ in models]
        """Replicas that are not gone, per variant, oldest first."""
        self.by_slot: dict[int, Replica] = {}
        self.by_name: dict[str, Replica] = {}
        self.failures = 0
        self.cut_off = 0
        """Requests that a replica still held at the end of its termination grace period."""
        self.taken_back = 0
        """Parked replicas that were returned to traffic."""
        self.ordered = [0] * len(models)
        """Orders after the start, per variant."""
        self.cancelled = [0] * len(models)
        """Of these, orders taken back before their replica was ready."""
        self.start_ups: list[list[float]] = [[] for _ in models]
        """How long pods took to become ready on their node, per variant."""
        self.gone_sums = np.zeros((len(models), state.SUMS))
        """Work since the last call of replicas that are gone now, per variant."""
        self._billed = [0.0] * len(models)
        self._options = options
        self._capacity = capacity
        self._version = capacity.version
        self._chance = np.random.default_rng(options.seed)
        self._agenda: list[tuple[float, int, Due, Replica]] = []
        self._entries = 0
        self._serial = 0
        self._waiting = 0
        self._draining = 0
        functions = functions or vars(kernel)
        self._nudge, self._requeue = functions["nudge"], functions["requeue"]

    # Calls of the run loop ------------------------------------------------------------------------------------

    def next_due_seconds(self, now: float) -> float:
        """Return when the next replica starts, becomes ready, fails or asks for GPUs again."""
        due = self._agenda[0][0] if self._agenda else math.inf
        if not self._waiting:
            return due
        if self._capacity.version != self._version:
            return now
        # Only the kernel knows when a draining replica gives its GPUs back, so check once a second.
        return min(due, now + 1.0 if self._draining else self._capacity.next_change_seconds(now))

    def run_due(self, now: float) -> None:
        """Handle all events due at ``now``: replicas start, become ready, fail, are reclaimed, leave, get GPUs."""
        self.reap()
        while self._agenda and self._agenda[0][0] <= now:
            _, _, what, replica = heapq.heappop(self._agenda)
            self._happen(what, replica, now)
            self.reap()
        if self._waiting:
            self._ask_again(now)

    def node_wait_seconds(self, variant: int, now: float) -> float:
        """Return the 90th percentile of one more replica's wait for its node; 0 where there is room."""
        model = self.models[variant].variant
        return self._capacity.node_wait_seconds(model.node_pool, model.gpus_per_replica, now)

    def reap(self) -> None:
        """Bill the replicas that have drained, and free their slots."""
        if self._draining == 0:
            return
        w = self.world
        for slot in np.flatnonzero(w.gauges[state.GONE] < NEVER):
            replica = self.by_slot.pop(int(slot))
            sums = w.sums[slot * state.SUMS : (slot + 1) * state.SUMS]
            self.gone_sums[replica.variant] += sums
            sums[:] = 0.0
            self._end(replica, float(w.gauges[state.GONE, slot]))
            w.counts[state.KIND, slot] = 0
            w.gauges[state.GONE, slot] = NEVER

    def replica_seconds(self, now: float) -> dict[VariantKey, float]:
        """Return what was billed up to ``now``, per variant."""
        return {
            model.variant.key: self._billed[index]
            + sum(now - r.starts_seconds for r in self.live[index] if r.life is not Life.WAITING)
            for index, model in enumerate(self.models)
        }

    # Orders and releases --------------------------------------------------------------------------------------

    def scale(
        self,
        variant: int,
        wanted: int,
        now: float,
        emptying: AbstractSet[str] = frozenset(),
        *,
        parks: bool = False,
    ) -> None:
        """Order or release replicas until there are ``wanted``, without parked and draining ones.

        Those on nodes that are named in ``emptying`` go first. With ``parks``, ready replicas are parked, not
        released, and parked ones return before others are ordered.
        """
        present = [r for r in self.live[variant] if r.life not in (Life.PARKED, Life.DRAINING)]
        parked = sorted((r for r in self.live[variant] if r.life is Life.PARKED), key=lambda r: -r.parked_seconds)
        missing = max(0, wanted - len(present))
        for replica in parked[:missing]:
            self._unpark(replica, now)
        for _ in range(missing - len(parked)):
            self.ordered[variant] += 1
            self.order(variant, now)
        for replica in self._victims(present, len(present) - wanted, now, emptying):
            self.cancelled[variant] += replica.life is not Life.READY
            if parks and replica.life is Life.READY:
                self._park(replica, now)
            else:
                self.release(replica, now)

    def order(
        self, variant: int, now: float, *, name: str | None = None, ready_at: float | None = None
    ) -> Replica:
        """Order one replica; ``ready_at`` overrides the drawn start-up time."""
        self._serial += 1
        name = name or f"{self.models[variant].variant.key}-{self._serial}"
        if name in self.by_name:
            raise ValueError(f"a replica named {name!r} exists: replica names must be unique")
        model = self.models[variant].variant
        replica = Replica(name, variant, now, Pod(model.node_pool, model.gpus_per_replica))
        self.live[variant].append(replica)
        self.by_name[name] = replica
        self._waiting += 1
        self._ask(replica, now, ready_at)
        return replica

    def release(self, replica: Replica, now: float) -> None:
        """Release ``replica``: at once if it is not ready or idle, else when its requests are done."""
        if replica.life in (Life.WAITING, Life.STARTING):
            self._end(replica, now)
        elif replica.life in (Life.READY, Life.PARKED):
            replica.life = Life.DRAINING
            self._draining += 1
            self._open(replica, 0, now)
            if self._options.grace_seconds is not None:
                self._at(now + self._options.grace_seconds, Due.CUT_OFF, replica)
            self.reap()

    def resume(self, replica: Replica, now: float) -> None:
        """Let a draining ``replica`` take new requests again; any other does not change."""
        if replica.life is Life.DRAINING:
            replica.life = Life.READY
            self._draining -= 1
            self._open(replica, 1, now)

    def _park(self, replica: Replica, now: float) -> None:
        replica.life, replica.parked_seconds = Life.PARKED, now
        self._open(replica, state.PARKED, now)

    def _unpark(self, replica: Replica, now: float) -> None:
        replica.life = Life.READY
        self.taken_back += 1
        self._open(replica, 1, now)

    def _open(self, replica: Replica, how: int, now: float) -> None:
        self.world.counts[state.OPEN, replica.slot] = how
        self._nudge(self.world, replica.slot, now)

    def fail(self, replica: Replica, now: float) -> None:
        """End ``replica`` at once; its requests start again from their prefill."""
        if replica.life in (Life.WAITING, Life.STARTING):
            self._end(replica, now)
            return
        lost = self._held(replica.slot)
        if replica.life in (Life.READY, Life.PARKED):
            replica.life = Life.DRAINING
            self._draining += 1
        self._requeue(self.world, replica.slot, np.array(lost, np.int64), now)
        self.failures += 1
        self.reap()

    def held(self, replica: Replica) -> int:
        """Return how many requests a replica that serves or is parked holds."""
        return len(self._held(replica.slot))

    # Inside ---------------------------------------------------------------------------------------------------

    def _victims(
        self, present: list[Replica], count: int, now: float, emptying: AbstractSet[str]
    ) -> list[Replica]:
        """Return the replicas to release: not ready, then on nodes to empty, on crowded nodes, soonest empty.

        That is the order of the ReplicaSet controller, where pods on nodes to empty have a low deletion cost.
        """
        if count <= 0:
            return []

        def stays(replica: Replica) -> bool:
            return not any(node.name in emptying for node, _ in replica.pod.places)

        unready = sorted((r for r in reversed(present) if r.life is not Life.READY), key=stays)
        ready = [r for r in present if r.life is Life.READY]
        pods = [r.pod for r in present]

        def order(replica: Replica) -> tuple[bool, int, float, int]:
            crowding = self._capacity.crowding(replica.pod, pods)
            return stays(replica), -crowding, self._drain_seconds(replica, now), replica.slot

        return (unready + sorted(ready, key=order))[:count]

    def _drain_seconds(self, replica: Replica, now: float) -> float:
        """Return an estimate of the time that ``replica`` needs to become empty."""
        w, slot = self.world, replica.slot
        busy = float(w.keys[state.PREFILL_END, slot])
        seconds = max(0.0, busy - now) if busy < NEVER else 0.0
        batch = int(w.counts[state.BATCH, slot])
        if batch:
            first = slot * self.world.rules.batch_limit
            step = self.models[replica.variant].performance.decode_step_seconds(
                batch, float(w.gauges[state.KV, slot])
            )
            gained = float(w.gauges[state.VIRTUAL, slot]) + (now - float(w.gauges[state.UPDATED, slot])) / step
            seconds += (float(w.tags[first : first + batch].max()) - gained) * step
        return seconds

    def _held(self, slot: int) -> list[int]:
        w = self.world
        first = slot * w.rules.batch_limit
        held = [int(k) for k in w.ids[first : first + int(w.counts[state.BATCH, slot])]]
        if w.counts[state.CURRENT, slot] > state.IDLE:
            held.append(int(w.counts[state.CURRENT, slot]))
        return sorted(held)

    def _at(self, when: float, what: Due, replica: Replica) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (when, self._entries, what, replica))

    def _happen(self, what: Due, replica: Replica, now: float) -> None:
        if what is Due.STARTS:
            if replica.life is Life.WAITING and replica.starts_seconds <= now:
                self._start(replica, now)
        elif what is Due.READY:
            self._become_ready(replica, now)
        elif what is Due.FAILS:
            self._strike(replica, now)
        elif what is Due.CUT_OFF:
            if replica.life is Life.DRAINING:
                self.cut_off += self.held(replica)
                self.fail(replica, now)
        else:
            self._reclaim(replica, now)

    def _ask(self, replica: Replica, now: float, ready_at: float | None = None) -> None:
        """Place the pod of ``replica``: it starts now, starts when its node is ready, or is tried again."""
        starts = self._capacity.place(replica.pod, now, at_once=ready_at is not None)
        if starts is None:
            return
        if starts > now:
            replica.starts_seconds = starts
            expected = self.models[replica.variant].start_up.expected_seconds
            replica.expected_ready_seconds = starts + expected
            self._at(starts, Due.STARTS, replica)
        else:
            self._start(replica, now, ready_at)

    def _start(self, replica: Replica, now: float, ready_at: float | None = None) -> None:
        model = self.models[replica.variant]
        self._waiting -= 1
        replica.life = Life.STARTING
        replica.starts_seconds = now
        replica.expected_ready_seconds = now + model.start_up.expected_seconds
        ready = now + model.start_up.draw_seconds(self._chance)
        if ready_at is not None:
            ready = replica.expected_ready_seconds = max(now, ready_at)
        replica.ready_seconds = ready
        reclaimed = self._capacity.reclaim_seconds(replica.pod)
        if reclaimed < math.inf:
            self._at(max(now, reclaimed), Due.RECLAIMED, replica)
        if ready <= now:
            self._become_ready(replica, now)
        else:
            self._at(ready, Due.READY, replica)

    def _ask_again(self, now: float) -> None:
        """Give free room to the replicas that wait, first come, first served."""
        changed = self._capacity.version != self._version
        self._version = self._capacity.version
        waiting = [r for replicas in self.live for r in replicas if r.life is Life.WAITING]
        for replica in sorted(waiting, key=lambda r: r.ordered_seconds):
            if replica.starts_seconds == math.inf:
                self._ask(replica, now)
            elif changed and self._capacity.move(replica.pod, now):
                self._start(replica, now)

    def _become_ready(self, replica: Replica, now: float) -> None:
        if replica.life is not Life.STARTING:
            return
        replica.life = Life.READY
        if now > replica.starts_seconds:  # else it existed at the beginning
            self.start_ups[replica.variant].append(now - replica.starts_seconds)
        replica.slot = self._free_slot()
        self.by_slot[replica.slot] = replica
        self._furnish(replica.slot, self.models[replica.variant], now)
        self._nudge(self.world, replica.slot, now)
        self._plan_misfortune(replica, now)

    def _free_slot(self) -> int:
        free = np.flatnonzero(self.world.counts[state.KIND] == state.EMPTY)
        if len(free) == 0:
            self.world = more_slots(self.world)
            return len(self.world.counts[state.KIND]) // 2
        return int(free[0])

    def _furnish(self, slot: int, model: VariantModel, now: float) -> None:
        w, performance = self.world, model.performance
        w.counts[state.KIND, slot] = KINDS[model.variant.role]
        w.counts[state.OPEN, slot] = 1
        w.gauges[state.PREFILL_BASE, slot] = performance.prefill_base_seconds
        w.gauges[state.PREFILL_TOKEN, slot] = performance.prefill_seconds_per_token
        w.gauges[state.STEP_BASE, slot] = performance.decode_base_seconds
        w.gauges[state.STEP_SEQUENCE, slot] = performance.decode_seconds_per_sequence
        w.gauges[state.STEP_KV, slot] = performance.decode_seconds_per_kv_token
        w.counts[state.MAX_BATCH, slot] = performance.max_batch
        w.gauges[state.KV_LIMIT, slot] = performance.kv_capacity_tokens
        w.gauges[state.SHARE, slot] = model.share
        w.gauges[state.RANK, slot] = model.rank
        w.counts[state.CURRENT, slot] = state.IDLE
        w.gauges[state.KV, slot] = 0.0
        w.gauges[state.UPDATED, slot] = now

    def _plan_misfortune(self, replica: Replica, now: float) -> None:
        if self._options.mean_seconds_between_failures is not None:
            life = self._chance.exponential(self._options.mean_seconds_between_failures)
            self._at(now + life, Due.FAILS, replica)

    def _strike(self, replica: Replica, now: float) -> None:
        """Let ``replica`` fail. If it was still wanted, its workload starts another."""
        wanted = replica.life is Life.READY
        if replica.life in (Life.READY, Life.PARKED, Life.DRAINING):
            self.fail(replica, now)
        if wanted:
            self.order(replica.variant, now)

    def _reclaim(self, replica: Replica, now: float) -> None:
        """End the node of ``replica``: the workload starts another, and it drains as long as the notice allows."""
        if replica.life not in (Life.STARTING, Life.READY, Life.PARKED):
            return
        ends = now + self._capacity.notice_seconds(replica.pod)
        life = replica.life
        self.release(replica, now)
        if life is not Life.PARKED:
            self.order(replica.variant, now)
        if life is not Life.STARTING and self.by_slot.get(replica.slot) is replica:
            self._at(ends, Due.FAILS, replica)

    def _end(self, replica: Replica, when: float) -> None:
        if replica.life is Life.WAITING:
            self._waiting -= 1
        else:
            ends = max(when, replica.ready_seconds) if replica.life is Life.STARTING else when
            self._billed[replica.variant] += ends - replica.starts_seconds
        if replica.life is not Life.WAITING or replica.starts_seconds < math.inf:
            self._capacity.remove(replica.pod, when)
        if replica.life is Life.DRAINING:
            self._draining -= 1
        replica.life = Life.GONE
        self.live[replica.variant].remove(replica)
        del self.by_name[replica.name]
