"""Who takes part in a round: our resources, parsed once per change and translated to flow values."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from forebay.actuation.providers.port import Binding
from forebay.actuation.targets import TargetRef
from forebay.api.base import API_VERSION, Resource
from forebay.api.grants import NothingGrantedError, grants_of, restricted
from forebay.api.parsing import InvalidResourceError, parse
from forebay.api.translate import Catalogue, PoolBinding, translate_node_pool, translate_pool
from forebay.api.v1alpha1 import FleetPolicy, GPUNodePool, InferencePool, ScalingPolicy, ServingProfile
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.api.v1alpha1.nodeprovider import Provider
from forebay.flow.fleet import NodePool, Pool, PoolKey, Variant, VariantKey
from forebay.flow.kinds import workload_kind
from forebay.runtime.cluster.leadtime import PhasePrior
from forebay.runtime.cluster.namespaces import Labels, NamespaceLabels
from forebay.runtime.watch.kinds import Kind
from forebay.runtime.watch.records import ResourceRecord
from forebay.runtime.watch.store import Store
from forebay.telemetry.source import GatewayTarget

R = TypeVar("R", bound=Resource)

_MODELS: Mapping[Kind, type[Resource]] = {
    Kind.POOLS: InferencePool,
    Kind.NODE_POOLS: GPUNodePool,
    Kind.PROFILES: ServingProfile,
    Kind.POLICIES: ScalingPolicy,
    Kind.FLEET_POLICIES: FleetPolicy,
}
_YIELD_EVERY = 50
_SCHEDULE_HORIZON_SECONDS = 6 * 3600.0
_SCHEDULE_EPOCH_SECONDS = 3600.0
"""Schedules are expanded anew once per epoch, for a horizon that outlasts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEntry:
    """One pool that takes part."""

    record: ResourceRecord
    pool: Pool
    mode: Mode
    targets: Mapping[VariantKey, TargetRef]
    """By variant."""
    engine: str
    metric_prefix: str
    series_labels: Mapping[str, str]
    gateway: GatewayTarget | None
    forecast_query: str | None
    gateway_pool: str | None
    """Name of the Gateway API Inference Extension's pool that it refers to, in its own namespace."""
    problems: tuple[str, ...]
    restrictions: tuple[str, ...] = ()
    """Sentences about what the FleetPolicy takes away."""
    tenant: str | None = None
    """Name of the FleetPolicy's rule that it comes under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePoolEntry:
    """One node pool that takes part."""

    record: ResourceRecord
    node_pool: NodePool
    selector: Mapping[str, str]
    prior: PhasePrior | None
    binding: Binding
    """What its provider is told of it."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """A resource that cannot be used, and what to change."""

    kind: Kind
    record: ResourceRecord
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Everything that takes part in one round."""

    pools: Mapping[PoolKey, PoolEntry]
    node_pools: Mapping[str, NodePoolEntry]
    invalid: tuple[Invalid, ...]
    fleet_policy: FleetPolicy | None = None


@dataclass(frozen=True, slots=True)
class _Rules:
    """All that pools are translated with besides what they say themselves."""

    catalogue: Catalogue
    fleet_policy: FleetPolicy | None
    policy_name: str
    namespace_label: str
    labels: Labels
    """Of the pools' namespaces."""
    version: int
    """Changes when any of it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Translated:
    """A pool's entry, or what is wrong with the pool, and when to look at it again."""

    generation: int
    rules: int
    """Stands for all that pools refer to."""
    epoch: float
    entry: PoolEntry | str
    follows_schedules: bool

    def holds(self, generation: int, rules: int, epoch: float) -> bool:
        """Whether nothing has changed since that it depends on."""
        same_time = epoch == self.epoch or not self.follows_schedules
        return same_time and (generation, rules) == (self.generation, self.rules)


