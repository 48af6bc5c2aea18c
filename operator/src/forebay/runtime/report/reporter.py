"""Report a round: statuses that changed, events on transitions, gauges."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

from forebay.actuation.scale import ScaleResult
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.decision import FleetDecision, PoolDecision
from forebay.flow.fleet import PoolKey
from forebay.flow.observation import FleetObservation
from forebay.pipeline.prices import running_usd_per_hour
from forebay.runtime.act import Action, Done, obstacles
from forebay.runtime.cluster.look import Look, NodePoolLook, PoolLook
from forebay.runtime.cluster.roster import Invalid, Roster
from forebay.runtime.cluster.writes import LastWrite
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.columns import (
    StatusReport,
    invalid_node_pool_status,
    invalid_report,
    pool_report,
)
from forebay.runtime.report.conditions import Transition, Type, invalid, judge
from forebay.runtime.report.events import EventRecorder
from forebay.runtime.report.nodepools import node_pool_report
from forebay.runtime.report.status import News, StatusWriter
from forebay.runtime.report.why import reason_of_role
from forebay.runtime.slices import in_slices
from forebay.runtime.watch.kinds import OWN_KINDS, Kind
from forebay.runtime.watch.records import ResourceRecord

logger = logging.getLogger(__name__)

_TOLD_AT_ONCE = 50
"""Statuses that differ by figures alone, per piece of the pause: a third of a second of the API server's time."""

_Telling = Callable[[], Coroutine[None, None, None]]

#: Conditions that are good when True; the others are good when False.
_GOOD_WHEN_TRUE = frozenset(
    {
        Type.READY,
        Type.METRICS_FRESH,
        Type.TARGETS_FOUND,
        Type.REFERENCES_FOUND,
        Type.WITHIN_FLEET_POLICY,
        Type.PROVIDED,
        Type.PROGRESSING,
    }
)
#: What comes and goes with every scaling, which has an event of its own: readiness, new replicas that are not
#: scraped yet, and the last node of a pool.
_CHANGED = frozenset({ScaleResult.WRITTEN, ScaleResult.PARKED})
_SILENT_REASONS = frozenset(
    {
        "ReplicasNotReady",
        "ReplicasReady",
        "Partial",
        "Sufficient",
        "NoNodes",
        "NoUsableGpus",
    }
)

#: How an invalid resource says so, for the kinds that have a status.
_INVALID_STATUS = {Kind.POOLS: invalid_report, Kind.NODE_POOLS: invalid_node_pool_status}


