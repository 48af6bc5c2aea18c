"""Turn decisions into writes: pools in mode Auto, variants whose count differs, scale-outs before scale-ins."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from forebay.actuation.scale import ScaleOutcome, ScaleResult, ScaleWriter
from forebay.actuation.victims import Candidate, VictimMarks
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.decision import PoolDecision, VariantDecision
from forebay.flow.fleet import PoolKey
from forebay.flow.observation import VariantObservation
from forebay.runtime.cluster.look import PoolLook
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.cluster.writes import LastWrite
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.metrics import Metrics
from forebay.runtime.watch.records import PodRecord
from forebay.runtime.watch.workloads import WorkloadRecord

logger = logging.getLogger(__name__)

_WORTH_SAYING = frozenset({ScaleResult.CONFLICT, ScaleResult.FORBIDDEN, ScaleResult.FAILED, ScaleResult.THROTTLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One variant whose replicas change."""

    pool: PoolKey
    wanted: VariantDecision
    workload: WorkloadRecord
    replicas: int
    """The count to write."""
    back: tuple[Candidate, ...] = ()
    """Parked pods that take traffic again."""
    parked: tuple[Candidate, ...] = ()
    """Pods to take out of traffic; the count stays for them."""
    victims: tuple[Candidate, ...] = ()
    """Pods to mark before the count is lowered: parked ones that go now, and others where there is a choice."""

    @property
    def released(self) -> int:
        """Return how many replicas in traffic are to go, parked first or not."""
        return max(0, self.wanted.current - self.wanted.desired)


@dataclass(frozen=True, slots=True)
class Done:
    """An action and what became of it."""

    action: Action
    outcome: ScaleOutcome
    crashed: bool = False
    """True if the writer raised an error that it should have answered with."""


def actions(looks: Iterable[PoolLook], decisions: Mapping[PoolKey, PoolDecision]) -> list[Action]:
    """Return what is to be written, scale-outs first.

    Nothing is written for a target that is missing or that somebody else scales, nor for a count that changed
    between the look and the decision's basis.
    """
    found: list[Action] = []
    for look in looks:
        decision = decisions.get(look.entry.pool.key)
        if decision is None or look.entry.mode is not Mode.AUTO:
            continue
        seen = {variant.key: variant for variant in look.variants}
        for wanted in decision.variants:
            observed, workload = seen.get(wanted.key), look.workloads.get(wanted.key)
            if observed is None or workload is None or observed.conflict is not None:
                continue
            action = _action(look, observed, wanted, workload)
            if action.replicas != workload.replicas or action.back:
                found.append(action)
    return sorted(found, key=lambda action: action.replicas < action.workload.replicas)


def _action(
    look: PoolLook, observed: VariantObservation, wanted: VariantDecision, workload: WorkloadRecord
) -> Action:
    """Return what is to be done for one variant: parked replicas come back before others are ordered.

    Pods beyond the count go already, though they may be parked; and one that is not Ready would not serve.
    """
    names = {each.name for each in observed.parked}
    parked = [pod for pod in look.pods[wanted.key] if pod.name in names]
    newest = sorted((pod for pod in parked if pod.ready), key=lambda pod: -(pod.parked_seconds or 0.0))
    change = wanted.desired - wanted.current
    back = newest[: max(0, change)]
    gone = [pod for pod in parked if pod.name in wanted.freed and pod not in back]
    return Action(
        pool=look.entry.pool.key,
        wanted=wanted,
        workload=workload,
        replicas=workload.replicas + change - len(back) - len(gone),
        back=tuple(map(candidate, back)),
        victims=tuple(map(candidate, gone)),
    )


def candidate(pod: PodRecord) -> Candidate:
    """Return a pod as the choice needs to know it."""
    return Candidate(
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        node=pod.node,
        ready_seconds=pod.ready_seconds if pod.ready else None,
        deletion_cost=pod.deletion_cost,
        cost_before=pod.cost_before,
    )


async def act(
    todo: Iterable[Action],
    writer: ScaleWriter,
    marks: VictimMarks,
    world: ClusterView,
    metrics: Metrics,
    *,
    now_seconds: float,
) -> list[Done]:
    """Write all actions, as many at once as the client allows, and remember what was written.

    Raises:
        LeaseLostError: this process may not write any more.
    """
    done = list(await asyncio.gather(*(_write(action, writer, marks, now_seconds) for action in todo)))
    for item in done:
        action, result = item.action, item.outcome.result
        metrics.scale_writes.labels(result.value).inc()
        if result is ScaleResult.WRITTEN:
            version = action.workload.resource_version
            written = LastWrite(action.replicas, version, now_seconds)
            world.writes.last[action.workload.target] = written
    return done


def obstacles(done: Iterable[Done]) -> list[str]:
    """Return sentences about wishes that could not be written and that a person should know of."""
    return [item.outcome.message for item in done if item.outcome.result in _WORTH_SAYING]


async def _write(action: Action, writer: ScaleWriter, marks: VictimMarks, now_seconds: float) -> Done:
    workload = action.workload
    try:
        told = [await marks.unpark(action.back), await marks.mark(action.victims)]
        if action.back and told[0]:
            # Others are ordered in their place: a parked pod that cannot come back must not keep the pool small.
            action = replace(action, replicas=action.replicas + len(action.back), back=())
        if action.parked and (trouble := await marks.park(action.parked, now_seconds)):
            # They go at once, as where they cannot be parked: what was marked goes first.
            told.append(trouble)
            action = replace(action, replicas=action.replicas - len(action.parked), parked=())
        outcome = await _set_count(action, writer)
    except LeaseLostError:
        raise
    except Exception as error:  # an error with one target must not keep the others from being written and told
        logger.exception("pool %s: writing %s failed", action.pool, workload.target)
        message = f"{workload.target} was not scaled: {type(error).__name__}: {error}"
        return Done(action, ScaleOutcome(ScaleResult.FAILED, message), crashed=True)
    for trouble in filter(None, told):
        logger.warning("pool %s: %s", action.pool, trouble)
        outcome = replace(outcome, message=f"{outcome.message} {trouble}")
    return Done(action, outcome)


async def _set_count(action: Action, writer: ScaleWriter) -> ScaleOutcome:
    workload = action.workload
    if action.replicas == workload.replicas and (action.parked or action.back):
        out, back = (", ".join(pod.name for pod in pods) or "none" for pods in (action.parked, action.back))
        return ScaleOutcome(ScaleResult.PARKED, f"{workload.target}: parked {out}, back in traffic {back}.")
    current = workload.replicas if workload.is_set else None
    return await writer.scale(workload.target, action.replicas, current=current)
