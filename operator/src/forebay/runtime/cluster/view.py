"""One look at the cluster: from the caches to the observation of every pool and node pool, without telemetry."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from forebay.actuation.conflicts import Autoscaler, parse_time
from forebay.actuation.providers.port import Situation
from forebay.actuation.providers.sight import ProviderSight
from forebay.actuation.targets import TargetRef
from forebay.api.text import Duration
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.flow.observation import NodePoolObservation
from forebay.runtime.cluster.look import Look, NodePoolLook, PoolLook
from forebay.runtime.cluster.memory import ClusterMemory
from forebay.runtime.cluster.nodepools import Holders, matches, observe_node_pool, see_nodes
from forebay.runtime.cluster.pools import Claim, PoolLooks, variant_key
from forebay.runtime.cluster.replicas import VariantLeadTimes
from forebay.runtime.cluster.roster import NodePoolEntry, Roster
from forebay.runtime.watch.kinds import Kind

_UNSEEN: Mapping[str, ProviderSight] = {}


class ClusterView(ClusterMemory):
    """Looks at the caches, and remembers between rounds what a look needs."""

    def look(self, roster: Roster, now_seconds: float, sights: Mapping[str, ProviderSight] = _UNSEEN) -> Look:
        """Return what the caches show now, with what the provisioner of each node pool shows."""
        holders = Holders(self.store.all_pods, roster.node_pools.values())
        situations = {
            name: self._situation(entry, holders, sights.get(name, ProviderSight()), now_seconds)
            for name, entry in roster.node_pools.items()
        }
        for name, situation in situations.items():
            self.phases.see(name, situation)
        node_pools = {
            name: observe_node_pool(
                name,
                situations[name],
                gpus_per_node=entry.node_pool.gpus_per_node,
                lead_time=self.book.expected_node(name, entry.prior),
                back_off=self.back_offs.of(name),
            )
            for name, entry in roster.node_pools.items()
        }
        autoscalers: dict[tuple[str, str, str], list[Autoscaler]] = defaultdict(list)
        for autoscaler in self.store.all_autoscalers():
            target = autoscaler.target
            autoscalers[target.namespace, target.kind, target.name].append(autoscaler)
        gpus_per_node = {name: entry.node_pool.gpus_per_node for name, entry in roster.node_pools.items()}
        looks = PoolLooks(self, node_pools, gpus_per_node, autoscalers, _claims(roster), now_seconds)
        pools = tuple(looks.at_pool(entry) for entry in roster.pools.values())
        return Look(
            at_seconds=now_seconds,
            pools=pools,
            node_pools=tuple(
                replace(
                    self._node_pool_look(roster.node_pools[name], observed, situations[name], pools),
                    pods=looks.staying(situations[name]),
                    phases=self.phases.quantiles(name),
                )
                for name, observed in looks.after_pools(situations).items()
            ),
        )

    def tidy(self, roster: Roster) -> None:
        """Forget what belongs to objects that are gone; those with an invalid spec are still there."""
        self.book.keep_only(variants=self._variants(roster), node_pools={"", *_node_pools(roster)})
        self.book.forget_others(pod.uid for pod in self.store.all_pods())
        self.back_offs.keep_only(roster.node_pools)
        self.phases.keep_only(roster.node_pools)
        targets = {target for entry in roster.pools.values() for target in entry.targets.values()}
        self.writes.keep_only(targets)
        self.unborn.keep_only(targets)

    def _variants(self, roster: Roster) -> set[str]:
        """Return the keys of all variants; of a pool whose spec is invalid now, those that were known."""
        alive = {variant_key(entry, variant) for entry in roster.pools.values() for variant in entry.pool.variants}
        pools = [item.record for item in roster.invalid if item.kind is Kind.POOLS]
        prefixes = tuple(f"{record.namespace}/{record.name}/" for record in pools)
        return alive | {key for key in self.book.start_up if key.startswith(prefixes)}

    def _situation(
        self, entry: NodePoolEntry, holders: Holders, sight: ProviderSight, now_seconds: float
    ) -> Situation:
        """Return how far the nodes of a pool are; what its provisioner said counts first."""
        name, back_off = entry.node_pool.name, self.back_offs.of(entry.node_pool.name)
        if name not in self.book.node:
            self._recall(entry, now_seconds)
        back_off.hear_all(sight, now_seconds)
        lead_time = self.book.of_node_pool(name, entry.prior).quantiles()
        return see_nodes(
            (node for node in self.store.nodes.values() if matches(node, entry.selector)),
            holders.of(entry.binding.resource),
            sight,
            resource=entry.binding.resource,
            back_off=back_off,
            now_seconds=now_seconds,
            patience_seconds=max(self.shortest_deadline_seconds, lead_time.p99_seconds),
        )

    def _recall(self, entry: NodePoolEntry, now_seconds: float) -> None:
        """Take the node lead time and the back-off of an earlier process from the status that it left."""
        until, reason = (
            parse_time(entry.record.status.get("blockedUntil")),
            entry.record.status.get("blockedReason"),
        )
        if until is not None and until > now_seconds:
            self.back_offs.of(entry.node_pool.name).recall(until_seconds=until, reason=str(reason or ""))
        for phase in entry.record.status.get("leadTime") or ():
            if phase.get("phase") == "node":
                self.book.of_node_pool(entry.node_pool.name, entry.prior).restore(
                    p50_seconds=Duration(phase.get("p50", "")).seconds,
                    p90_seconds=Duration(phase.get("p90", "")).seconds,
                    samples=int(phase.get("samples") or 0),
                    at_seconds=now_seconds,
                )

    def _node_pool_look(
        self,
        entry: NodePoolEntry,
        observed: NodePoolObservation,
        situation: Situation,
        pools: Sequence[PoolLook],
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
        total = None if start_up is None else VariantLeadTimes(start_up=start_up, node=node).total(needs_node=True)
        return NodePoolLook(
            entry=entry,
            observed=observed,
            situation=situation,
            last_failure=self.back_offs.of(name).last,
            node=node,
            start_up=start_up,
            total=total,
        )


def _claims(roster: Roster) -> dict[TargetRef, list[Claim]]:
    """Return which variants of acting pools scale each target, the one that keeps it first."""
    claims: dict[TargetRef, list[Claim]] = defaultdict(list)
    for entry in roster.pools.values():
        if entry.mode is Mode.AUTO:
            for key, target in entry.targets.items():
                claims[target].append(Claim.of(entry, key))
    return {target: sorted(found) for target, found in claims.items()}


def _node_pools(roster: Roster) -> set[str]:
    """Return the names of all node pools, those with an invalid spec included."""
    invalid = {item.record.name for item in roster.invalid if item.kind is Kind.NODE_POOLS}
    return invalid | roster.node_pools.keys()