class Reporter:
    """Tells the world what a round decided.

    Args:
        status: writes statuses.
        events: posts events.
        metrics: gauges of what is reported.
        tells_of_node_pools: whether it writes their status, too: it must see all pods that hold GPUs for that, and
            be the only one that does.
    """

    def __init__(
        self, status: StatusWriter, events: EventRecorder, metrics: Metrics, *, tells_of_node_pools: bool = True
    ) -> None:
        self._status = status
        self._events = events
        self._metrics = metrics
        self._tells_of_node_pools = tells_of_node_pools
        self._can_wait: deque[_Telling] = deque()
        """What is left to tell in the pause; the next round's figures replace it."""
        self._told_invalid: dict[str, int] = {}
        """Generation of each invalid resource that was logged, by uid."""

    async def report(
        self,
        roster: Roster,
        look: Look,
        observed: FleetObservation,
        decisions: FleetDecision,
        done: Sequence[Done],
    ) -> bool:
        """Write statuses and events, all but figures (`tell_some`); the client bounds how many at once.

        Returns False if an object could not be told about: it is logged, and the others are told all the same.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        for node_pool in look.node_pools:
            self._metrics.show_node_pool(node_pool)
        invalid_by_kind = Counter(item.kind for item in roster.invalid)
        for kind in OWN_KINDS:
            self._metrics.invalid.labels(kind.value).set(invalid_by_kind[kind])
        by_pool: dict[PoolKey, list[Done]] = {}
        for item in done:
            by_pool.setdefault(item.action.pool, []).append(item)
        reported = look.node_pools if self._tells_of_node_pools else ()
        self._can_wait.clear()
        complete = True
        tell: list[_Telling] = [partial(self._node_pool, item, look.at_seconds) for item in reported]
        async for pool in in_slices(look.pools):
            decision = decisions.pools.get(pool.entry.pool.key)
            if decision is not None:
                mine = by_pool.get(pool.entry.pool.key, [])
                complete &= self._add(tell, partial(self._pool, pool, observed, decision, mine))
        tell += [partial(self._invalid, item, look.at_seconds) for item in roster.invalid]
        await self._events.post_kept()
        complete &= await self._tell_all(tell)
        still = {item.record.uid for item in roster.invalid}
        self._told_invalid = {uid: seen for uid, seen in self._told_invalid.items() if uid in still}
        self._status.forget_others(
            {entry.record.uid for entry in roster.pools.values()}
            | {entry.record.uid for entry in roster.node_pools.values()}
            | {item.record.uid for item in roster.invalid}
        )
        return complete

    async def tell_some(self) -> bool:
        """Write some of the statuses that could wait; whether there are more.

        Raises:
            LeaseLostError: this process may not write any more.
        """
        some = [self._can_wait.popleft() for _ in range(min(_TOLD_AT_ONCE, len(self._can_wait)))]
        await self._tell_all(some)
        return bool(self._can_wait)

    def _add(self, tell: list[_Telling], render: Callable[[], list[_Telling]]) -> bool:
        """Add what there is to tell of one pool; False if its status could not be rendered."""
        try:
            tell += render()
        except Exception:  # an error with one pool must not keep the others from being told
            logger.exception("the status of a pool could not be rendered")
            return False
        return True

    async def _tell_all(self, tell: Sequence[_Telling]) -> bool:
        """Write all at once; False if one failed with an error of our own."""
        results = await asyncio.gather(*(telling() for telling in tell), return_exceptions=True)
        complete = True
        for result in results:
            if isinstance(result, LeaseLostError | asyncio.CancelledError):
                raise result
            if isinstance(result, BaseException):
                logger.error("an object could not be told about: %r", result, exc_info=result)
                complete = False
        return complete

    def _pool(
        self, look: PoolLook, observed: FleetObservation, decision: PoolDecision, done: Sequence[Done]
    ) -> list[_Telling]:
        """Return what there is to write about one pool now: nothing, in most rounds."""
        entry = look.entry
        seen = observed.pools[entry.pool.key]
        verdicts = judge(
            seen,
            decision,
            mode=entry.mode,
            target_problems=look.target_problems,
            reference_problems=entry.problems,
            obstacles=obstacles(done),
            restrictions=entry.restrictions,
        )
        written = [item for item in done if item.outcome.result in _CHANGED]
        report = pool_report(
            entry.record.status,
            seen,
            decision,
            verdicts,
            generation=entry.record.generation,
            last_written={
                **look.last_written,
                **{
                    item.action.wanted.key: LastWrite(item.action.replicas, at_seconds=decision.at_seconds)
                    for item in written
                    if item.outcome.result is ScaleResult.WRITTEN
                },
            },
            reversions=look.reversions,
            scaled=bool(written),
            acts=entry.mode is Mode.AUTO,
            usd_per_hour=running_usd_per_hour(entry.pool, seen),
        )
        telling = partial(self._tell, look, decision, written, report)
        news = self._status.weigh(entry.record, report.status, report.figures)
        if written or report.transitions or news is News.MORE:
            return [telling]
        if news is News.FIGURES:
            self._can_wait.append(telling)
        return []

    async def _tell(
        self, look: PoolLook, decision: PoolDecision, written: Sequence[Done], report: StatusReport
    ) -> None:
        entry = look.entry
        for item in written:
            await self._say_scaled(entry.record, item, decision)
        await self._status.write(Kind.POOLS, entry.record, report.status, report.figures)
        await self._say_transitions(entry.record, report.transitions)

    async def _invalid(self, item: Invalid, now_seconds: float) -> None:
        """Tell of a resource that cannot be used: in its status where it has one, by an event otherwise."""
        record, verdicts = item.record, invalid(item.message)
        if item.kind is Kind.POOLS:
            self._metrics.pool_errors.labels("InvalidSpec").inc()
        if self._told_invalid.get(record.uid) != record.generation:
            self._told_invalid[record.uid] = record.generation
            logger.warning("%s %s: %s", record.kind, _named(record), item.message)
        if item.kind is Kind.NODE_POOLS and not self._tells_of_node_pools:
            return
        render = _INVALID_STATUS.get(item.kind)
        if render is None:
            await self._events.post(record, "Warning", "InvalidSpec", item.message)
            return
        report = render(record.status, verdicts, generation=record.generation, now_seconds=now_seconds)
        await self._status.write(item.kind, record, report.status)
        await self._say_transitions(record, report.transitions)

    async def _node_pool(self, look: NodePoolLook, now_seconds: float) -> None:
        record, report = look.entry.record, node_pool_report(look, now_seconds=now_seconds)
        await self._status.write(Kind.NODE_POOLS, record, report.status)
        await self._say_transitions(record, report.transitions)

    async def _say_scaled(self, record: ResourceRecord, item: Done, decision: PoolDecision) -> None:
        variant = item.action.wanted
        why = reason_of_role(decision, variant.role)
        reason, words = _event_of(item.action)
        message = f"{words}. {why.message}" if why else words
        logger.info(
            "pool %s/%s: scaled %s",
            record.namespace,
            record.name,
            words,
            extra={"namespace": record.namespace, "pool": record.name, "reason": why.code if why else ""},
        )
        await self._events.post(record, "Normal", reason, message)

    async def _say_transitions(self, record: ResourceRecord, transitions: Sequence[Transition]) -> None:
        for transition in transitions:
            verdict = transition.verdict
            good = verdict.status is (verdict.type in _GOOD_WHEN_TRUE)
            if verdict.type is Type.AS_RECOMMENDED or verdict.reason in _SILENT_REASONS:
                continue
            if good and transition.before is None:
                continue
            await self._events.post(
                record, "Normal" if good else "Warning", f"{verdict.type.value}{verdict.reason}", verdict.message
            )


def _event_of(action: Action) -> tuple[str, str]:
    """Return an event's reason and words for what was done to one variant."""
    variant, before, after = action.wanted, action.workload.replicas, action.replicas
    name = f"{variant.role.value}/{variant.name}"
    if action.parked:
        return "Parked", f"{name}: {variant.current} -> {variant.desired} in traffic, {len(action.parked)} parked"
    if before == after:
        return "Unparked", f"{name}: {variant.current} -> {variant.desired} in traffic"
    return "ScaledOut" if after > before else "ScaledIn", f"{name}: {before} -> {after}"


def _named(record: ResourceRecord) -> str:
    return f"{record.namespace}/{record.name}" if record.namespace else record.name
