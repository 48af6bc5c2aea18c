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
from forebay.runtime.cluster.look import PoolLook
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.cluster.writes import LastWrite
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.metrics import Metrics
from forebay.runtime.watch.workloads import WorkloadRecord

logger = logging.getLogger(__name__)

_WORTH_SAYING = frozenset({ScaleResult.CONFLICT, ScaleResult.FORBIDDEN, ScaleResult.FAILED, ScaleResult.THROTTLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One variant that is to have another count."""

    pool: PoolKey
    wanted: VariantDecision
    workload: WorkloadRecord
    victims: tuple[Candidate, ...] = ()
    """Pods to mark before the count is lowered; none where the kind leaves no choice, or none is needed."""


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
            if wanted.desired != workload.replicas:
                found.append(Action(pool=look.entry.pool.key, wanted=wanted, workload=workload))
    return sorted(found, key=lambda action: action.wanted.desired < action.workload.replicas)


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
    done = list(await asyncio.gather(*(_write(action, writer, marks) for action in todo)))
    for item in done:
        action, result = item.action, item.outcome.result
        metrics.scale_writes.labels(result.value).inc()
        if result is ScaleResult.WRITTEN:
            version = action.workload.resource_version
            written = LastWrite(action.wanted.desired, version, now_seconds)
            world.writes.last[action.workload.target] = written
    return done


def obstacles(done: Iterable[Done]) -> list[str]:
    """Return sentences about wishes that could not be written and that a person should know of."""
    return [item.outcome.message for item in done if item.outcome.result in _WORTH_SAYING]


async def _write(action: Action, writer: ScaleWriter, marks: VictimMarks) -> Done:
    workload = action.workload
    try:
        unmarked = await marks.mark(action.victims)
        outcome = await writer.scale(
            workload.target,
            action.wanted.desired,
            current=workload.replicas if workload.is_set else None,
        )
    except LeaseLostError:
        raise
    except Exception as error:  # an error with one target must not keep the others from being written and told
        logger.exception("pool %s: writing %s failed", action.pool, workload.target)
        message = f"{workload.target} was not scaled: {type(error).__name__}: {error}"
        return Done(action, ScaleOutcome(ScaleResult.FAILED, message), crashed=True)
    if unmarked:
        logger.warning("pool %s: %s", action.pool, unmarked)
        outcome = replace(outcome, message=f"{outcome.message} {unmarked}")
    return Done(action, outcome)
