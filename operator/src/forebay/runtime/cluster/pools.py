"""Looks at pools: from the caches to what is observed of each variant, without telemetry."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeVar

from forebay.actuation.conflicts import Autoscaler, autoscaler_conflict, parse_time
from forebay.actuation.providers.port import Situation
from forebay.actuation.targets import TargetRef
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.fleet import PoolKey, Variant, VariantKey
from forebay.flow.kinds import WorkloadKind, workload_kind
from forebay.flow.observation import NodePoolObservation, Note, ParkedReplica, VariantObservation
from forebay.runtime.cluster.groups import replicas_of_groups
from forebay.runtime.cluster.leadtime import PodTimes
from forebay.runtime.cluster.look import PoolLook
from forebay.runtime.cluster.memory import ClusterMemory
from forebay.runtime.cluster.nodepools import waiting_notes
from forebay.runtime.cluster.placement import Placement
from forebay.runtime.cluster.replicas import Deadlines, PodIndex, ReplicaView, VariantLeadTimes, view_replicas
from forebay.runtime.cluster.rollouts import rollout_of, trouble_of
from forebay.runtime.cluster.roster import PoolEntry
from forebay.runtime.cluster.writes import Finding
from forebay.runtime.watch.records import PodRecord
from forebay.runtime.watch.selectors import Selector
from forebay.runtime.watch.workloads import WorkloadRecord

_Found = TypeVar("_Found")

_QUEUE_LABELS = ("kueue.x-k8s.io/managed", "kueue.x-k8s.io/queue-name")


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A variant of a pool in mode Auto that scales a target; of several, the first in order keeps it."""

    created_seconds: float
    pool: PoolKey
    variant: VariantKey

    @classmethod
    def of(cls, entry: PoolEntry, variant: VariantKey) -> Self:
        """Return the claim of one variant."""
        return cls(entry.record.created_seconds, entry.pool.key, variant)

    def __str__(self) -> str:
        return f"InferencePool {self.pool}"