@dataclass(slots=True)
class RosterKeeper:
    """Builds rosters and remembers what was parsed and translated, until the resource changes.

    Of a pool only the translation is kept: as parsed it takes ten times the memory, in a fleet of thousands.
    """

    store: Store
    namespaces: NamespaceLabels | None = None
    """Reads the labels that the FleetPolicy selects by; without it namespaces are known by their names only."""
    fleet_policy: str = "fleet"
    """Name of the FleetPolicy that is obeyed."""
    namespace_label: str = "namespace"
    """Label of Prometheus series that has their namespace."""
    _parsed: dict[tuple[Kind, str], tuple[int, Resource | str]] = field(default_factory=dict)
    _pools: dict[str, _Translated] = field(default_factory=dict)

    async def build(self, now_seconds: float) -> Roster:
        """Return who takes part now; gives way to other tasks while many resources are new."""
        invalid: list[Invalid] = []
        catalogue = await self._catalogue(invalid)
        rules = await self._rules(catalogue, invalid)
        pools: dict[PoolKey, PoolEntry] = {}
        for index, record in enumerate(list(self.store.resources[Kind.POOLS].values())):
            entry = self._entry(record, rules, now_seconds)
            if isinstance(entry, PoolEntry):
                pools[entry.pool.key] = entry
            else:
                invalid.append(Invalid(Kind.POOLS, record, entry))
            if index % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        self._forget_others()
        return Roster(
            pools=pools,
            node_pools={
                name: self._node_pool_entry(item)
                for name, item in catalogue.node_pools.items()
                # Without nodes a pool would look empty; its prices still count.
                if Kind.NODES in self.store.kinds and ("", name) in self.store.resources[Kind.NODE_POOLS]
            },
            invalid=tuple(invalid),
            fleet_policy=rules.fleet_policy,
        )

    async def _rules(self, catalogue: Catalogue, invalid: list[Invalid]) -> _Rules:
        policies = await self._valid(Kind.FLEET_POLICIES, FleetPolicy, invalid)
        policy = next((item for item in policies if item.name == self.fleet_policy), None)
        labels: Labels = {}
        if self.namespaces is not None:
            labels = await self.namespaces.read(policy, {name for name, _ in self.store.resources[Kind.POOLS]})
        words = tuple(sorted((name, tuple(sorted(mine.items()))) for name, mine in labels.items()))
        version = hash((self._version(), words))
        return _Rules(catalogue, policy, self.fleet_policy, self.namespace_label, labels, version)

    async def _catalogue(self, invalid: list[Invalid]) -> Catalogue:
        """Return what pools refer to, and add what cannot be used of it to ``invalid``."""
        node_pools = await self._valid(Kind.NODE_POOLS, GPUNodePool, invalid)
        profiles = await self._valid(Kind.PROFILES, ServingProfile, invalid)
        policies = await self._valid(Kind.POLICIES, ScalingPolicy, invalid)
        return Catalogue(
            node_pools={item.name: item for item in node_pools},
            profiles={item.name: item for item in profiles},
            policies={(item.namespace, item.name): item for item in policies},
            unreadable={kind.value: sentence for kind, sentence in self.store.without.items()},
            invalid={(item.kind.value, item.record.namespace, item.record.name): item.message for item in invalid},
        )

    async def _valid(self, kind: Kind, model: type[R], invalid: list[Invalid]) -> list[R]:
        """Return the valid resources of a kind, and add the others to ``invalid``."""
        found: list[R] = []
        fresh = 0
        for record in list(self.store.resources[kind].values()):
            key = (kind, record.uid)
            known = self._parsed.get(key)
            if known is None or known[0] != record.generation:
                known = (record.generation, _parse(kind, record))
                self._parsed[key] = known
                fresh += 1
                if fresh % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            resource = known[1]
            if isinstance(resource, model):
                found.append(resource)
            else:
                invalid.append(Invalid(kind, record, str(resource)))
        return found

    def _version(self) -> int:
        """Return what changes when something does that pools refer to."""
        referred = tuple(
            (record.uid, record.generation)
            for kind in (Kind.NODE_POOLS, Kind.PROFILES, Kind.POLICIES, Kind.FLEET_POLICIES)
            for record in self.store.resources[kind].values()
        )
        return hash((referred, frozenset(self.store.without)))

    def _entry(self, record: ResourceRecord, rules: _Rules, now_seconds: float) -> PoolEntry | str:
        """Return a pool's entry, or a sentence that says what is wrong with it."""
        epoch = now_seconds // _SCHEDULE_EPOCH_SECONDS
        known = self._pools.get(record.uid)
        if known is None or not known.holds(record.generation, rules.version, epoch):
            known = _translated(record, rules, epoch, now_seconds)
        elif isinstance(known.entry, PoolEntry) and known.entry.record is not record:
            known = replace(known, entry=replace(known.entry, record=record))
        self._pools[record.uid] = known
        return known.entry

    def _node_pool_entry(self, resource: GPUNodePool) -> NodePoolEntry:
        record, node_pool = self.store.resources[Kind.NODE_POOLS]["", resource.name], translate_node_pool(resource)
        prior = resource.spec.lead_time_prior
        return NodePoolEntry(
            record=record,
            node_pool=node_pool,
            selector=resource.spec.node_selector,
            binding=Binding(
                name=resource.name,
                uid=record.uid,
                provider=resource.spec.provider or Provider(),
                selector=resource.spec.node_selector,
                resource=resource.spec.resource_name,
                gpus_per_node=node_pool.gpus_per_node,
                min_nodes=node_pool.min_nodes,
                max_nodes=node_pool.max_nodes,
                minimum_billing_seconds=node_pool.minimum_billing_seconds,
            ),
            prior=PhasePrior(p50_seconds=prior.p50.seconds, p90_seconds=prior.p90.seconds) if prior else None,
        )

    def _forget_others(self) -> None:
        alive = {record.uid for records in self.store.resources.values() for record in records.values()}
        self._parsed = {key: value for key, value in self._parsed.items() if key[1] in alive}
        self._pools = {uid: value for uid, value in self._pools.items() if uid in alive}


