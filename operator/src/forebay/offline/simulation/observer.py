"""What an operator would see of a simulated pool: sums since the last call, and gauges; never the future."""

from collections.abc import Sequence

import numpy as np

from forebay.flow.fleet import Pool
from forebay.flow.observation import (
    EngineSample,
    LengthHistogram,
    ParkedReplica,
    PoolObservation,
    StartingReplica,
    Traffic,
    VariantObservation,
)
from forebay.flow.roles import ROLES
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.simulation import kernel_state as state
from forebay.offline.simulation.replica_life import Replicas
from forebay.offline.simulation.simulated_replica import Life
from forebay.offline.simulation.simulation_options import SimulationOptions
from forebay.offline.simulation.structures import LENGTH, LinkArray

LENGTH_EDGES = tuple(float(edge) for edge in np.unique(np.rint(16 * 2 ** (np.arange(0, 57) / 4))))
"""Upper edges of the length histogram, in tokens: four per octave from 16 to 262,144."""

_BUCKET = np.searchsorted(LENGTH_EDGES, np.arange(LENGTH_EDGES[-1] + 1)).astype(np.uint8)
"""Bucket of each length: a look-up is ten times as fast as a search, and this is done for every request."""

_RECENT = 1000
_RECENT_SECONDS = 300.0
"""Latency percentiles cover the requests that ended last: at most this number, within this time."""
_FEWEST = 5
"""So many start-ups must be measured before their percentile replaces the variant's declared start-up."""