class PoolLooks:
    """Makes the looks at the pools of one round, with what they share."""

    def __init__(
        self,
        memory: ClusterMemory,
        node_pools: dict[str, NodePoolObservation],
        gpus_per_node: Mapping[str, int],
        autoscalers: Mapping[tuple[str, str, str], Sequence[Autoscaler]],
        claims: Mapping[TargetRef, Sequence[Claim]],
        now_seconds: float,
    ) -> None:
        self._memory = memory
        self._node_pools = node_pools
        self._gpus_per_node = gpus_per_node
        self._autoscalers = autoscalers
        self._claims = claims
        self._now = now_seconds
        self._indices: dict[str, PodIndex] = {}
        self._placement = Placement()
        self._waits: dict[str, float] = {}
        self._going_nodes = frozenset(node.name for node in memory.store.nodes.values() if node.going)

    def at_pool(self, entry: PoolEntry) -> PoolLook:
        """Return one pool's look."""
        self._recall_writes(entry)
        variants: list[VariantObservation] = []
        workloads: dict[VariantKey, WorkloadRecord] = {}
        pods: dict[VariantKey, tuple[PodRecord, ...]] = {}
        problems: list[str] = []
        for variant in entry.pool.variants:
            target = entry.targets[variant.key]
            workload = self._memory.workload(target)
            if not isinstance(workload, WorkloadRecord):
                problems.append(workload)
                variants.append(self._unusable(entry, variant))
                continue
            if workload.problem:
                problems.append(workload.problem)
                variants.append(self._unusable(entry, variant, workload))
                continue
            workloads[variant.key] = workload
            row = workload_kind(target.api_version, target.kind)
            view = self._view(entry, variant, workload, row)
            pods[variant.key] = view.alive
            variants.append(self._present(entry, variant, workload, row, view))
        return PoolLook(
            entry=entry,
            at_seconds=self._now,
            variants=tuple(variants),
            workloads=workloads,
            pods=pods,
            target_problems=tuple(problems),
            last_written=_by_variant(entry, self._memory.writes.last),
            reversions=_by_variant(entry, self._memory.writes.reversions),
        )

    def _recall_writes(self, entry: PoolEntry) -> None:
        """Take what an earlier process wrote to the pool's targets from the status that it left."""
        if all(target in self._memory.writes.last for target in entry.targets.values()):
            return
        keys = {(variant.role.value, variant.name): variant.key for variant in entry.pool.variants}
        for role in entry.record.status.get("roles") or ():
            for told in role.get("variants") or ():
                key = keys.get((role.get("role"), told.get("name")))
                if key is not None:
                    at_seconds = parse_time(told.get("lastWrittenTime"))
                    self._memory.writes.recall(entry.targets[key], told.get("lastWritten"), at_seconds)
                    self._recall_reversions(entry.targets[key], told)

    def _recall_reversions(self, target: TargetRef, told: Mapping[str, Any]) -> None:
        until = parse_time(told.get("leftAloneUntil"))
        if until is not None:
            self._memory.writes.recall_reversions(target, int(told.get("reversions") or 0), until, self._now)

    def after_pools(self, situations: Mapping[str, Situation]) -> dict[str, NodePoolObservation]:
        """Return the node pools with their replicas by node; those that did not deliver in time are blocked."""
        self._memory.book.waits = self._waits
        node_pools = {}
        for name, observed in self._node_pools.items():
            placed = replace(observed, placement=self._placement.of(situations[name]))
            back_off = self._memory.back_offs.of(name)
            if back_off.blocked(self._now):
                placed = replace(
                    placed, blocked_until_seconds=back_off.until_seconds, blocked_reason=back_off.reason
                )
            node_pools[name] = placed
        return node_pools

    def staying(self, situation: Situation) -> Mapping[tuple[PoolKey, VariantKey], int]:
        """Return the pods on nodes of a node pool that nobody takes away; to be asked after all pools."""
        return self._placement.staying(situation)

    def _view(
        self, entry: PoolEntry, variant: Variant, workload: WorkloadRecord, row: WorkloadKind | None
    ) -> ReplicaView:
        memory = self._memory
        members = self._pods(entry.pool.key.namespace, workload, row)
        group = None if row is None else row.group
        pods = (
            members
            if group is None
            else replicas_of_groups(members, label=group.key_label, size=workload.group_size)
        )
        self._placement.add(entry.pool.key, variant, members)
        self._learn(entry, variant, pods)
        # In a rollout old replicas go before new ones come: those were not asked for by the last write.
        ordered = None if workload.controller.updating else memory.writes.ordered_seconds(workload)
        view = view_replicas(
            workload,
            pods,
            row=row,
            deadlines=Deadlines(
                lead_times=self._lead_times(entry, variant),
                now_seconds=self._now,
                shortest_seconds=memory.shortest_deadline_seconds,
            ),
            is_awaited=partial(memory.book.awaits, variant_key(entry, variant)),
            ordered_seconds=lambda pod: memory.book.ordered_seconds(pod.uid, pod.created_seconds),
            unborn_since=lambda count: memory.unborn.see(
                workload.target, count, ordered_seconds=ordered, now_seconds=self._now
            ),
            needs_node=self._needs_node(variant, workload.group_size),
            going_nodes=self._going_nodes,
        )
        name = variant.node_pool or ""
        waits = [self._now - replica.ordered_seconds for replica in view.starting if replica.unschedulable]
        self._waits[name] = max([self._waits.get(name, 0.0), *waits])
        if view.overdue_for_nodes and variant.node_pool is not None and entry.mode is Mode.AUTO:
            message = f"{view.overdue_for_nodes} replicas of {entry.pool.key} got no node before their deadline."
            self._memory.back_offs.of(variant.node_pool).overdue(message, self._now)
        return view

    def _pods(self, namespace: str, workload: WorkloadRecord, row: WorkloadKind | None) -> list[PodRecord]:
        """Return a workload's pods, of its groups all members."""
        if namespace not in self._indices:
            self._indices[namespace] = PodIndex(self._memory.store.pods_in(namespace))
        index = self._indices[namespace]
        if row is None or row.group is None:
            return index.matching(workload.selector)
        return index.matching(Selector({row.group.workload_label: workload.target.name}))

    def _learn(self, entry: PoolEntry, variant: Variant, pods: Iterable[PodRecord]) -> None:
        book, nodes, key = self._memory.book, self._memory.store.nodes, variant_key(entry, variant)
        estimator = book.of_node_pool(variant.node_pool or "")
        before = estimator.count
        # A declared start-up moves the deadline up to which a pod is believed.
        book.of_variant(key, variant.start_up_seconds)
        for pod in pods:
            if book.knows(key, pod.uid):
                continue
            node = nodes.get(pod.node or "")
            times = PodTimes(
                uid=pod.uid,
                created_seconds=pod.created_seconds,
                scheduled_seconds=pod.scheduled_seconds,
                ready_seconds=pod.ready_seconds,
                restarted=pod.restarts > 0,
                node_created_seconds=node.created_seconds if node else None,
                gated=pod.gated,
                queued=any(label in pod.labels for label in _QUEUE_LABELS),
            )
            book.see(
                times,
                variant=key,
                node_pool=variant.node_pool or "",
                now_seconds=self._now,
                shortest_deadline_seconds=self._memory.shortest_deadline_seconds,
            )
        if estimator.count > before and variant.node_pool is not None:
            self._memory.back_offs.of(variant.node_pool).succeeded()

    def _lead_times(self, entry: PoolEntry, variant: Variant) -> VariantLeadTimes:
        book = self._memory.book
        return VariantLeadTimes(
            start_up=book.of_variant(variant_key(entry, variant), variant.start_up_seconds).quantiles(),
            node=book.of_node_pool(variant.node_pool or "").quantiles(),
        )

    def _expected(self, entry: PoolEntry, variant: Variant, group_size: int) -> float:
        """Return the 90th percentile of what one more replica would take, in seconds."""
        times = self._lead_times(entry, variant)
        expected = replace(times, node=self._memory.book.expected_node(variant.node_pool or ""))
        return expected.total(needs_node=self._needs_node(variant, group_size)).p90_seconds

    def _needs_node(self, variant: Variant, group_size: int) -> bool:
        """Whether one more replica would wait for a new node; unknown node pools are taken to have room.

        A replica of more GPUs than a node has consists of several pods, whatever its object says.
        """
        supply = self._node_pools.get(variant.node_pool or "")
        if supply is None:
            return False
        per_node = self._gpus_per_node[supply.name]
        pods = max(group_size, math.ceil(variant.gpus_per_replica / per_node))
        return not supply.has_room(pods=pods, gpus_per_pod=math.ceil(variant.gpus_per_replica / pods))

    def _present(
        self,
        entry: PoolEntry,
        variant: Variant,
        workload: WorkloadRecord,
        row: WorkloadKind | None,
        view: ReplicaView,
    ) -> VariantObservation:
        findings = self._findings(entry, variant, workload)
        conflict = next((finding for finding in findings if finding.hands_off), None)
        return VariantObservation(
            name=variant.name,
            role=variant.role,
            desired=view.desired,
            ready=view.ready,
            parked=tuple(
                ParkedReplica(name=pod.name, since_seconds=pod.parked_seconds)
                for pod in view.parked
                if pod.parked_seconds is not None
            ),
            starting=view.starting,
            overdue=view.undelivered,
            draining=view.draining,
            existing=view.existing,
            lead_time_seconds=self._expected(entry, variant, workload.group_size),
            conflict=None if conflict is None else conflict.message,
            conflict_code="OtherWriter" if conflict is None else conflict.code,
            rollout=rollout_of(workload, row, view.alive, overdue=view.overdue),
            gated=view.gated,
            removal=view.removal,
            notes=(
                *(Note(item.code, item.message) for item in findings if not item.hands_off),
                *_notes(workload, view),
                *waiting_notes(view.starting, self._node_pools.get(variant.node_pool or "")),
            ),
        )

    def _unusable(
        self, entry: PoolEntry, variant: Variant, workload: WorkloadRecord | None = None
    ) -> VariantObservation:
        """Return a variant whose target is missing, or cannot be used: it is left alone."""
        return VariantObservation(
            name=variant.name,
            role=variant.role,
            desired=0 if workload is None else workload.replicas,
            ready=0 if workload is None else min(workload.replicas, workload.ready_replicas),
            lead_time_seconds=self._expected(entry, variant, 1),
            target_found=False,
        )

    def _findings(self, entry: PoolEntry, variant: Variant, workload: WorkloadRecord) -> list[Finding]:
        """Return what others do to a target."""
        target = workload.target
        others = self._autoscalers.get((target.namespace, target.kind, target.name), ())
        autoscaler = autoscaler_conflict(target, others)
        found = [
            Finding("OtherWriter", autoscaler, hands_off=True) if autoscaler is not None else None,
            _shared(target, Claim.of(entry, variant.key), self._claims.get(target, ())),
            self._memory.writes.judge(workload, self._now),
        ]
        return [finding for finding in found if finding is not None]


