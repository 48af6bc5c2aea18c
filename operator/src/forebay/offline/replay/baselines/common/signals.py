"""What the metrics of one role say at one tick, in the units that autoscalers are configured in."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.fleet import Role
from forebay.flow.observation import PoolObservation, VariantObservation
from forebay.offline.replay.baselines.common.workload import Workload, workload
from forebay.offline.replay.baselines.registry import PoolFacts
from forebay.sizing.lengths import LengthTracker

_LENGTH_HALF_LIFE_SECONDS = 180.0
_KEEP_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSignals:
    """One role at one tick. Replicas are reference replicas of its workload."""

    role: Role
    at_seconds: float
    interval_seconds: float
    workload: Workload
    desired: float
    """What ``/scale`` holds."""
    ready: float
    supply: float
    """Ready and starting."""
    busy: float
    """Replicas in use: time in prefill, or sequences over the batch that just meets the ITL objective."""
    kv_usage: float
    """Sum over ready replicas of the share of their KV cache in use."""
    running: float
    """Sequences that decode, or prefills that run, as a mean over the interval."""
    waiting: float
    """Requests that wait for this role."""
    input_tokens: float
    """Mean uncached prompt tokens of current requests."""
    output_tokens: float
    """Mean output tokens of current requests."""
    tokens_per_second: float
    """Output tokens per second of the interval."""
    ttft_seconds: float | None
    itl_seconds: float | None

    @property
    def starting(self) -> float:
        """Return what was ordered and is not ready."""
        return self.supply - self.ready

    @property
    def occupancy(self) -> float:
        """Return the share of ready replicas in use: 1 is full."""
        return self.busy / max(self.ready, 1e-9)

    @property
    def in_flight(self) -> float:
        """Return requests that this role works on or holds in its queue."""
        return self.running + self.waiting


class Arrivals:
    """Arrivals at the gateway, to be counted over windows that end now."""

    def __init__(self) -> None:
        self._slots: deque[tuple[float, float, float]] = deque()

    def add(self, seen: PoolObservation) -> None:
        """Take the arrivals of one tick; unknown traffic adds nothing."""
        traffic = seen.traffic
        if traffic is None:
            return
        start, length = traffic.start_seconds, traffic.slot_seconds
        for number, count in enumerate(traffic.slot_counts):
            self._slots.append((start + number * length, start + (number + 1) * length, count))
        while self._slots and self._slots[0][1] < seen.at_seconds - _KEEP_SECONDS:
            self._slots.popleft()

    def per_second(self, window_seconds: float) -> float:
        """Return the mean rate of the last ``window_seconds``, or of what there is if that is less."""
        if not self._slots:
            return 0.0
        end = self._slots[-1][1]
        begin = max(end - window_seconds, self._slots[0][0])
        total = 0.0
        for start, stop, count in reversed(self._slots):
            if stop <= begin:
                break
            total += count * (stop - max(start, begin)) / (stop - start)
        return total / max(end - begin, 1e-9)


class SignalReader:
    """Turns the observations of one pool into signals per role, tick by tick."""

    def __init__(self, facts: PoolFacts) -> None:
        self._facts = facts
        self._lengths = LengthTracker()
        self.arrivals = Arrivals()
        self._before = 0.0

    def read(self, seen: PoolObservation) -> Mapping[Role, RoleSignals]:
        """Return the signals of every role at this tick."""
        interval = max(seen.at_seconds - self._before, 1e-9)
        self._before = seen.at_seconds
        self.arrivals.add(seen)
        self._follow_lengths(seen, interval)
        return {role: self._role(role, seen, interval) for role in self._facts.pool.roles}

    def _follow_lengths(self, seen: PoolObservation, interval: float) -> None:
        traffic = seen.traffic
        if traffic is not None and traffic.input_tokens is not None:
            self._lengths.arrived(
                requests=traffic.arrivals,
                input_tokens=traffic.input_tokens,
                cached_tokens=traffic.cached_input_tokens or 0.0,
                elapsed=interval,
                half_life=_LENGTH_HALF_LIFE_SECONDS,
            )
            if traffic.input_lengths is not None:
                self._lengths.histogram(traffic.input_lengths, interval)
        engines = [v.engine for v in seen.variants if v.engine is not None]
        self._lengths.finished(
            requests=sum(engine.finished or 0.0 for engine in engines),
            output_tokens=sum(engine.output_tokens or 0.0 for engine in engines),
            elapsed=interval,
            half_life=_LENGTH_HALF_LIFE_SECONDS,
        )
        self._lengths.running(
            sequences=sum(engine.running_now or 0.0 for engine in engines if engine.kv_tokens is not None),
            kv_tokens=sum(engine.kv_tokens or 0.0 for engine in engines),
        )

    def _role(self, role: Role, seen: PoolObservation, interval: float) -> RoleSignals:
        lengths = self._lengths.current()
        load = workload(self._facts, role, lengths)
        variants = [v for v in seen.variants if v.role is role]
        speed = load.speed
        engines = [v.engine for v in variants if v.engine is not None]
        running = (
            sum(e.prefill_seconds or 0.0 for e in engines) / interval
            if role is Role.PREFILL
            else sum(e.running or 0.0 for e in engines)
        )
        waiting = seen.waiting_decode if role is Role.DECODE else seen.waiting_prefill
        return RoleSignals(
            role=role,
            at_seconds=seen.at_seconds,
            interval_seconds=interval,
            workload=load,
            desired=sum(speed[v.key] * v.desired for v in variants),
            ready=sum(speed[v.key] * v.ready for v in variants),
            supply=sum(speed[v.key] * v.supply for v in variants),
            busy=sum(speed[v.key] * _used(load, v, interval) for v in variants),
            kv_usage=sum((v.engine.kv_usage or 0.0) * v.ready for v in variants if v.engine is not None),
            running=running,
            waiting=waiting or 0.0,
            input_tokens=lengths.input_tokens,
            output_tokens=lengths.output_tokens,
            tokens_per_second=sum(e.output_tokens or 0.0 for e in engines) / interval,
            ttft_seconds=seen.ttft_seconds,
            itl_seconds=seen.itl_seconds,
        )


def _used(load: Workload, variant: VariantObservation, interval: float) -> float:
    """Return how many of the variant's replicas were in use, on average over the interval."""
    engine = variant.engine
    if engine is None:
        return 0.0
    in_prefill = (engine.prefill_seconds or 0.0) / interval
    if load.role is Role.PREFILL:
        return in_prefill
    return max((engine.running or 0.0) / load.work[variant.key].batch, in_prefill)
