"""Put one pool's telemetry together from the readings of its groups."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.flow.fleet import Role
from forebay.flow.observation import EngineSample, Freshness, LengthHistogram, Problem, Traffic
from forebay.telemetry.answer import Labels
from forebay.telemetry.arrivals import BirthControl, Ledger, arrivals_by_slot
from forebay.telemetry.dialect import Dialect, Signal
from forebay.telemetry.engines import cached_share, engine_sample, finished, prompts
from forebay.telemetry.groups import Group
from forebay.telemetry.latency import Misses, misses
from forebay.telemetry.plan import GroupId, Place, PoolPlace
from forebay.telemetry.readings import NEWEST, REPLICAS, Readings, Slots, arrival_names, level
from forebay.telemetry.slow import Slow
from forebay.telemetry.source import PoolTelemetry, WorkloadTarget

_ENTRY = (Role.PREFILL, Role.SERVE)
_EXIT = (Role.DECODE, Role.SERVE)


@dataclass(slots=True)
class GroupRound:
    """What one group's round brought."""

    group: Group
    readings: Readings
    births: BirthControl
    slow: Slow | None = None
    slow_is_new: bool = False


@dataclass(slots=True)
class PoolMemory:
    """What is remembered of one pool between rounds."""

    ledger: Ledger = field(default_factory=Ledger)
    source: str = ""
    newest_given_out: float | None = None
    """Time of the sample behind the arrivals that were given out last."""
    mean_prompt_tokens: float | None = None
    newest_seconds: dict[Place, float] = field(default_factory=dict)


