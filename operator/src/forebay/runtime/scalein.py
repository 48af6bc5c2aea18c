"""Which pods this round's scale-ins take, what parked pods hold, and which marks have had their use."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.actuation.targets import TargetRef
from forebay.actuation.victims import Candidate, RemovalWish, VictimMarks, choose
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.fleet import PoolKey, VariantKey
from forebay.flow.kinds import RemovalOrder, workload_kind
from forebay.runtime.act import Action, candidate
from forebay.runtime.cluster.look import PoolLook
from forebay.runtime.cluster.memory import ClusterMemory
from forebay.runtime.observe import telemetry_target
from forebay.runtime.watch.records import PodRecord
from forebay.telemetry.source import PodName, PoolTarget, TelemetrySource

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 3.0
"""How long a round waits for what pods hold: without it the youngest go, and parked ones stay."""

_Places = Mapping[tuple[PoolKey, VariantKey], Sequence[PodRecord]]


@dataclass(slots=True)
class ScaleIns:
    """Chooses pods, and tidies up behind the choice.

    Args:
        marks: writes the marks.
        source: tells what pods hold.
    """

    marks: VictimMarks
    source: TelemetrySource

    async def parked_requests(self, looks: Sequence[PoolLook], now_seconds: float) -> Mapping[PodName, float]:
        """Return what parked pods still hold, of those that tell."""
        parked = {
            (look.entry.pool.key, key): found
            for look in looks
            for key, pods in look.pods.items()
            if (found := [pod for pod in pods if pod.parked_seconds is not None])
        }
        return await self._requests(looks, parked, now_seconds)

    async def choose(
        self,
        todo: Sequence[Action],
        looks: Sequence[PoolLook],
        *,
        emptying: Collection[str],
        now_seconds: float,
    ) -> list[Action]:
        """Return the actions with the pods that are to be parked or to go, where the kind lets us choose."""
        by_pool = {look.entry.pool.key: look for look in looks}
        shrinking = {
            (action.pool, action.wanted.key): [
                pod for pod in by_pool[action.pool].pods[action.wanted.key] if pod.parked_seconds is None
            ]
            for action in todo
            if action.released and may_choose(action.workload.target)
        }
        wish = RemovalWish(emptying, await self._requests(looks, shrinking, now_seconds) or None)
        return [
            _with_choice(action, found, wish, parks=by_pool[action.pool].entry.pool.settings.parks)
            if (found := shrinking.get((action.pool, action.wanted.key))) is not None
            else action
            for action in todo
        ]

    async def tidy(self, looks: Iterable[PoolLook], memory: ClusterMemory, todo: Iterable[Action]) -> None:
        """Take back marks that have had their use, and put pods into traffic that nobody looks after any more.

        A pod that is parked stays so while its pool is in mode Auto and may scale its target. A mark of a pod that
        is not parked goes when the scale-in that it was for is over.
        """
        marked = [
            pod for pod in memory.store.all_pods() if pod.chosen_by == self.marks.release and not pod.terminating
        ]
        if not marked:
            return
        busy = {action.workload.target for action in todo}
        stay: set[str] = set()
        for look in looks:
            seen = {variant.key: variant for variant in look.variants}
            for key, pods in look.pods.items():
                workload = look.workloads[key]
                unfinished = workload.target in busy or len(pods) > workload.replicas
                unfinished = unfinished or memory.writes.is_unseen(workload)
                ours = look.entry.mode is Mode.AUTO and workload.parks and seen[key].conflict is None
                stay |= {pod.uid for pod in pods if (unfinished if pod.parked_seconds is None else ours)}
        left = [pod for pod in marked if pod.uid not in stay]
        told = await asyncio.gather(
            self.marks.clear(candidate(pod) for pod in left if pod.parked_seconds is None),
            self.marks.unpark(candidate(pod) for pod in left if pod.parked_seconds is not None),
        )
        for sentence in filter(None, told):
            logger.warning("marks of pods could not be removed: %s", sentence)

    async def _requests(
        self, looks: Iterable[PoolLook], places: _Places, now_seconds: float
    ) -> Mapping[PodName, float]:
        if not places:
            return {}
        targets = [
            _of_variants(telemetry_target(look), {key for pool, key in places if pool == look.entry.pool.key})
            for look in looks
            if any(pool == look.entry.pool.key for pool, _ in places)
        ]
        names = [(pod.namespace, pod.name) for pods in places.values() for pod in pods if pod.ready]
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self.source.pod_requests(targets, names, now_seconds)
        except TimeoutError:
            return {}


def may_choose(target: TargetRef) -> bool:
    """Whether the controller of a target heeds the deletion cost of pods."""
    row = workload_kind(target.api_version, target.kind)
    return row is not None and row.removal is RemovalOrder.REPLICA_SET


def _with_choice(action: Action, pods: Sequence[PodRecord], wish: RemovalWish, *, parks: bool) -> Action:
    """Return the action with its pods: parked where they can be, else marked where there is a choice."""
    chosen: tuple[Candidate, ...] = tuple(choose(map(candidate, pods), action.released, wish))
    if parks and action.workload.parks:
        return replace(action, parked=chosen, replicas=action.replicas + len(chosen))
    if len(chosen) == sum(pod.ready for pod in pods):
        return action  # all go
    return replace(action, victims=(*action.victims, *chosen))


def _of_variants(target: PoolTarget, variants: Collection[VariantKey]) -> PoolTarget:
    return replace(target, workloads=tuple(each for each in target.workloads if each.variant in variants))
