"""One look at the cluster: from the caches to the observation of every pool and node pool, without telemetry."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from forebay.actuation.conflicts import Autoscaler, autoscaler_conflict
from forebay.actuation.targets import TargetRef
from forebay.api.text import Duration
from forebay.flow.fleet import Variant, VariantKey
from forebay.flow.kinds import workload_kind
from forebay.flow.observation import NodePoolObservation, VariantObservation
from forebay.runtime.cluster.groups import replicas_of_groups
from forebay.runtime.cluster.leadtime import LeadTimeBook, PodTimes
from forebay.runtime.cluster.look import Look, NodePoolLook, PoolLook
from forebay.runtime.cluster.nodepools import BackOffs, gpus_held, matches, observe_node_pool
from forebay.runtime.cluster.replicas import LeadTimes, PodIndex, ReplicaView, view_replicas
from forebay.runtime.cluster.roster import NodePoolEntry, PoolEntry, Roster
from forebay.runtime.cluster.writes import Writes
from forebay.runtime.watch.kinds import Kind, watched_kind
from forebay.runtime.watch.records import PodRecord, WorkloadRecord
from forebay.runtime.watch.selectors import Selector
from forebay.runtime.watch.store import Store


@dataclass(slots=True)
class ClusterView:
    """Looks at the caches; remembers lead times, back-offs and our own writes between rounds.

    Args:
        store: the informer's caches.
        shortest_deadline_seconds: a starting replica is supply for at least this long.
        writes: what we wrote last.
    """

    store: Store
    shortest_deadline_seconds: float = 900.0
    writes: Writes = field(default_factory=Writes)
    book: LeadTimeBook = field(default_factory=LeadTimeBook)
    back_offs: BackOffs = field(default_factory=BackOffs)
    other_workloads: dict[TargetRef, WorkloadRecord | str] = field(default_factory=dict)
    """Targets of kinds that are not watched, read before each look; a string says why one cannot be used."""

    def look(self, roster: Roster, now_seconds: float) -> Look:
        """Return what the caches show now."""
        held = gpus_held(self.store.all_pods())
        node_pools = {
            entry.node_pool.name: self._observe_nodes(entry, held, now_seconds)
            for entry in roster.node_pools.values()
        }
        autoscalers: dict[tuple[str, str, str], list[Autoscaler]] = defaultdict(list)
        for autoscaler in self.store.all_autoscalers():
            target = autoscaler.target
            autoscalers[target.namespace, target.kind, target.name].append(autoscaler)
        gpus_per_node = {name: entry.node_pool.gpus_per_node for name, entry in roster.node_pools.items()}
        looks = _PoolLooks(self, node_pools, gpus_per_node, autoscalers, now_seconds)
        pools = tuple(looks.at_pool(entry) for entry in roster.pools.values())
        return Look(
            at_seconds=now_seconds,
            pools=pools,
            node_pools=tuple(
                self._node_pool_look(roster.node_pools[name], observed, pools)
                for name, observed in looks.after_pools().items()
            ),
        )

    def workload(self, target: TargetRef) -> WorkloadRecord | str:
        """Return what is known of a scale target, or a sentence that says why it cannot be used."""
        found = self.store.workloads.get(target) or self.other_workloads.get(target)
        if found is not None:
            return found
        kind = watched_kind(target.api_version, target.kind)
        if kind is not None and kind not in self.store.kinds:
            return f"{target.kind} {target.name} is not known: {self.store.without[kind]}."
        return f"{target.kind} {target.name} does not exist: create it."

    def tidy(self, roster: Roster) -> None:
        """Forget what belongs to objects that are gone; those with an invalid spec are still there."""
        self.book.keep_only(variants=self._variants(roster), node_pools={"", *_node_pools(roster)})
        self.book.forget_others(pod.uid for pod in self.store.all_pods())
        self.back_offs.keep_only(roster.node_pools)
        self.writes.keep_only({target for entry in roster.pools.values() for target in entry.targets.values()})

    def _variants(self, roster: Roster) -> set[str]:
        """Return the keys of all variants; of a pool whose spec is invalid now, those that were known."""
        alive = {variant_key(entry, variant) for entry in roster.pools.values() for variant in entry.pool.variants}
        pools = [item.record for item in roster.invalid if item.kind is Kind.POOLS]
        prefixes = tuple(f"{record.namespace}/{record.name}/" for record in pools)
        return alive | {key for key in self.book.start_up if key.startswith(prefixes)}

    def _observe_nodes(
        self, entry: NodePoolEntry, held: Mapping[str, int], now_seconds: float
    ) -> NodePoolObservation:
        name = entry.node_pool.name
        if name not in self.book.node:
            self._recall(entry, now_seconds)
        return observe_node_pool(
            name,
            (node for node in self.store.nodes.values() if matches(node, entry.selector)),
            held,
            lead_time=self.book.of_node_pool(name, entry.prior).quantiles(),
            back_off=self.back_offs.of(name),
            now_seconds=now_seconds,
        )

    def _recall(self, entry: NodePoolEntry, now_seconds: float) -> None:
        """Take the node lead time that an earlier process learned from the status that it left."""
        for phase in entry.record.status.get("leadTime") or ():
            if phase.get("phase") == "node":
                self.book.of_node_pool(entry.node_pool.name, entry.prior).restore(
                    p50_seconds=Duration(phase.get("p50", "")).seconds,
                    p90_seconds=Duration(phase.get("p90", "")).seconds,
                    samples=int(phase.get("samples") or 0),
                    at_seconds=now_seconds,
                )

    def _node_pool_look(
        self, entry: NodePoolEntry, observed: NodePoolObservation, pools: Sequence[PoolLook]
    ) -> NodePoolLook:
        """Add the start-up of the pods that run on the pool: that of its most often observed variant."""
        name = entry.node_pool.name
        start_ups = [
            self.book.of_variant(variant_key(pool.entry, variant), variant.start_up_seconds).quantiles()
            for pool in pools
            for variant in pool.entry.pool.variants
            if variant.node_pool == name
        ]
        start_up = max(start_ups, key=lambda times: times.observed, default=None)
        node = self.book.of_node_pool(name, entry.prior).quantiles()
        total = None if start_up is None else LeadTimes(start_up=start_up, node=node).total(needs_node=True)
        return NodePoolLook(entry=entry, observed=observed, node=node, start_up=start_up, total=total)


class _PoolLooks:
    """Makes the looks at the pools of one round, with what they share."""

    def __init__(
        self,
        cluster: ClusterView,
        node_pools: dict[str, NodePoolObservation],
        gpus_per_node: Mapping[str, int],
        autoscalers: Mapping[tuple[str, str, str], Sequence[Autoscaler]],
        now_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._node_pools = node_pools
        self._gpus_per_node = gpus_per_node
        self._autoscalers = autoscalers
        self._now = now_seconds
        self._indices: dict[str, PodIndex] = {}

    def at_pool(self, entry: PoolEntry) -> PoolLook:
        """Return one pool's look."""
        self._recall_writes(entry)
        variants: list[VariantObservation] = []
        workloads: dict[VariantKey, WorkloadRecord] = {}
        problems: list[str] = []
        for variant in entry.pool.variants:
            target = entry.targets[variant.key]
            workload = self._cluster.workload(target)
            if not isinstance(workload, WorkloadRecord):
                problems.append(workload)
                variants.append(self._unusable(entry, variant))
                continue
            if workload.problem:
                problems.append(workload.problem)
                variants.append(self._unusable(entry, variant, workload))
                continue
            view = self._view(entry, variant, workload)
            workloads[variant.key] = workload
            variants.append(self._present(variant, workload, view))
        return PoolLook(
            entry=entry,
            variants=tuple(variants),
            workloads=workloads,
            target_problems=tuple(problems),
            last_written={
                key: last.replicas
                for key, target in entry.targets.items()
                if (last := self._cluster.writes.last.get(target)) is not None
            },
        )

    def _recall_writes(self, entry: PoolEntry) -> None:
        """Take what an earlier process wrote to the pool's targets from the status that it left."""
        if all(target in self._cluster.writes.last for target in entry.targets.values()):
            return
        keys = {(variant.role.value, variant.name): variant.key for variant in entry.pool.variants}
        for role in entry.record.status.get("roles") or ():
            for told in role.get("variants") or ():
                key = keys.get((role.get("role"), told.get("name")))
                if key is not None:
                    self._cluster.writes.recall(entry.targets[key], told.get("lastWritten"))

    def after_pools(self) -> dict[str, NodePoolObservation]:
        """Return the node pools, with those blocked that did not deliver in time."""
        blocked = {}
        for name, observed in self._node_pools.items():
            back_off = self._cluster.back_offs.of(name)
            until = back_off.until_seconds if back_off.blocked(self._now) else None
            blocked[name] = replace(
                observed, blocked_until_seconds=until, blocked_reason=back_off.reason if until else ""
            )
        return blocked

    def _view(self, entry: PoolEntry, variant: Variant, workload: WorkloadRecord) -> ReplicaView:
        pods = self._replicas(entry.pool.key.namespace, workload)
        self._learn(entry, variant, pods)
        view = view_replicas(
            workload,
            pods,
            lead_times=self._lead_times(entry, variant),
            is_awaited=partial(self._cluster.book.awaits, variant_key(entry, variant)),
            needs_node=self._needs_node(variant, workload.group_size),
            now_seconds=self._now,
            shortest_deadline_seconds=self._cluster.shortest_deadline_seconds,
        )
        if view.overdue_for_nodes and variant.node_pool is not None:
            self._cluster.back_offs.of(variant.node_pool).failed(
                self._now,
                f"{view.overdue_for_nodes} replicas of {entry.pool.key} got no node before their deadline.",
            )
        return view

    def _replicas(self, namespace: str, workload: WorkloadRecord) -> list[PodRecord]:
        """Return a workload's replicas: its pods, or one record for each group of pods."""
        if namespace not in self._indices:
            self._indices[namespace] = PodIndex(self._cluster.store.pods_in(namespace))
        index = self._indices[namespace]
        row = workload_kind(workload.target.api_version, workload.target.kind)
        if row is None or row.group is None:
            return index.matching(workload.selector)
        members = index.matching(Selector({row.group.workload_label: workload.target.name}))
        return replicas_of_groups(members, label=row.group.key_label, size=workload.group_size)

    def _learn(self, entry: PoolEntry, variant: Variant, pods: Iterable[PodRecord]) -> None:
        book, nodes, key = self._cluster.book, self._cluster.store.nodes, variant_key(entry, variant)
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
            )
            book.see(
                times,
                variant=key,
                node_pool=variant.node_pool or "",
                now_seconds=self._now,
                shortest_deadline_seconds=self._cluster.shortest_deadline_seconds,
            )
        if estimator.count > before and variant.node_pool is not None:
            self._cluster.back_offs.of(variant.node_pool).succeeded()

    def _lead_times(self, entry: PoolEntry, variant: Variant) -> LeadTimes:
        book = self._cluster.book
        return LeadTimes(
            start_up=book.of_variant(variant_key(entry, variant), variant.start_up_seconds).quantiles(),
            node=book.of_node_pool(variant.node_pool or "").quantiles(),
        )

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

    def _present(self, variant: Variant, workload: WorkloadRecord, view: ReplicaView) -> VariantObservation:
        return VariantObservation(
            name=variant.name,
            role=variant.role,
            desired=workload.replicas,
            ready=view.ready,
            starting=view.starting,
            overdue=view.undelivered,
            draining=view.draining,
            lead_time_seconds=view.lead_time.p90_seconds,
            conflict=self._conflict(workload),
        )

    def _unusable(
        self, entry: PoolEntry, variant: Variant, workload: WorkloadRecord | None = None
    ) -> VariantObservation:
        """Return a variant whose target is missing, or cannot be used: it is left alone."""
        lead_time = self._lead_times(entry, variant).total(needs_node=self._needs_node(variant, 1))
        return VariantObservation(
            name=variant.name,
            role=variant.role,
            desired=0 if workload is None else workload.replicas,
            ready=0 if workload is None else min(workload.replicas, workload.ready_replicas),
            lead_time_seconds=lead_time.p90_seconds,
            target_found=False,
        )

    def _conflict(self, workload: WorkloadRecord) -> str | None:
        target = workload.target
        others = self._autoscalers.get((target.namespace, target.kind, target.name), ())
        return autoscaler_conflict(target, others) or self._cluster.writes.foreign(workload, self._now)


def _node_pools(roster: Roster) -> set[str]:
    """Return the names of all node pools, those with an invalid spec included."""
    invalid = {item.record.name for item in roster.invalid if item.kind is Kind.NODE_POOLS}
    return invalid | roster.node_pools.keys()


def variant_key(entry: PoolEntry, variant: Variant) -> str:
    """Return the name under which a variant's start-up is remembered."""
    return f"{entry.pool.key}/{variant.key}"
