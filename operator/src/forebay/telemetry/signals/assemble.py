"""Put one pool's telemetry together from the readings of its groups."""

import math

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.observation import EngineSample, Problem
from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.grouping import GroupId, Place
from forebay.telemetry.query.readings import NEWEST, REPLICAS, level
from forebay.telemetry.signals.engines import engine_sample, finished
from forebay.telemetry.signals.latency import Misses, misses
from forebay.telemetry.signals.pool_view import ENTRY, EXIT, PoolView
from forebay.telemetry.signals.traffic import TrafficReader
from forebay.telemetry.source import PoolTelemetry, WorkloadTarget
from forebay.telemetry.transport.answer import Labels


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
        missed, missed_ttft = self._missed(ended)
        return PoolTelemetry(
            at_seconds=end_seconds,
            traffic=traffic,
            engines=engines,
            waiting_prefill=self._waiting(ENTRY, gateway=True),
            waiting_decode=self._waiting((Role.DECODE,), gateway=False),
            finished=ended,
            missed=missed,
            missed_ttft=missed_ttft,
            ttft_seconds=self._percentile((Signal.TTFT,), ENTRY, gateway=True),
            itl_seconds=self._percentile((Signal.REQUEST_ITL, Signal.TOKEN_ITL), EXIT, gateway=False),
            freshness=tuple(self._view.freshness),
        )

    # Engines

    def _engines(self, end_seconds: int) -> dict[VariantKey, EngineSample]:
        samples: dict[VariantKey, EngineSample] = {}
        for workload in self._view.place.target.workloads:
            place = self._view.place.workloads[workload.variant]
            sample = engine_sample(self._view.dialect(place), self._view.readings(place), place.key)
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
            name = self._view.dialect(place).metric_names(self._view.dialect(place).anchor)[0]
            self._view.note(signal, Problem.MISSING, f"no series of {name} for {workload.kind} {workload.name}")
        elif age > readings.facts.stale_after(place.key) or sample is None:
            self._view.note(signal, Problem.STALE, f"the newest sample is {age:.0f} s old", age)
        elif workload.ready_replicas is not None and (sample.reporting_replicas or 0) < workload.ready_replicas:
            detail = f"{sample.reporting_replicas} of {workload.ready_replicas} ready replicas report"
            self._view.note(signal, Problem.PARTIAL, detail, age)
        else:
            self._view.note(signal, None, self._calibration(place, sample), age)

    def _calibration(self, place: Place, sample: EngineSample) -> str:
        dialect = self._view.dialect(place)
        if Signal.PREFILL_TIME in dialect.signals and sample.prefill_seconds is not None:
            return ""
        return f"{dialect.title} reports no prefill time without queueing: prefill capacity is not calibrated"

    # Queues, misses and percentiles

    def _waiting(self, roles: tuple[Role, ...], *, gateway: bool) -> float | None:
        values = [
            self._view.readings(place).value(level(Signal.WAITING), place.key)
            for _, place in self._view.of_roles(roles)
        ]
        if gateway and self._view.place.gateway is not None:
            place = self._view.place.gateway
            values.append(self._view.readings(place).value(level(Signal.WAITING), place.key))
        known = [value for value in values if value is not None]
        return math.fsum(known) if known else None

    def _sum_finished(self) -> float | None:
        values = [
            finished(self._view.dialect(place), self._view.readings(place), place.key)
            for _, place in self._view.of_roles(EXIT)
        ]
        known = [value for value in values if value is not None]
        return math.fsum(known) if known else None

    def _missed(self, done: float | None) -> tuple[float | None, float | None]:
        """Return how many requests missed TTFT or ITL, and how many of these missed TTFT.

        The shares of both are added, which never counts too few.
        """
        slo = self._view.place.target.slo
        places = [self._view.place.gateway] if self._view.place.gateway is not None else []
        ttft = self._misses(Signal.TTFT, places, slo.ttft_seconds)
        if ttft is None:
            ttft = self._misses(Signal.TTFT, [place for _, place in self._view.of_roles(ENTRY)], slo.ttft_seconds)
        engines = [place for _, place in self._view.of_roles(EXIT)]
        itl = self._misses(Signal.REQUEST_ITL, engines, slo.itl_seconds)
        if itl is None:
            itl = self._misses(Signal.TOKEN_ITL, engines, slo.itl_seconds)
            if itl is not None:
                self._view.note(
                    "itl", None, "judged by single tokens: there is no histogram of per-request latency"
                )
        self._note_misses("ttft", ttft)
        self._note_misses("itl", itl)
        late, slow = (None if each is None else each.share for each in (ttft, itl))
        if done is None or (late is None and slow is None and done > 0.0):
            return None, None
        missed_ttft = None if late is None and done > 0.0 else done * (late or 0.0)
        return done * min(1.0, (late or 0.0) + (slow or 0.0)), missed_ttft

    def _note_misses(self, signal: str, found: Misses | None) -> None:
        if found is None:
            self._view.note(signal, Problem.MISSING, f"no histogram tells {signal.upper()}")
        else:
            self._view.note(signal, None, found.detail)

    def _misses(self, signal: Signal, places: list[Place], objective_seconds: float) -> Misses | None:
        by_group: dict[GroupId, list[Labels]] = {}
        for place in places:
            by_group.setdefault(place.group, []).append(place.key)
        found = [
            each
            for group, keys in by_group.items()
            if (each := misses(self._view.rounds[group].readings, signal, keys, objective_seconds)) is not None
        ]
        if not found:
            return None
        return Misses(
            math.fsum(each.total for each in found),
            math.fsum(each.late for each in found),
            all(each.exact for each in found),
            next((each.detail for each in found if each.detail), ""),
        )

    def _percentile(self, signals: tuple[Signal, ...], roles: tuple[Role, ...], *, gateway: bool) -> float | None:
        first = [self._view.place.gateway] if gateway and self._view.place.gateway is not None else []
        for places in (first, [place for _, place in self._view.of_roles(roles)]):
            values = [
                self._view.round(place).slow.percentile(signals, self._view.place.target.slo.target, [place.key])
                for place in places
            ]
            known = [value for value in values if value is not None]
            if known:
                return max(known)
        return None
