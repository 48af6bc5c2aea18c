"""Which pods this round's scale-ins take, and which marks of earlier ones have had their use."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.actuation.targets import TargetRef
from forebay.actuation.victims import Candidate, RemovalWish, VictimMarks, choose
from forebay.flow.fleet import VariantKey
from forebay.flow.kinds import RemovalOrder, workload_kind
from forebay.runtime.act import Action
from forebay.runtime.cluster.look import PoolLook
from forebay.runtime.cluster.writes import Writes
from forebay.runtime.observe import telemetry_target
from forebay.runtime.watch.records import PodRecord
from forebay.telemetry.source import PodName, PoolTarget, TelemetrySource

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 3.0
"""How long a scale-in waits for what pods hold: without it the youngest go."""


@dataclass(slots=True)
class ScaleIns:
    """Chooses pods, and tidies up behind the choice.

    Args:
        marks: writes the marks.
        source: tells what pods hold.
    """

    marks: VictimMarks
    source: TelemetrySource

    async def choose(
        self,
        todo: Sequence[Action],
        looks: Iterable[PoolLook],
        *,
        emptying: Collection[str],
        now_seconds: float,
    ) -> list[Action]:
        """Return the actions with the pods that are to go, where the kind lets us choose."""
        by_pool = {look.entry.pool.key: look for look in looks}
        shrinking = {
            (action.pool, action.wanted.key): by_pool[action.pool].pods[action.wanted.key]
            for action in todo
            if action.wanted.desired < action.workload.replicas and may_choose(action.workload.target)
        }
        if not shrinking:
            return list(todo)
        pods = [pod for found in shrinking.values() for pod in found if pod.ready]
        targets = [
            _of_variants(telemetry_target(by_pool[key]), {v for pool, v in shrinking if pool == key})
            for key in dict.fromkeys(pool for pool, _ in shrinking)
        ]
        choice = RemovalWish(emptying, await self._requests(targets, pods, now_seconds))
        return [
            replace(action, victims=tuple(choose(map(candidate, found), _number(action), choice)))
            if (found := shrinking.get((action.pool, action.wanted.key))) is not None
            else action
            for action in todo
        ]

    async def clear(self, looks: Iterable[PoolLook], writes: Writes, todo: Iterable[Action]) -> None:
        """Give survivors of finished scale-ins back the cost that they had."""
        busy = {action.workload.target for action in todo}
        survivors = [
            candidate(pod)
            for look in looks
            for key, pods in look.pods.items()
            if any(pod.cost_before is not None for pod in pods)
            and (workload := look.workloads[key]).target not in busy
            and len(pods) <= workload.replicas
            and not writes.is_unseen(workload)
            for pod in pods
            if pod.cost_before is not None
        ]
        if survivors and (sentence := await self.marks.clear(survivors)):
            logger.warning("marks of pods that stayed could not be removed: %s", sentence)

    async def _requests(
        self, targets: Sequence[PoolTarget], pods: Sequence[PodRecord], now_seconds: float
    ) -> Mapping[PodName, float] | None:
        names = [(pod.namespace, pod.name) for pod in pods]
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self.source.pod_requests(targets, names, now_seconds) or None
        except TimeoutError:
            return None


def may_choose(target: TargetRef) -> bool:
    """Whether the controller of a target heeds the deletion cost of pods."""
    row = workload_kind(target.api_version, target.kind)
    return row is not None and row.removal is RemovalOrder.REPLICA_SET


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


def _number(action: Action) -> int:
    return action.workload.replicas - action.wanted.desired


def _of_variants(target: PoolTarget, variants: Collection[VariantKey]) -> PoolTarget:
    return replace(target, workloads=tuple(each for each in target.workloads if each.variant in variants))