class Observer:
    """Reads a simulated pool's counters the way a scrape does."""

    def __init__(self, replicas: Replicas, pool: Pool, trace: RequestTrace, options: SimulationOptions) -> None:
        self._replicas = replicas
        self._pool = pool
        self._trace = trace
        self._options = options
        self._since = 0.0
        self._arrived = 0
        self._retried = 0
        self._ended = 0
        self._missed = 0
        self._missed_ttft = 0
        self._sums = np.zeros((len(pool.variants), state.SUMS))
        self._lead = [(0, model.start_up.quantile_seconds(0.9)) for model in replicas.models]

    def observe(self, now: float, desired: Sequence[int]) -> PoolObservation:
        """Return the observation of the time since the last call (or 0)."""
        self._collect(now)
        w = self._replicas.world
        counters = w.counters
        ended, missed, late = (int(counters[c]) for c in (state.LOGGED, state.MISSED, state.MISSED_TTFT))
        lengths = w.queues[LENGTH]
        recent = w.log[max(0, ended - _RECENT) : ended]
        ttft, itl = self._percentiles(recent, now)
        observation = PoolObservation(
            key=self._pool.key,
            at_seconds=now,
            traffic=self._traffic(now),
            variants=tuple(self._variant(number, now, desired[number]) for number in range(len(desired))),
            waiting_prefill=float(counters[state.HELD]),
            waiting_late=float(lengths[state.LATE :: state.QUEUES].sum()) if w.rules.late_last else None,
            waiting_decode=float(lengths[state.FOR_DECODE :: state.QUEUES].sum()),
            finished=float(ended - self._ended),
            missed=float(missed - self._missed),
            missed_ttft=float(late - self._missed_ttft),
            ttft_seconds=ttft,
            itl_seconds=itl,
        )
        self._ended, self._missed, self._missed_ttft, self._since = ended, missed, late, now
        return observation

    def _collect(self, now: float) -> None:
        """Settle all slots at ``now`` (see `slot_physics.settle`) and add up their work."""
        w = self._replicas.world
        busy = np.flatnonzero(w.counts[state.BATCH] > 0)
        elapsed = now - w.gauges[state.UPDATED, busy]
        rate, growth = w.gauges[state.RATE, busy], w.gauges[state.GROWTH, busy]
        gained = 2.0 * elapsed * rate / (1.0 + np.sqrt(1.0 + 2.0 * growth * elapsed * rate * rate))
        w.gauges[state.RATE, busy] = rate / (1.0 + rate * growth * gained)
        w.gauges[state.VIRTUAL, busy] += gained
        w.gauges[state.KV, busy] += w.counts[state.BATCH, busy] * gained
        w.gauges[state.UPDATED, busy] = now
        sums = w.sums.reshape(-1, state.SUMS)
        sums[busy, state.RUNNING_SECONDS] += w.counts[state.BATCH, busy] * elapsed
        self._sums[:] = self._replicas.gone_sums
        self._replicas.gone_sums[:] = 0.0
        for slot, replica in self._replicas.by_slot.items():
            self._sums[replica.variant] += sums[slot]
        sums[:] = 0.0

    def _traffic(self, now: float) -> Traffic | None:
        if now <= self._since:
            return None
        w = self._replicas.world
        arrived, retried = int(w.counters[state.NEXT]), int(w.counters[state.RETRY_NEXT])
        new = slice(self._arrived, arrived)
        again = w.retry_id[self._retried : retried]
        slots = max(1, round((now - self._since) / self._options.slot_seconds))
        edges = np.linspace(self._since, now, slots + 1)
        cuts = self._trace.arrival_seconds[new].searchsorted(edges[1:-1], side="right")
        counts = np.diff(np.concatenate(([0], cuts, [arrived - self._arrived])))
        if len(again):
            cuts = w.retry_time[self._retried : retried].searchsorted(edges[1:-1], side="right")
            counts = counts + np.diff(np.concatenate(([0], cuts, [len(again)])))
        prompt, work = w.prompt[new], w.work[new]
        if len(again):
            prompt, work = (
                np.concatenate((prompt, w.prompt[again])),
                np.concatenate((work, w.work[again])),
            )
        histogram = np.bincount(_BUCKET[np.minimum(work, len(_BUCKET) - 1)], minlength=len(LENGTH_EDGES))
        total = float(prompt.sum())
        traffic = Traffic(
            start_seconds=self._since,
            end_seconds=now,
            arrivals=float(len(prompt)),
            slot_counts=tuple(float(count) for count in counts),
            input_tokens=total,
            cached_input_tokens=total - float(work.sum()) if self._options.prefix_cache else None,
            input_lengths=LengthHistogram(
                upper_tokens=LENGTH_EDGES, counts=tuple(histogram.astype(float).tolist())
            ),
            source="gateway",
        )
        self._arrived, self._retried = arrived, retried
        return traffic

    def _percentiles(self, recent: LinkArray, now: float) -> tuple[float | None, float | None]:
        w = self._replicas.world
        ended = recent[(w.state[recent] == state.DONE) & (w.done[recent] > now - _RECENT_SECONDS)]
        if len(ended) == 0:
            return None, None
        ttft = w.ttft[ended]
        transfer = w.rules.transfer_token * w.prompt[ended]
        itl = (w.done[ended] - w.arrival[ended] - ttft - transfer) / np.maximum(1, w.output[ended])
        share = self._pool.slo.target
        return float(_quantile(ttft, share)), float(max(0.0, _quantile(itl, share)))

    def _variant(self, number: int, now: float, desired: int) -> VariantObservation:
        model = self._replicas.models[number]
        live = self._replicas.live[number]
        serving = [r.slot for r in live if r.life in (Life.READY, Life.PARKED, Life.DRAINING)]
        parked = tuple(
            ParkedReplica(name=r.name, since_seconds=r.parked_seconds, requests=float(self._replicas.held(r)))
            for r in live
            if r.life is Life.PARKED
        )
        starting = tuple(
            StartingReplica(r.ordered_seconds, r.expected_ready_seconds, unschedulable=r.life is Life.WAITING)
            for r in live
            if r.life in (Life.WAITING, Life.STARTING)
        )
        ready = sum(r.life is Life.READY for r in live)
        return VariantObservation(
            name=model.variant.name,
            role=model.variant.role,
            desired=desired,
            ready=ready,
            starting=starting,
            parked=parked,
            draining=len(serving) - ready - len(parked),
            engine=self._engine(number, serving, now - self._since) if serving else None,
            lead_time_seconds=self._lead_time(number, now),
        )

    def _lead_time(self, number: int, now: float) -> float:
        """Return the 90th percentile of the last start-ups, or the declared one.

        If one more replica would wait for a node, the node's lead time is added.
        """
        measured = self._replicas.start_ups[number]
        known, lead = self._lead[number]
        if known != len(measured):
            lead = _quantile(np.array(measured[-50:]), 0.9) if len(measured) >= _FEWEST else lead
            self._lead[number] = (len(measured), lead)
        return lead + self._replicas.node_wait_seconds(number, now)

    def _engine(self, number: int, serving: list[int], interval: float) -> EngineSample:
        sums, w = self._sums[number], self._replicas.world
        row = ROLES[self._replicas.models[number].variant.role]
        decodes, prefills = row.decodes, row.prefills
        tokens = float(sums[state.OUTPUT_TOKENS])
        kv = w.gauges[state.KV, serving] * (w.counts[state.BATCH, serving] > 0)
        return EngineSample(
            interval_seconds=interval,
            finished=float(sums[state.FINISHED]) if decodes else None,
            output_tokens=tokens if decodes else None,
            prefills=float(sums[state.PREFILLS]) if prefills else None,
            prefill_tokens=float(sums[state.PREFILL_TOKENS]) if prefills else None,
            prefill_seconds=float(sums[state.PREFILL_SECONDS]) if prefills else None,
            itl_seconds=float(sums[state.ITL_SECONDS]) / tokens if decodes and tokens > 0 else None,
            running=float(sums[state.RUNNING_SECONDS]) / interval if decodes and interval > 0 else None,
            running_now=float(w.counts[state.BATCH, serving].sum())
            if decodes
            else float((w.counts[state.CURRENT, serving] != state.IDLE).sum()),
            kv_tokens=float(kv.sum()) if decodes else None,
            kv_usage=float((kv / w.gauges[state.KV_LIMIT, serving]).mean()) if decodes else None,
            waiting=0.0,
            reporting_replicas=len(serving),
        )


def _quantile(values: FloatArray, share: float) -> float:
    """Return the smallest value that at least ``share`` of ``values`` do not exceed."""
    rank = min(len(values) - 1, max(0, int(np.ceil(share * len(values))) - 1))
    return float(np.partition(values, rank)[rank])