class Assembler:
    """Assembles one pool in one round."""

    def __init__(
        self, place: PoolPlace, rounds: Mapping[GroupId, GroupRound], memory: PoolMemory, keep_seconds: float
    ) -> None:
        self._place = place
        self._target = place.target
        self._rounds = rounds
        self._memory = memory
        self._keep_seconds = keep_seconds
        self._freshness: list[Freshness] = []

    def assemble(self, end_seconds: int) -> PoolTelemetry:
        """Return the pool's telemetry."""
        if self._place.problem:
            self._note("arrivals", Problem.MISSING, self._place.problem)
            return PoolTelemetry(at_seconds=end_seconds, freshness=tuple(self._freshness))
        engines = self._engines(end_seconds)
        traffic = self._traffic(end_seconds)
        done = self._sum_finished()
        ended = None if done is None else done
        return PoolTelemetry(
            at_seconds=end_seconds,
            traffic=traffic,
            engines=engines,
            waiting_prefill=self._waiting(_ENTRY, gateway=True),
            waiting_decode=self._waiting((Role.DECODE,), gateway=False),
            finished=ended,
            missed=self._missed(ended),
            ttft_seconds=self._percentile((Signal.TTFT,), _ENTRY, gateway=True),
            itl_seconds=self._percentile((Signal.REQUEST_ITL, Signal.TOKEN_ITL), _EXIT, gateway=False),
            freshness=tuple(self._freshness),
        )

    def _note(self, signal: str, problem: Problem | None, detail: str = "", age: float | None = None) -> None:
        self._freshness.append(Freshness(signal=signal, age_seconds=age, problem=problem, detail=detail))

    def _of_roles(self, roles: tuple[Role, ...]) -> list[tuple[WorkloadTarget, Place]]:
        return [
            (workload, self._place.workloads[workload.variant])
            for workload in self._target.workloads
            if workload.role in roles
        ]

    def _readings(self, place: Place) -> Readings:
        return self._rounds[place.group].readings

    def _dialect(self, place: Place) -> Dialect:
        return self._rounds[place.group].group.dialect

    # Engines

    def _engines(self, end_seconds: int) -> dict[str, EngineSample]:
        samples: dict[str, EngineSample] = {}
        for workload in self._target.workloads:
            place = self._place.workloads[workload.variant]
            sample = engine_sample(self._dialect(place), self._readings(place), place.key)
            if sample is not None:
                samples[workload.variant] = sample
            self._note_engine(workload, place, sample, end_seconds)
        return samples

    def _note_engine(
        self, workload: WorkloadTarget, place: Place, sample: EngineSample | None, end_seconds: int
    ) -> None:
        signal = f"engine/{workload.variant}"
        readings = self._readings(place)
        error = readings.failed((NEWEST, REPLICAS))
        if error is not None:
            self._note(signal, Problem.UNREACHABLE, str(error))
            return
        age = self._age(place, end_seconds)
        if workload.ready_replicas == 0 and sample is None:
            self._note(signal, None, "no replica is ready", age)
        elif age is None:
            name = self._dialect(place).metric_names(self._dialect(place).anchor)[0]
            self._note(signal, Problem.MISSING, f"no series of {name} for {workload.kind} {workload.name}")
        elif age > readings.facts.stale_after(place.key) or sample is None:
            self._note(signal, Problem.STALE, f"the newest sample is {age:.0f} s old", age)
        elif workload.ready_replicas is not None and (sample.reporting_replicas or 0) < workload.ready_replicas:
            detail = f"{sample.reporting_replicas} of {workload.ready_replicas} ready replicas report"
            self._note(signal, Problem.PARTIAL, detail, age)
        else:
            self._note(signal, None, self._calibration(place, sample), age)

    def _calibration(self, place: Place, sample: EngineSample) -> str:
        dialect = self._dialect(place)
        if Signal.PREFILL_TIME in dialect.signals and sample.prefill_seconds is not None:
            return ""
        return f"{dialect.title} reports no prefill time without queueing: prefill capacity is not calibrated"

    def _age(self, place: Place, end_seconds: int) -> float | None:
        """Return the age of the newest sample, remembered over rounds."""
        row = self._readings(place).row(NEWEST, place.key)
        if row is not None and not math.isnan(row[-1]):
            self._memory.newest_seconds[place] = row[-1]
        newest = self._memory.newest_seconds.get(place)
        return None if newest is None else max(0.0, end_seconds - newest)

    # Arrivals

    def _traffic(self, end_seconds: int) -> Traffic | None:
        if self._place.gateway_problem:
            self._note("arrivals", Problem.DUPLICATE, self._place.gateway_problem)
            return None
        gateway = self._place.gateway
        places = [gateway] if gateway is not None else [place for _, place in self._counting()]
        if not places:
            self._note("arrivals", Problem.MISSING, "no replica is ready to count arrivals: name a gateway")
            return None
        source = "gateway" if gateway is not None else "engine"
        if self._memory.source != source:
            self._memory.source, self._memory.ledger, self._memory.newest_given_out = source, Ledger(), None
        for place in places:
            error = self._readings(place).failed(arrival_names(self._dialect(place)))
            if error is not None:
                self._note("arrivals", Problem.UNREACHABLE, str(error))
                return None
        return self._count(places, end_seconds, source)

    def _counting(self) -> list[tuple[WorkloadTarget, Place]]:
        """Return the workloads where requests enter and that can have counted any."""
        return [
            (workload, place)
            for workload, place in self._of_roles(_ENTRY)
            if workload.ready_replicas != 0 or self._readings(place).row(NEWEST, place.key) is not None
        ]

    def _count(self, places: list[Place], end_seconds: int, source: str) -> Traffic | None:
        ages = {place: self._age(place, end_seconds) for place in places}
        seen = [place for place in places if ages[place] is not None]
        if not seen:
            self._note("arrivals", Problem.MISSING, "nothing has counted arrivals yet")
            return None
        slots, counts = self._slot_counts(seen)
        reporting = self._reporting()
        judged = [place for place in seen if place in reporting] or seen
        oldest = max(ages[place] or 0.0 for place in judged)
        ledger = self._memory.ledger
        newest = end_seconds - oldest
        behind = self._memory.newest_given_out
        renewed = newest > (slots.start_seconds if behind is None else behind)
        stale = any((ages[place] or 0.0) > self._readings(place).facts.stale_after(place.key) for place in seen)
        if behind is None or (renewed and not stale):
            self._memory.newest_given_out = newest
        resolution = max(self._readings(place).facts.scrape_interval(place.key) for place in judged)
        count = ledger.enter(
            slots,
            counts,
            fresh=renewed and not stale,
            resolution_seconds=resolution,
            keep_seconds=self._keep_seconds,
        )
        if stale:
            self._note("arrivals", Problem.STALE, f"the newest sample is {oldest:.0f} s old", oldest)
            return None
        if not renewed:
            self._note("arrivals", Problem.TOO_FEW, "no new sample since the last round", oldest)
            return None
        if count is None:
            self._note("arrivals", Problem.TOO_FEW, "a counter needs two samples", oldest)
            return None
        lost, ledger.lost_seconds = ledger.lost_seconds, 0.0
        self._note("arrivals", None, f"arrivals of {lost:.0f} s were not counted" if lost else "", oldest)
        tokens, cached = self._prompt_tokens(count.total)
        return Traffic(
            start_seconds=count.start_seconds,
            end_seconds=count.end_seconds,
            arrivals=count.total,
            slot_counts=count.slot_counts,
            input_tokens=tokens,
            cached_input_tokens=cached,
            input_lengths=self._lengths(),
            source=source,
        )

    def _reporting(self) -> set[Place]:
        """Return the places that should have a recent sample: gateways, and workloads with a ready replica."""
        gateway = set() if self._place.gateway is None else {self._place.gateway}
        return gateway | {place for workload, place in self._counting() if workload.ready_replicas != 0}

    def _slot_counts(self, places: list[Place]) -> tuple[Slots, list[float]]:
        """Return the arrivals at all ``places`` by slot; as one slot where groups differ in their slots."""
        every = [
            (one.readings.slots, arrivals_by_slot(one.group.dialect, one.readings, place.key, one.births))
            for place in places
            for one in (self._rounds[place.group],)
        ]
        first = every[0][0]
        if all(slots == first for slots, _ in every):
            return first, _added([counts or [math.nan] * first.count for _, counts in every])
        whole = Slots(first.start_seconds, first.end_seconds, first.seconds, first.interval_seconds)
        sums = [
            math.fsum(counts) if counts is not None and slots.start_seconds == first.start_seconds else math.nan
            for slots, counts in every
        ]
        return whole, [math.fsum(sums)]

    def _prompt_tokens(self, arrivals: float) -> tuple[float | None, float | None]:
        """Return the prompt tokens of so many arrivals, by the mean length of those that were counted."""
        gateway = self._place.gateway
        engines = [place for _, place in self._of_roles(_ENTRY)]
        for places in ([gateway] if gateway is not None else [], engines):
            seen = [prompts(self._dialect(place), self._readings(place), place.key) for place in places]
            count = sum(each[0] for each in seen if each is not None)
            if count > 0.0:
                tokens = sum(each[1] for each in seen if each is not None)
                self._memory.mean_prompt_tokens = max(0.0, tokens / count)
                break
        mean = self._memory.mean_prompt_tokens
        if mean is None:
            return None, None
        share = self._cached_share(engines)
        return mean * arrivals, None if share is None else share * mean * arrivals

    def _cached_share(self, engines: list[Place]) -> float | None:
        if not engines:
            return None
        first = engines[0]
        keys = [place.key for place in engines if place.group == first.group]
        return cached_share(self._dialect(first), self._readings(first), keys)

    def _lengths(self) -> LengthHistogram | None:
        """Return prompt lengths in the rounds that read them: engines tell uncached ones, gateways cannot."""
        places = [place for _, place in self._of_roles(_ENTRY)]
        gateway = [self._place.gateway] if self._place.gateway is not None else []
        for candidates in (places, gateway):
            for group in dict.fromkeys(place.group for place in candidates):
                one = self._rounds[group]
                if one.slow is None or not one.slow_is_new:
                    continue
                found = one.slow.histogram([place.key for place in candidates if place.group == group])
                if found is not None:
                    return found
        return None

    # Queues, misses and percentiles

    def _waiting(self, roles: tuple[Role, ...], *, gateway: bool) -> float | None:
        values = [
            self._readings(place).value(level(Signal.WAITING), place.key) for _, place in self._of_roles(roles)
        ]
        if gateway and self._place.gateway is not None:
            place = self._place.gateway
            values.append(self._readings(place).value(level(Signal.WAITING), place.key))
        known = [value for value in values if value is not None]
        return math.fsum(known) if known else None

    def _sum_finished(self) -> float | None:
        values = [
            finished(self._dialect(place), self._readings(place), place.key) for _, place in self._of_roles(_EXIT)
        ]
        known = [value for value in values if value is not None]
        return math.fsum(known) if known else None

    def _missed(self, done: float | None) -> float | None:
        """Return how many requests missed TTFT or ITL; the two shares are added, which never counts too few."""
        slo = self._target.slo
        places = [self._place.gateway] if self._place.gateway is not None else []
        ttft = self._misses(Signal.TTFT, places, slo.ttft_seconds)
        if ttft is None:
            ttft = self._misses(Signal.TTFT, [place for _, place in self._of_roles(_ENTRY)], slo.ttft_seconds)
        engines = [place for _, place in self._of_roles(_EXIT)]
        itl = self._misses(Signal.REQUEST_ITL, engines, slo.itl_seconds)
        if itl is None:
            itl = self._misses(Signal.TOKEN_ITL, engines, slo.itl_seconds)
            if itl is not None:
                self._note("itl", None, "judged by single tokens: there is no histogram of per-request latency")
        self._note_misses("ttft", ttft)
        self._note_misses("itl", itl)
        shares = [each.share for each in (ttft, itl) if each is not None and each.share is not None]
        if done is None or (not shares and done > 0.0):
            return None
        return done * min(1.0, math.fsum(shares))

    def _note_misses(self, signal: str, found: Misses | None) -> None:
        if found is None:
            self._note(signal, Problem.MISSING, f"no histogram tells {signal.upper()}")
        else:
            self._note(signal, None, found.detail)

    def _misses(self, signal: Signal, places: list[Place], objective_seconds: float) -> Misses | None:
        by_group: dict[GroupId, list[Labels]] = {}
        for place in places:
            by_group.setdefault(place.group, []).append(place.key)
        found = [
            each
            for group, keys in by_group.items()
            if (each := misses(self._rounds[group].readings, signal, keys, objective_seconds)) is not None
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
        first = [self._place.gateway] if gateway and self._place.gateway is not None else []
        for places in (first, [place for _, place in self._of_roles(roles)]):
            values = [
                one.slow.percentile(signals, self._target.slo.target, [place.key])
                for place in places
                if (one := self._rounds[place.group]).slow is not None
            ]
            known = [value for value in values if value is not None]
            if known:
                return max(known)
        return None


def _added(rows: list[list[float]]) -> list[float]:
    """Add slot by slot; unknown stays unknown."""
    return [math.fsum(slot) for slot in zip(*rows, strict=True)]
