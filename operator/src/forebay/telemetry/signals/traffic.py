"""One pool's traffic: arrivals that have a recent sample behind them, with their prompt tokens."""

import math
from dataclasses import dataclass

from forebay.flow.observation import LengthHistogram, Problem, Traffic
from forebay.telemetry.query.grouping import Place
from forebay.telemetry.query.readings import NEWEST, Slots, arrival_names
from forebay.telemetry.signals.arrivals import Ledger, arrivals_by_slot, missing_counter
from forebay.telemetry.signals.engines import cached_share, prompts
from forebay.telemetry.signals.pool_view import ENTRY, PoolView
from forebay.telemetry.source import WorkloadTarget


@dataclass(frozen=True, slots=True)
class _Standing:
    """What stands behind a round's counts."""

    oldest_seconds: float
    problem: Problem | None = None
    detail: str = ""


class TrafficReader:
    """Reads one pool's arrivals in one round; they are kept in the pool's ledger until they can be given out."""

    def __init__(self, view: PoolView, keep_seconds: float) -> None:
        self._view = view
        self._keep_seconds = keep_seconds

    def read(self, end_seconds: int) -> Traffic | None:
        """Return the arrivals that can be given out, ``None`` while they are not known."""
        gateway = self._view.place.gateway
        if self._view.place.gateway_problem:
            problem = Problem.MISSING if gateway is None else Problem.DUPLICATE
            self._view.note("arrivals", problem, self._view.place.gateway_problem)
            return None
        places = [gateway] if gateway is not None else [place for _, place in self._counting()]
        if not places:
            self._view.note("arrivals", Problem.MISSING, "no replica is ready to count arrivals: name a gateway")
            return None
        source = "gateway" if gateway is not None else "engine"
        memory = self._view.memory
        if memory.source != source:
            memory.source, memory.ledger, memory.newest_given_out = source, Ledger(), None
        if self._view.implausible:
            self._view.note("arrivals", Problem.IMPLAUSIBLE, self._view.implausible)
            return None
        for place in places:
            error = self._view.readings(place).failed(arrival_names(self._view.dialect(place)))
            if error is not None:
                self._view.note("arrivals", Problem.UNREACHABLE, str(error))
                return None
        return self._count(places, end_seconds, source)

    def _counting(self) -> list[tuple[WorkloadTarget, Place]]:
        """Return the workloads where requests enter and that can have counted any."""
        return [
            (workload, place)
            for workload, place in self._view.of_roles(ENTRY)
            if workload.ready_replicas != 0 or self._view.readings(place).row(NEWEST, place.key) is not None
        ]

    def _count(self, places: list[Place], end_seconds: int, source: str) -> Traffic | None:
        ages = {place: self._view.age(place, end_seconds) for place in places}
        seen = [place for place in places if ages[place] is not None]
        if not seen:
            self._view.note("arrivals", Problem.MISSING, "nothing has counted arrivals yet")
            return None
        slots, counts = self._slot_counts(seen)
        reporting = self._reporting()
        judged = [place for place in seen if place in reporting] or seen
        standing = self._standing({place: ages[place] or 0.0 for place in judged}, slots)
        ledger = self._view.memory.ledger
        count = ledger.enter(
            slots,
            counts,
            fresh=standing.problem is None,
            resolution_seconds=max(self._view.readings(each).facts.scrape_interval(each.key) for each in judged),
            keep_seconds=self._keep_seconds,
        )
        if standing.problem is not None:
            self._view.note("arrivals", standing.problem, standing.detail, standing.oldest_seconds)
            return None
        if count is None:
            self._view.note("arrivals", Problem.TOO_FEW, self._too_few(seen), standing.oldest_seconds)
            return None
        lost, ledger.lost_seconds = ledger.lost_seconds, 0.0
        self._view.note(
            "arrivals", None, f"arrivals of {lost:.0f} s were not counted" if lost else "", standing.oldest_seconds
        )
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

    def _too_few(self, places: list[Place]) -> str:
        """Say what is missing to count by."""
        for place in places:
            name = missing_counter(self._view.dialect(place), self._view.readings(place), place.key)
            if name is not None:
                return f"{name} has no two samples yet; if it stays so, the engine does not export it"
        return "the counters have no two samples yet"

    def _standing(self, ages: dict[Place, float], slots: Slots) -> _Standing:
        """Tell whether a new and recent sample of every place stands behind this round's counts."""
        oldest = max(ages.values())
        newest, behind = slots.end_seconds - oldest, self._view.memory.newest_given_out
        stale = any(age > self._view.readings(each).facts.stale_after(each.key) for each, age in ages.items())
        renewed = newest > (slots.start_seconds if behind is None else behind)
        if behind is None or (renewed and not stale):
            self._view.memory.newest_given_out = newest
        if stale:
            return _Standing(oldest, Problem.STALE, f"the newest sample is {oldest:.0f} s old")
        if not renewed:
            return _Standing(oldest, Problem.TOO_FEW, "no new sample since the last round")
        return _Standing(oldest)

    def _reporting(self) -> set[Place]:
        """Return the places that should have a recent sample: gateways, and workloads with a ready replica."""
        gateway = set() if self._view.place.gateway is None else {self._view.place.gateway}
        return gateway | {place for workload, place in self._counting() if workload.ready_replicas != 0}

    def _slot_counts(self, places: list[Place]) -> tuple[Slots, list[float]]:
        """Return the arrivals at all ``places`` by slot; as one slot where groups differ in their slots."""
        every = [
            (one.readings.slots, arrivals_by_slot(one.group.dialect, one.readings, place.key, one.new_series))
            for place in places
            for one in (self._view.round(place),)
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
        gateway = self._view.place.gateway
        engines = [place for _, place in self._view.of_roles(ENTRY)]
        for places in ([gateway] if gateway is not None else [], engines):
            seen = [prompts(self._view.dialect(place), self._view.readings(place), place.key) for place in places]
            count = sum(each[0] for each in seen if each is not None)
            if count > 0.0:
                tokens = sum(each[1] for each in seen if each is not None)
                self._view.memory.mean_prompt_tokens = max(0.0, tokens / count)
                break
        mean = self._view.memory.mean_prompt_tokens
        if mean is None:
            return None, None
        share = self._cached_share(engines)
        return mean * arrivals, None if share is None else share * mean * arrivals

    def _cached_share(self, engines: list[Place]) -> float | None:
        if not engines:
            return None
        first = engines[0]
        keys = [place.key for place in engines if place.group == first.group]
        return cached_share(self._view.dialect(first), self._view.readings(first), keys)

    def _lengths(self) -> LengthHistogram | None:
        """Return prompt lengths in the rounds that read them: engines tell uncached ones, gateways cannot."""
        places = [place for _, place in self._view.of_roles(ENTRY)]
        gateway = [self._view.place.gateway] if self._view.place.gateway is not None else []
        for candidates in (places, gateway):
            for group in dict.fromkeys(place.group for place in candidates):
                one = self._view.rounds[group]
                if not one.lengths_are_new:
                    continue
                found = one.slow.histogram([place.key for place in candidates if place.group == group])
                if found is not None:
                    return found
        return None


def _added(rows: list[list[float]]) -> list[float]:
    """Add slot by slot; unknown stays unknown."""
    return [math.fsum(slot) for slot in zip(*rows, strict=True)]
