"""From resources to the values that flow through the loop. Pure: the time is an argument, nothing is looked up.

A reference that leads nowhere stops nothing: the pool is translated with what is there (no price, learned
capacity, a policy of defaults), and the binding says in a sentence what is missing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from forebay.api.base import GROUP
from forebay.api.policies import policy_settings
from forebay.api.profiles import translate_profile
from forebay.api.schedules import UnknownTimeZoneError, known_loads
from forebay.api.v1alpha1 import GPUNodePool, InferencePool, ScalingPolicy, ServingProfile
from forebay.api.v1alpha1.gpunodepool import Billing, CapacityType
from forebay.api.v1alpha1.inferencepool import Mode
from forebay.api.v1alpha1.roles import VariantSpec
from forebay.api.v1alpha1.scalingpolicy import ScalingPolicySpec
from forebay.api.v1alpha1.target import Target
from forebay.api.v1alpha1.telemetry import Telemetry
from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, RatioBand, Role, Slo, Variant, VariantKey
from forebay.flow.performance import Performance, ProfilePoints
from forebay.flow.settings import KnownLoad, PolicySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The resources that pools refer to."""

    node_pools: Mapping[str, GPUNodePool]
    profiles: Mapping[str, ServingProfile]
    policies: Mapping[tuple[str, str], ScalingPolicy]
    """By namespace and name."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Kinds that may not be read, by plural, each with a sentence that says what to do."""
    invalid: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """Objects that cannot be used as they are written, by plural, namespace ("" for none) and name, with what to
    change of each."""

    def why_missing(self, plural: str, name: str, namespace: str = "") -> str:
        """Return why an object that is referred to is not there, and what to change."""
        if plural in self.unreadable:
            return self.unreadable[plural]
        if (plural, namespace, name) in self.invalid:
            return f"what it names cannot be used: {self.invalid[plural, namespace, name].removesuffix('.')}"
        where = f" in namespace {namespace}" if namespace else ""
        return f"there is no {plural}.{GROUP} {name}{where}; create it or correct the name"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBinding:
    """A pool as the pipeline sees it, with what observing and acting need to know of it."""

    pool: Pool
    mode: Mode
    telemetry: Telemetry
    targets: Mapping[VariantKey, Target]
    """The scale target of each variant."""
    gateway_labels: Mapping[str, str] | None = None
    """Labels of this pool's series at the gateway; ``None`` if it has none."""
    gateway_pool: str | None = None
    """Name of the Gateway API Inference Extension's InferencePool, in the same namespace."""
    forecast_query: str | None = None
    """PromQL of the user's own forecast, in requests per second."""
    follows_schedules: bool = False
    """Whether its policy has schedules: what they say of the hours to come is translated anew as time goes."""
    problems: tuple[str, ...] = ()
    """Sentences about references that lead nowhere, each saying what to change."""
    restrictions: tuple[str, ...] = ()
    """Sentences about what the FleetPolicy takes away."""


def translate_pool(
    resource: InferencePool, catalogue: Catalogue, *, now_seconds: float, horizon_seconds: float
) -> PoolBinding:
    """Return the binding of one pool.

    Args:
        resource: the pool.
        catalogue: what it may refer to.
        now_seconds: Unix seconds.
        horizon_seconds: how far ahead schedules are expanded; at least the longest lead time.
    """
    spec = resource.spec
    problems: list[str] = []
    policy = _policy(resource, catalogue, problems)
    settings = _with_pool_limits(
        _with_schedules(policy_settings(policy), policy, now_seconds, horizon_seconds, problems), resource
    )
    variants, targets = _variants(resource, catalogue, problems)
    band = spec.prefill_to_decode
    budget = spec.limits.budget_per_hour if spec.limits else None
    return PoolBinding(
        pool=Pool(
            key=PoolKey(resource.namespace, resource.name),
            slo=Slo(
                ttft_seconds=spec.slo.ttft.seconds,
                itl_seconds=spec.slo.itl.seconds,
                target=spec.slo.percentile.value / 100,
            ),
            variants=variants,
            prefill_to_decode=RatioBand(lowest=band.min.value, highest=band.max.value) if band else None,
            priority=spec.priority,
            budget_usd_per_hour=budget.value if budget is not None else None,
            acts=spec.mode is Mode.AUTO,
            settings=settings,
        ),
        mode=spec.mode,
        telemetry=spec.telemetry,
        targets=targets,
        gateway_labels=_gateway_labels(resource),
        gateway_pool=spec.inference_pool_ref.name if spec.inference_pool_ref else None,
        forecast_query=policy.external_forecast.promql if policy.external_forecast else None,
        follows_schedules=bool(policy.schedules),
        problems=tuple(problems),
    )


def translate_node_pool(resource: GPUNodePool) -> NodePool:
    """Return one node pool."""
    spec = resource.spec
    return NodePool(
        name=resource.name,
        accelerator=spec.accelerator,
        gpus_per_node=spec.gpus_per_node,
        usd_per_gpu_hour=spec.price_per_gpu_hour.value if spec.price_per_gpu_hour is not None else None,
        spot=spec.capacity_type is CapacityType.SPOT,
        min_nodes=spec.min_nodes,
        max_nodes=spec.max_nodes,
        watts_per_gpu=spec.watts_per_gpu,
        billed_per_gpu=spec.billing is Billing.GPU,
        minimum_billing_seconds=spec.minimum_billing.seconds if spec.minimum_billing is not None else 0.0,
        reserved_nodes=spec.reserved_nodes or 0,
        warm_min=spec.warm.min if spec.warm is not None else 0,
        warm_max=spec.warm.most if spec.warm is not None else 0,
    )


