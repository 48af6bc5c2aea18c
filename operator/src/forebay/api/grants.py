"""What a FleetPolicy grants the pools of one namespace. Pure: the namespace's labels are an argument."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from forebay.api.translate import PoolBinding
from forebay.api.v1alpha1.fleetpolicy import Allowance, FleetPolicy
from forebay.flow.fleet import Pool

NAME_LABEL = "kubernetes.io/metadata.name"
"""Label with a namespace's own name, which the API server sets on every namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What the pools of a namespace may use, by default and by an administrator's word."""

    source: str
    """Where that is written, for sentences."""
    rule: str | None = None
    """Name of the tenant's rule that fits, if one does."""
    node_pools: frozenset[str] | None = None
    """``None``: all."""
    highest_priority: int | None = None
    allowed: frozenset[Allowance] = frozenset()

    def allows(self, what: Allowance) -> bool:
        """Whether the namespace may do what reaches beyond it."""
        return what in self.allowed

    def how_to_allow(self, what: Allowance) -> str:
        """Return what an administrator has to write."""
        return f"more needs `allow: [{what.value}]` in a rule for this namespace in {self.source}"


def grants_of(policy: FleetPolicy | None, policy_name: str, namespace: str, labels: Mapping[str, str]) -> Grants:
    """Return what ``policy`` grants a namespace with these labels; the defaults where there is no policy."""
    source = f"FleetPolicy {policy_name}"
    if policy is None:
        return Grants(source=source)
    labels = {NAME_LABEL: namespace, **labels}
    ceiling = policy.spec.highest_priority
    for rule in policy.spec.tenants:
        if any(labels.get(key) != value for key, value in rule.namespace_selector.match_labels.items()):
            continue
        ceilings = [value for value in (ceiling, rule.highest_priority) if value is not None]
        return Grants(
            source=source,
            rule=rule.name,
            node_pools=None if rule.node_pools is None else frozenset(rule.node_pools),
            highest_priority=min(ceilings, default=None),
            allowed=frozenset(rule.allow),
        )
    return Grants(source=source, highest_priority=ceiling)


class NothingGrantedError(Exception):
    """A role of a pool has no variant that its namespace may use; the message says what to change."""


def restricted(binding: PoolBinding, grants: Grants, namespace_label: str) -> PoolBinding:
    """Return a pool's binding within what its namespace is granted, with a sentence for each thing taken away.

    Args:
        binding: of the pool.
        grants: of its namespace.
        namespace_label: the label of Prometheus series that has their namespace.

    Raises:
        NothingGrantedError: nothing is left of a role.
    """
    told: list[str] = []
    pool = _with_granted_variants(binding.pool, grants, told)
    ceiling = grants.highest_priority
    if ceiling is not None and pool.priority > ceiling:
        told.append(f"spec.priority {pool.priority} counts as {ceiling}, the highest that {grants.source} allows.")
        pool = replace(pool, priority=ceiling)
    forecast_query = binding.forecast_query
    if forecast_query is not None and not grants.allows(Allowance.EXTERNAL_FORECASTS):
        how = grants.how_to_allow(Allowance.EXTERNAL_FORECASTS)
        told.append(f"The policy's externalForecast is not used: {how}.")
        forecast_query = None
    kept = {variant.key for variant in pool.variants}
    return replace(
        binding,
        pool=pool,
        targets={key: target for key, target in binding.targets.items() if key in kept},
        forecast_query=forecast_query,
        gateway_labels=_own_gateway_labels(binding, grants, namespace_label, told),
        restrictions=tuple(told),
    )


def _with_granted_variants(pool: Pool, grants: Grants, told: list[str]) -> Pool:
    """Leave out the variants on node pools that the namespace may not use; their replicas stay as they are."""
    granted = grants.node_pools
    if granted is None:
        return pool
    refused = [variant for variant in pool.variants if variant.node_pool not in granted]
    names = ", ".join(sorted(granted))
    for variant in refused:
        where = f"node pool {variant.node_pool}" if variant.node_pool else "no named node pool"
        told.append(
            f"Variant {variant.key} is not scaled: {grants.source} (rule {grants.rule}) gives namespace"
            f" {pool.key.namespace} the node pools {names} only, and the variant is on {where}."
        )
    kept = tuple(variant for variant in pool.variants if variant not in refused)
    lost = set(pool.roles) - {variant.role for variant in kept}
    if lost:
        raise NothingGrantedError(" ".join(told))
    return replace(pool, variants=kept) if refused else pool


def _own_gateway_labels(
    binding: PoolBinding, grants: Grants, namespace_label: str, told: list[str]
) -> Mapping[str, str] | None:
    """Return the labels of the pool's gateway series: within its namespace, unless it may read others."""
    labels, own = binding.gateway_labels, binding.pool.key.namespace
    if labels is None or grants.allows(Allowance.FOREIGN_GATEWAYS):
        return labels
    if labels.get(namespace_label, own) != own:
        how = grants.how_to_allow(Allowance.FOREIGN_GATEWAYS)
        told.append(f"telemetry.gateway reads series of namespace {own} only: {how}.")
    return {**labels, namespace_label: own}