def _by_variant(entry: PoolEntry, found: Mapping[TargetRef, _Found]) -> dict[VariantKey, _Found]:
    return {key: found[target] for key, target in entry.targets.items() if target in found}


def _shared(target: TargetRef, mine: Claim, claims: Sequence[Claim]) -> Finding | None:
    """Return what two variants that scale one target are told: the older pool keeps it."""
    if len(claims) < 2 or mine not in claims:
        return None
    name, others = f"{target.kind} {target.name}", [claim for claim in claims if claim != mine]
    if claims[0] == mine:
        words = ", ".join(str(claim) for claim in others)
        message = f"{words} also scales {name} and is left out: take {name} out of one of them."
        return Finding("SharedTarget", message, hands_off=False)
    message = f"{claims[0]} also scales {name} and was there first: take {name} out of one of them."
    return Finding("SharedTarget", message, hands_off=True)


def _notes(workload: WorkloadRecord, view: ReplicaView) -> list[Note]:
    """Return why replicas that were ordered do not come, as far as somebody says so."""
    name, notes = f"{workload.target.kind} {workload.target.name}", []
    if view.gated:
        message = f"{view.gated} replicas of {name} wait for a quota system to admit them (scheduling gates)."
        notes.append(Note("WaitingForQuota", message))
    if view.unborn and workload.controller.failure:
        message = f"{view.unborn} replicas of {name} cannot be created: {workload.controller.failure}."
        notes.append(Note("FailedCreate", message))
    if view.going:
        message = f"{view.going} replicas of {name} run on nodes that are taken away, and are replaced."
        notes.append(Note("NodeGoes", message))
    if trouble := trouble_of(view.alive):
        notes.append(Note("ReplicasFail", f"{name}: {trouble}."))
    return notes


def variant_key(entry: PoolEntry, variant: Variant) -> str:
    """Return the name under which a variant's start-up is remembered."""
    return f"{entry.pool.key}/{variant.key}"