def translate_fleet(
    bindings: Iterable[PoolBinding],
    node_pools: Iterable[GPUNodePool],
    *,
    budget_usd_per_hour: float | None = None,
    power_limit_watts: float | None = None,
) -> Fleet:
    """Return everything that is decided together."""
    return Fleet(
        pools={binding.pool.key: binding.pool for binding in bindings},
        node_pools={resource.name: translate_node_pool(resource) for resource in node_pools},
        budget_usd_per_hour=budget_usd_per_hour,
        power_limit_watts=power_limit_watts,
    )


def _gateway_labels(resource: InferencePool) -> Mapping[str, str] | None:
    gateway, reference = resource.spec.telemetry.gateway, resource.spec.inference_pool_ref
    if gateway is None:
        return None
    if gateway.selector is not None:
        return gateway.selector.match_labels
    return {"namespace": resource.namespace, "inference_pool": reference.name} if reference is not None else None


def _policy(resource: InferencePool, catalogue: Catalogue, problems: list[str]) -> ScalingPolicySpec:
    if resource.spec.policy_ref is None:
        return ScalingPolicySpec()
    name = resource.spec.policy_ref.name
    found = catalogue.policies.get((resource.namespace, name))
    if found is not None:
        return found.spec
    problems.append(
        f"spec.policyRef: {catalogue.why_missing('scalingpolicies', name, resource.namespace)};"
        " every default is used until then"
    )
    return ScalingPolicySpec()


def _with_schedules(
    settings: PolicySettings,
    policy: ScalingPolicySpec,
    now_seconds: float,
    horizon_seconds: float,
    problems: list[str],
) -> PolicySettings:
    loads: list[KnownLoad] = []
    for schedule in policy.schedules:
        try:
            loads += known_loads((schedule,), now_seconds=now_seconds, horizon_seconds=horizon_seconds)
        except UnknownTimeZoneError as error:
            problems.append(f"spec.policyRef: {error}; this schedule is left out until then")
    return replace(settings, known_loads=tuple(sorted(loads, key=lambda load: (load.start_seconds, load.name))))


def _with_pool_limits(settings: PolicySettings, resource: InferencePool) -> PolicySettings:
    limits, pause = resource.spec.limits, resource.spec.pause
    if limits is not None:
        settings = replace(
            settings,
            max_scale_out_step=limits.max_scale_out_step or settings.max_scale_out_step,
            max_scale_in_step=limits.max_scale_in_step or settings.max_scale_in_step,
            actions_per_hour=limits.actions_per_hour or settings.actions_per_hour,
        )
    if pause is not None:
        settings = replace(settings, pause_scale_in=pause.scale_in, pause_scale_out=pause.scale_out)
    return settings


def _variants(
    resource: InferencePool, catalogue: Catalogue, problems: list[str]
) -> tuple[tuple[Variant, ...], dict[VariantKey, Target]]:
    """Return all variants and their scale targets."""
    variants: list[Variant] = []
    targets: dict[VariantKey, Target] = {}
    for role, role_spec in resource.spec.roles.items():
        for index, spec in enumerate(role_spec.variants):
            path = f"spec.roles.{role}.variants[{index}]"
            variants.append(_variant(Role(role), spec, catalogue, path, problems))
            targets[variants[-1].key] = spec.target
    return tuple(variants), targets


def _variant(role: Role, spec: VariantSpec, catalogue: Catalogue, path: str, problems: list[str]) -> Variant:
    node_pool = catalogue.node_pools.get(spec.node_pool) if spec.node_pool is not None else None
    if spec.node_pool is not None and node_pool is None:
        problems.append(
            f"{path}.nodePool: {catalogue.why_missing('gpunodepools', spec.node_pool)};"
            " its price and stock are unknown until then"
        )
    price = node_pool.spec.price_per_gpu_hour if node_pool else None
    watts = node_pool.spec.watts_per_gpu if node_pool else None
    return Variant(
        name=spec.name,
        role=role,
        node_pool=spec.node_pool,
        gpus_per_replica=spec.gpus_per_replica,
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        usd_per_replica_hour=price.value * spec.gpus_per_replica if price is not None else None,
        watts_per_replica=float(watts * spec.gpus_per_replica) if watts is not None else None,
        performance=_performance(spec, node_pool, catalogue, path, problems),
        start_up_seconds=spec.start_up.seconds if spec.start_up is not None else None,
    )


def _performance(
    spec: VariantSpec, node_pool: GPUNodePool | None, catalogue: Catalogue, path: str, problems: list[str]
) -> Performance | ProfilePoints | None:
    """Return the profile's figures, or ``None`` (capacity is learned) when there is none that fits."""
    if spec.profile_ref is None:
        return None
    name = spec.profile_ref.name
    profile = catalogue.profiles.get(name)
    if profile is None:
        problems.append(
            f"{path}.profileRef: {catalogue.why_missing('servingprofiles', name)};"
            " capacity is learned from telemetry until then"
        )
        return None
    if profile.spec.gpus_per_replica != spec.gpus_per_replica:
        problems.append(
            f"{path}.profileRef: profile {name} was measured with {profile.spec.gpus_per_replica} GPUs per"
            f" replica, this variant has {spec.gpus_per_replica}; name a profile that fits; capacity is learned"
            " from telemetry until then"
        )
        return None
    if node_pool is not None and profile.spec.accelerator != node_pool.spec.accelerator:
        # Products go by several names, so that this is worth a word, and no reason to know nothing.
        problems.append(
            f"{path}.profileRef: profile {name} was measured on {profile.spec.accelerator}, node pool"
            f" {node_pool.name} has {node_pool.spec.accelerator}; name a profile that fits, or make the two agree"
        )
    return translate_profile(profile.spec)
