"""How one pool keeps its objectives: misses with their uncertainty, and the percentiles of the last minutes.

TTFT of a pool with prefill and decode ends when the first token has left a decode engine. Where prefill and decode
each observe their own part (vLLM), what decode adds is taken as its mean: what remains is prefill's objective.
"""

import math
from dataclasses import dataclass, replace

from forebay.flow.fleet import Role
from forebay.flow.observation import Problem
from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.grouping import GroupId, Place
from forebay.telemetry.query.readings import growth
from forebay.telemetry.signals.latency import Misses, joined, misses
from forebay.telemetry.signals.pool_view import ENTRY, EXIT, PoolView
from forebay.telemetry.transport.answer import Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """How many requests of an interval missed the objectives."""

    either: float
    """TTFT or ITL; the shares of both are added, which never counts too few."""
    ttft: float | None
    range: tuple[float, float]
    """Fewest and most that ``either`` can be."""


class Objectives:
    """Judges one pool in one round."""

    def __init__(self, view: PoolView) -> None:
        self._view = view
        self._gateway = [view.place.gateway] if view.place.gateway is not None else []
        self._decode = [place for _, place in view.of_roles((Role.DECODE,))]

    def missed(self, finished: float | None) -> Missed | None:
        """Return how many of ``finished`` requests missed an objective, ``None`` if no histogram tells."""
        delay = self._view.memory.decode_delay_seconds
        self._update_decode_delay()
        if self._adds_decode() and not self._gateway and delay is None and self._knows_decode_delay():
            self._view.note("ttft", None, "what decode adds to it is known from the next round on")
            return None
        ttft, itl = self._ttft(delay), self._itl()
        self._note("ttft", ttft)
        self._note("itl", itl)
        if finished is None or ((ttft is None or ttft.share is None) and (itl is None or itl.share is None)):
            return None if finished != 0.0 else Missed(either=0.0, ttft=0.0, range=(0.0, 0.0))
        known = [each for each in (ttft, itl) if each is not None and each.total > 0.0]
        late = [each.late / each.total for each in known]
        fewest = max(each.fewest / each.total for each in known)
        most = math.fsum(each.most / each.total for each in known)
        return Missed(
            either=finished * _share(math.fsum(late)),
            ttft=None if ttft is None or ttft.share is None else finished * ttft.share,
            range=(finished * _share(fewest), finished * _share(most)),
        )

    def ttft_seconds(self) -> float | None:
        """Return the percentile of TTFT that the pool's objective is about."""
        known = self._percentile((Signal.TTFT,), self._gateway)
        if known is not None:
            return known
        known = self._percentile((Signal.TTFT,), self._ttft_places())
        delay = self._view.memory.decode_delay_seconds if self._adds_decode() else None
        return None if known is None else known + (delay or 0.0)

    def itl_seconds(self) -> float | None:
        """Return the percentile of ITL that the pool's objective is about."""
        places = [place for _, place in self._view.of_roles(EXIT)]
        return self._percentile((Signal.REQUEST_ITL, Signal.TOKEN_ITL), places)

    # TTFT ------------------------------------------------------------------------------------------------------

    def _ttft(self, decode_delay_seconds: float | None) -> Misses | None:
        slo = self._view.place.target.slo
        found = self._misses(Signal.TTFT, self._gateway, slo.ttft_seconds)
        if found is not None:
            return found
        delay = decode_delay_seconds if self._adds_decode() else None
        objective = slo.ttft_seconds if delay is None else slo.ttft_seconds - delay
        if objective <= 0.0:
            found = self._misses(Signal.TTFT, self._ttft_places(), slo.ttft_seconds)
            all_late = "the queue and the transfer before decode alone take longer than the objective"
            return None if found is None else Misses(found.total, found.total, True, all_late, 0.0, found.total)
        found = self._misses(Signal.TTFT, self._ttft_places(), objective)
        if found is None or found.exact or not delay:
            return found
        told = f"no bucket edge at {slo.ttft_seconds:g} s less what decode adds: interpolated"
        return replace(found, detail=told)

    def _ttft_places(self) -> list[Place]:
        if self._decode and self._view.dialect(self._decode[0]).split_ttft == "decode":
            return self._decode
        return [place for _, place in self._view.of_roles(ENTRY)]

    def _knows_decode_delay(self) -> bool:
        return self._view.memory.decode_delay_seconds is not None

    def _adds_decode(self) -> bool:
        return bool(self._decode) and self._view.dialect(self._decode[0]).split_ttft == "sum"

    def _update_decode_delay(self) -> None:
        """Take what decode added to TTFT in this round for the next one, whose buckets it chooses."""
        if not self._adds_decode():
            return
        seconds, count = 0.0, 0.0
        for place in self._decode:
            readings = self._view.readings(place)
            seconds += readings.value(growth(Signal.TTFT) + "_sum", place.key) or 0.0
            count += readings.value(growth(Signal.TTFT) + "_count", place.key) or 0.0
        if count > 0.0:
            self._view.memory.decode_delay_seconds = seconds / count

    def _itl(self) -> Misses | None:
        objective = self._view.place.target.slo.itl_seconds
        places = [place for _, place in self._view.of_roles(EXIT)]
        found = self._misses(Signal.REQUEST_ITL, places, objective)
        if found is not None:
            return found
        found = self._misses(Signal.TOKEN_ITL, places, objective)
        if found is not None:
            self._view.note("itl", None, "judged by single tokens: there is no histogram of per-request latency")
        return found

    def _misses(self, signal: Signal, places: list[Place], objective_seconds: float) -> Misses | None:
        by_group: dict[GroupId, list[Labels]] = {}
        for place in places:
            by_group.setdefault(place.group, []).append(place.key)
        found = (
            misses(self._view.rounds[group].readings, signal, keys, objective_seconds)
            for group, keys in by_group.items()
        )
        return joined([each for each in found if each is not None])

    def _note(self, signal: str, found: Misses | None) -> None:
        if found is None:
            self._view.note(signal, Problem.MISSING, f"no histogram tells {signal.upper()}")
            return
        self._view.note(signal, None, found.detail)
        if not found.exact and found.total > 0.0 and found.most - found.fewest > 0.01 * found.total:
            # Without the numbers: a sentence that changed every round would be written every round.
            self._view.note(
                f"{signal}/edges", Problem.INEXACT, f"{found.detail}; give the histogram an edge there"
            )

    def _percentile(self, signals: tuple[Signal, ...], places: list[Place]) -> float | None:
        values = [
            self._view.round(place).slow.percentile(signals, self._view.place.target.slo.target, [place.key])
            for place in places
        ]
        return max((value for value in values if value is not None), default=None)


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
