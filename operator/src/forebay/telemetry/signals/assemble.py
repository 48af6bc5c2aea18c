"""Put one pool's telemetry together from the readings of its groups."""

import math
from collections.abc import Mapping

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.observation import EngineSample, Problem, Traffic
from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.grouping import Place
from forebay.telemetry.query.readings import NEWEST, REPLICAS, growth, level
from forebay.telemetry.signals.engines import engine_sample, finished, held, waiting
from forebay.telemetry.signals.objectives import Objectives
from forebay.telemetry.signals.plausibility import impossible_share, too_many
from forebay.telemetry.signals.pool_view import ENTRY, EXIT, PoolView
from forebay.telemetry.signals.traffic import TrafficReader
from forebay.telemetry.source import PoolTelemetry, WorkloadTarget


class Assembler:
    """Assembles one pool in one round."""

    def __init__(self, view: PoolView, keep_seconds: float) -> None:
        self._view = view
        self._keep_seconds = keep_seconds

    def assemble(self, end_seconds: int) -> PoolTelemetry:
        """Return the pool's telemetry."""
        if self._view.place.problem:
            self._view.note("arrivals", Problem.MISSING, self._view.place.problem)
            return PoolTelemetry(at_seconds=end_seconds, freshness=tuple(self._view.freshness))
        engines = self._engines(end_seconds)
        traffic = TrafficReader(self._view, self._keep_seconds).read(end_seconds)
        ended = self._sum_finished()
        self._note_drift(traffic, engines, ended)
        objectives = Objectives(self._view)
        missed = objectives.missed(ended)
        return PoolTelemetry(
            at_seconds=end_seconds,
            traffic=traffic,
            engines=engines,
            waiting_prefill=self._waiting(ENTRY, gateway=True),
            waiting_decode=self._waiting((Role.DECODE,), gateway=False),
            finished=ended,
            missed=None if missed is None else missed.either,
            missed_ttft=None if missed is None else missed.ttft,
            missed_range=None if missed is None else missed.range,
            ttft_seconds=objectives.ttft_seconds(),
            itl_seconds=objectives.itl_seconds(),
            freshness=tuple(self._view.freshness),
        )

    # Engines

    def _engines(self, end_seconds: int) -> dict[VariantKey, EngineSample]:
        samples: dict[VariantKey, EngineSample] = {}
        for workload in self._view.place.target.workloads:
            place = self._view.place.workloads[workload.variant]
            dialect, readings = self._view.dialect(place), self._view.readings(place)
            sample = engine_sample(dialect, readings, place.key, workload.role)
            wrong = too_many(workload, place, sample, end_seconds, self._view.memory)
            if wrong:
                self._view.note(f"engine/{workload.variant}", Problem.IMPLAUSIBLE, wrong)
                if workload.role in ENTRY and self._view.place.gateway is None:
                    self._view.implausible = wrong
                continue
            if sample is not None:
                samples[workload.variant] = sample
            self._note_engine(workload, place, sample, end_seconds)
        return samples

    def _note_engine(
        self, workload: WorkloadTarget, place: Place, sample: EngineSample | None, end_seconds: int
    ) -> None:
        signal = f"engine/{workload.variant}"
        readings = self._view.readings(place)
        error = readings.failed((NEWEST, REPLICAS))
        if error is not None:
            self._view.note(signal, Problem.UNREACHABLE, str(error))
            return
        age = self._view.age(place, end_seconds)
        if workload.ready_replicas == 0 and sample is None:
            self._view.note(signal, None, "no replica is ready", age)
        elif age is None:
            self._view.note(signal, Problem.MISSING, self._missing(workload, place))
        elif age > readings.facts.stale_after(place.key) or sample is None:
            self._view.note(signal, Problem.STALE, f"the newest sample is {age:.0f} s old", age)
        elif workload.ready_replicas is not None and (sample.reporting_replicas or 0) < workload.ready_replicas:
            detail = f"{sample.reporting_replicas} of {workload.ready_replicas} ready replicas report"
            self._view.note(signal, Problem.PARTIAL, detail, age)
        else:
            self._view.note(signal, None, self._calibration(workload, place, sample), age)
        if sample is not None:
            self._note_oddities(workload, place, sample)

    def _missing(self, workload: WorkloadTarget, place: Place) -> str:
        """Say which series are not there, and which are that look like them."""
        dialect, similar = self._view.dialect(place), self._view.readings(place).facts.similar
        name = dialect.metric_names(dialect.anchor)[0]
        told = f"no series of {name} for {workload.kind} {workload.name}"
        if not similar:
            return told
        prefix = next((each.removesuffix(name) for each in similar if each.endswith(name)), "")
        hint = f": set telemetry.metricPrefix to {prefix}" if prefix else ""
        return f"{told}, but there is {', '.join(similar[:3])}{hint}"

    def _calibration(self, workload: WorkloadTarget, place: Place, sample: EngineSample) -> str:
        dialect = self._view.dialect(place)
        if workload.role is Role.DECODE or (
            Signal.PREFILL_TIME in dialect.signals and sample.prefill_seconds is not None
        ):
            return ""
        return f"{dialect.title} reports no prefill time without queueing: prefill capacity is not calibrated"

    def _note_oddities(self, workload: WorkloadTarget, place: Place, sample: EngineSample) -> None:
        """Tell what is wrong with engines whose samples are fresh.

        Each is a signal of its own that is never noted as usable: it is told, and holds nothing back by itself.
        """
        signal = f"engine/{workload.variant}"
        share = impossible_share(self._view.readings(place), place.key)
        if share:
            self._view.note(f"{signal}/kv", Problem.IMPLAUSIBLE, share)
        if sample.stuck_engines:
            seconds = self._view.stuck_seconds
            told = f"{sample.stuck_engines} hold requests, and no counter of theirs moved for {seconds} s"
            self._view.note(f"{signal}/stuck", Problem.STUCK, f"{told}: they are no capacity")
        if sample.sleeping_engines:
            self._view.note(
                f"{signal}/asleep",
                Problem.ASLEEP,
                f"{sample.sleeping_engines} take no requests: they are no capacity",
            )

    # Queues and balance ----------------------------------------------------------------------------------------

    def _waiting(self, roles: tuple[Role, ...], *, gateway: bool) -> float | None:
        values = [
            waiting(self._view.dialect(place), self._view.readings(place), place.key)
            for _, place in self._view.of_roles(roles)
        ]
        if gateway and self._view.place.gateway is not None:
            place = self._view.place.gateway
            values.append(held(self._view.dialect(place), self._view.readings(place), Signal.WAITING, place.key))
        known = [value for value in values if value is not None]
        return math.fsum(known) if known else None

    def _sum_finished(self) -> float | None:
        values = [
            finished(self._view.dialect(place), self._view.readings(place), place.key)
            for _, place in self._view.of_roles(EXIT)
        ]
        known = [value for value in values if value is not None]
        return math.fsum(known) if known else None

    def _note_drift(
        self, traffic: Traffic | None, engines: Mapping[VariantKey, EngineSample], ended: float | None
    ) -> None:
        """Tell when requests are not conserved: what began must end or be held."""
        holds = [self._held(place) for place in self._view.place.places]
        if traffic is None or ended is None or not engines or None in holds:
            return
        span = traffic.end_seconds - traffic.start_seconds
        if span != next(iter(engines.values())).interval_seconds:
            return  # arrivals were made up for: what ended meanwhile is not in this round's figures
        refused = math.fsum(self._refused(place) for place in self._view.place.places)
        drift = self._view.memory.balance.enter(
            traffic.start_seconds,
            traffic.end_seconds,
            begun=traffic.arrivals + math.fsum(self._aborted(place) for place in self._view.place.places),
            ended=ended + refused,
            held=math.fsum(value for value in holds if value is not None),
        )
        if drift is not None:
            self._view.note("flow", Problem.DRIFT, str(drift))

    def _held(self, place: Place) -> float | None:
        """Return all requests that a place holds; of a gateway, those that no engine holds yet."""
        dialect, readings = self._view.dialect(place), self._view.readings(place)
        queue = held(dialect, readings, Signal.WAITING, place.key)
        if dialect.kind == "gateway":
            return queue or 0.0
        row = readings.row(level(Signal.RUNNING), place.key)
        running = row[-1] if row is not None else (0.0 if Signal.RUNNING in dialect.lazy else math.nan)
        return None if queue is None or math.isnan(running) else queue + running

    def _aborted(self, place: Place) -> float:
        """Return the requests of a place whose clients left, where arrivals may be without some of them."""
        return self._view.readings(place).value(growth(Signal.ABORTED), place.key) or 0.0

    def _refused(self, place: Place) -> float:
        """Return the requests that a place refused before it held them."""
        row = self._view.readings(place).row(growth(Signal.REJECTED), place.key) or []
        return math.fsum(value for value in row if not math.isnan(value))