def _parse(kind: Kind, record: ResourceRecord) -> Resource | str:
    """Return the resource, or a sentence that says what is wrong with it. Its status is our own: not parsed."""
    metadata: dict[str, Any] = {
        "name": record.name,
        "uid": record.uid,
        "generation": record.generation,
        "labels": dict(record.labels),
    }
    if record.namespace:
        metadata["namespace"] = record.namespace
    model = _MODELS[kind]
    body = {"apiVersion": API_VERSION, "kind": model.__name__, "metadata": metadata, "spec": record.spec}
    try:
        return parse(model, body)
    except InvalidResourceError as error:
        return str(error)


def _translated(record: ResourceRecord, rules: _Rules, epoch: float, now_seconds: float) -> _Translated:
    resource = _parse(Kind.POOLS, record)
    entry: PoolEntry | str = str(resource)
    follows_schedules = False
    if isinstance(resource, InferencePool):
        binding = translate_pool(
            resource, rules.catalogue, now_seconds=now_seconds, horizon_seconds=_SCHEDULE_HORIZON_SECONDS
        )
        labels = rules.labels.get(resource.namespace, {})
        grants = grants_of(rules.fleet_policy, rules.policy_name, resource.namespace, labels)
        follows_schedules = binding.follows_schedules
        try:
            entry = _pool_entry(record, restricted(binding, grants, rules.namespace_label), grants.rule)
        except NothingGrantedError as error:
            entry = str(error)
    return _Translated(
        generation=record.generation,
        rules=rules.version,
        epoch=epoch,
        entry=entry,
        follows_schedules=follows_schedules,
    )


def _pool_entry(record: ResourceRecord, binding: PoolBinding, tenant: str | None) -> PoolEntry:
    pool = binding.pool
    if binding.mode is Mode.PAUSED:
        pool = replace(pool, settings=replace(pool.settings, pause_scale_in=True, pause_scale_out=True))
    selector = binding.telemetry.selector
    targets = {
        key: TargetRef(pool.key.namespace, target.effective_api_version, target.kind, target.name)
        for key, target in binding.targets.items()
    }
    return PoolEntry(
        record=record,
        pool=replace(pool, variants=tuple(_above_lowest(each, targets[each.key]) for each in pool.variants)),
        mode=binding.mode,
        targets=targets,
        engine=binding.telemetry.engine,
        metric_prefix=binding.telemetry.metric_prefix or "",
        series_labels=selector.match_labels if selector is not None else {},
        gateway=_gateway(binding),
        forecast_query=binding.forecast_query,
        gateway_pool=binding.gateway_pool,
        problems=binding.problems,
        restrictions=binding.restrictions,
        tenant=tenant,
    )


def _above_lowest(variant: Variant, target: TargetRef) -> Variant:
    """Return a variant that keeps as many replicas as its stack needs to know that it exists."""
    row = workload_kind(target.api_version, target.kind)
    if row is None or variant.min_replicas >= row.lowest:
        return variant
    return replace(variant, min_replicas=row.lowest, max_replicas=max(row.lowest, variant.max_replicas))


def _gateway(binding: PoolBinding) -> GatewayTarget | None:
    gateway, labels = binding.telemetry.gateway, binding.gateway_labels
    if gateway is None or labels is None:
        return None
    return GatewayTarget(dialect=gateway.dialect, labels=labels, metric_prefix=gateway.metric_prefix or "")
