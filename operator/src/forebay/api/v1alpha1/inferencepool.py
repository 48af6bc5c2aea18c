"""InferencePool: one served model, its latency objectives, and the workloads that serve it."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool, StrictInt

from forebay.api.base import WHOLE, ApiModel, Column, NameRef, ObjectName, Resource, ResourceInfo
from forebay.api.rules import ListType, Rule
from forebay.api.text import RATIO, RATIO_RULE, Duration, Money, Ratio, between, decimal_between
from forebay.api.v1alpha1.inferencepool_status import InferencePoolStatus
from forebay.api.v1alpha1.target import Target
from forebay.api.v1alpha1.telemetry import GatewayDialect, Telemetry

MAX_VARIANTS = 16
GATEWAY_POOL_API = "inference.networking.k8s.io/v1"
"""Group and version of the Gateway API Inference Extension's InferencePool, which `inferencePoolRef` names."""

_RATIO_IN_FORMAT = RATIO.replace("{", "{{").replace("}", "}}")
_IS_BAND = " && ".join(f"{{0}}.{end}.matches('^{_RATIO_IN_FORMAT}$')" for end in ("min", "max"))
_SAME_TARGET = "v.target.kind == w.target.kind && v.target.name == w.target.name"
_SUM = "self.roles.{0}.variants.map(v, v.{1}Replicas).sum()"
_VARIANT_NAME = "(has({0}.name) ? {0}.name : {0}.target.name)"


class Mode(StrEnum):
    """What Forebay may do with a pool."""

    RECOMMEND = "Recommend"
    AUTO = "Auto"
    PAUSED = "Paused"


class SloSpec(ApiModel):
    """Latency objectives: the given share of requests meets both."""

    ttft: Annotated[Duration, between("1ms", "10m", such_as="800ms or 1s")]
    """Time to first token, from arrival to the first token, such as 1s."""
    itl: Annotated[Duration, between("1ms", "10s", such_as="50ms")]
    """Inter-token latency: mean time between the tokens of one answer, such as 50ms."""
    percentile: Annotated[StrictInt, Field(ge=50, le=99), WHOLE] = 95
    """Per cent of requests that must meet both targets."""


class VariantSpec(ApiModel):
    """One way to serve a role: a scalable workload on one type of GPU."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas is larger than maxReplicas: lower minReplicas or raise maxReplicas",
            lambda variant: variant.min_replicas <= variant.max_replicas,
            ".minReplicas",
        ),
    )

    name: ObjectName | None = None
    """Name of the variant, unique within its role. Defaults to the target's name."""
    target: Target
    """The workload whose replicas are scaled."""
    node_pool: ObjectName | None = None
    """Name of the GPUNodePool that it runs on. Without one, its price and stock are unknown."""
    gpus_per_replica: Annotated[StrictInt, Field(ge=1, le=1024), WHOLE] = 1
    """GPUs that one replica holds, over all of its pods."""
    min_replicas: Annotated[StrictInt, Field(ge=0, le=10_000)] = 1
    """Fewest replicas. At least one variant of each role keeps 1 or more."""
    max_replicas: Annotated[StrictInt, Field(ge=1, le=10_000)]
    """Most replicas."""
    profile_ref: NameRef | None = None
    """ServingProfile of this model on this GPU. Without one, capacity is learned from telemetry."""
    start_up: Annotated[Duration, between("1s", "2h", such_as="90s or 5m")] | None = None
    """Time that a pod needs from scheduled to ready on a warm node. Measured if left out."""

    @property
    def effective_name(self) -> str:
        """Return the name, or else the target's."""
        return self.name or self.target.name


class RoleSpec(ApiModel):
    """The variants that serve one role; Forebay splits the replicas among them at the lowest cost."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.variants.all(v, self.variants.exists_one(w,"
            f" {_VARIANT_NAME.format('w')} == {_VARIANT_NAME.format('v')}))",
            "variants: two have the same name (a variant without one is named after its target); rename one",
            lambda role: len({variant.effective_name for variant in role.variants}) == len(role.variants),
            ".variants",
        ),
        Rule(
            f"self.variants.all(v, self.variants.exists_one(w, {_SAME_TARGET}))",
            "variants: two have the same target; give each a target of its own",
            lambda role: len(role.targets()) == len(role.variants),
            ".variants",
        ),
        Rule(
            "self.variants.exists(v, v.minReplicas >= 1)",
            "variants: all have minReplicas 0, but a role is never scaled to zero; set one to 1 or more",
            lambda role: any(variant.min_replicas >= 1 for variant in role.variants),
            ".variants",
        ),
        Rule(
            "self.variants.all(v, oldSelf.variants.all(o, "
            f"{_VARIANT_NAME.format('v')} != {_VARIANT_NAME.format('o')} || (v.target.kind == o.target.kind"
            " && v.target.name == o.target.name)))",
            "variants: the target of a variant cannot change, because what was learned belongs to it; "
            "add a variant of another name and remove this one",
            None,
            ".variants",
        ),
    )

    variants: Annotated[tuple[VariantSpec, ...], Field(min_length=1, max_length=MAX_VARIANTS), ListType("atomic")]
    """One to sixteen variants, each on one GPU type."""

    def targets(self) -> set[tuple[str, str]]:
        """Return kind and name of all targets."""
        return {(variant.target.kind, variant.target.name) for variant in self.variants}

    def replicas(self) -> tuple[int, int]:
        """Return the fewest and the most replicas over all variants."""
        return sum(v.min_replicas for v in self.variants), sum(v.max_replicas for v in self.variants)


class Roles(ApiModel):
    """Either serve, or prefill and decode."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.serve) || has(self.prefill) || has(self.decode)",
            "roles: name serve, or prefill and decode",
            lambda roles: any((roles.serve, roles.prefill, roles.decode)),
        ),
        Rule(
            "!has(self.serve) || !(has(self.prefill) || has(self.decode))",
            "roles: serve excludes prefill and decode; keep serve alone, or prefill with decode",
            lambda roles: not (roles.serve and (roles.prefill or roles.decode)),
        ),
        Rule(
            "!has(self.prefill) || has(self.decode)",
            "roles: prefill needs decode beside it; add roles.decode, or rename prefill to serve",
            lambda roles: not roles.prefill or bool(roles.decode),
        ),
        Rule(
            "!has(self.decode) || has(self.prefill)",
            "roles: decode needs prefill beside it; add roles.prefill, or rename decode to serve",
            lambda roles: not roles.decode or bool(roles.prefill),
        ),
        Rule(
            "!has(self.prefill) || !has(self.decode)"
            f" || self.prefill.variants.all(v, !self.decode.variants.exists(w, {_SAME_TARGET}))",
            "roles: a variant of prefill and one of decode have the same target; give each a target of its own",
            lambda roles: (
                roles.prefill is None
                or roles.decode is None
                or not roles.prefill.targets() & roles.decode.targets()
            ),
        ),
        Rule(
            "has(self.serve) == has(oldSelf.serve)",
            "roles: serve cannot become prefill and decode, nor the reverse; create another InferencePool",
            None,
        ),
    )

    serve: RoleSpec | None = None
    """Replicas that do both prefill and decode."""
    prefill: RoleSpec | None = None
    """Replicas that only process prompts; they decide the TTFT."""
    decode: RoleSpec | None = None
    """Replicas that only generate tokens; they decide the ITL."""

    def items(self) -> Iterator[tuple[str, RoleSpec]]:
        """Yield the name of each role that is there, with the role."""
        for name, role in (("serve", self.serve), ("prefill", self.prefill), ("decode", self.decode)):
            if role is not None:
                yield name, role


class RatioBandSpec(ApiModel):
    """Allowed prefill replicas per decode replica."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!({_IS_BAND.format('self')}) || int(self.min.split(':')[0]) * int(self.max.split(':')[1])"
            " <= int(self.max.split(':')[0]) * int(self.min.split(':')[1])",
            "prefillToDecode: min is larger than max; swap them (1:4 is one prefill for four decode)",
            lambda band: band.min.terms[0] * band.max.terms[1] <= band.max.terms[0] * band.min.terms[1],
        ),
    )

    min: Annotated[Ratio, RATIO_RULE]
    """Fewest prefill replicas per decode replica, such as 1:4."""
    max: Annotated[Ratio, RATIO_RULE]
    """Most prefill replicas per decode replica, such as 3:1."""


class PoolLimits(ApiModel):
    """What one pool may spend, and how fast it may change."""

    budget_per_hour: Annotated[Money, decimal_between("0.01", "1000000", such_as="250.00")] | None = None
    """Most that the pool may cost in an hour, as a decimal string."""
    max_scale_out_step: Annotated[StrictInt, Field(ge=1, le=10_000), WHOLE] | None = None
    """Most replicas that one round adds to a role."""
    max_scale_in_step: Annotated[StrictInt, Field(ge=1, le=10_000), WHOLE] | None = None
    """Most replicas that one round takes from a role."""
    actions_per_hour: Annotated[StrictInt, Field(ge=1, le=240), WHOLE] | None = None
    """Most scaling actions per role in an hour. A standing queue is served whatever this says."""


class Pause(ApiModel):
    """Stops one direction."""

    scale_in: StrictBool = False
    """Removes no replica while true."""
    scale_out: StrictBool = False
    """Adds no replica while true."""


class InferencePoolSpec(ApiModel):
    """What to serve, how fast, on what, and within which limits."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.prefillToDecode) || (has(self.roles.prefill) && has(self.roles.decode))",
            "prefillToDecode applies to roles prefill and decode; remove it from a pool with the role serve",
            lambda spec: spec.prefill_to_decode is None or spec.roles.serve is None,
            ".prefillToDecode",
        ),
        Rule(
            "!has(self.telemetry.gateway) || has(self.telemetry.gateway.selector)"
            " || (has(self.inferencePoolRef)"
            f" && self.telemetry.gateway.dialect == '{GatewayDialect.INFERENCE_EXTENSION}')",
            "telemetry.gateway does not say which series are this pool's: add selector (or inferencePoolRef, with"
            " the dialect inference-extension)",
            lambda spec: spec.tells_its_gateway_series(),
            ".telemetry.gateway",
        ),
        Rule(
            "!has(self.prefillToDecode) || !has(self.roles.prefill) || !has(self.roles.decode)"
            f" || !({_IS_BAND.format('self.prefillToDecode')})"
            f" || (int(self.prefillToDecode.min.split(':')[0]) * {_SUM.format('decode', 'min')}"
            f" <= int(self.prefillToDecode.min.split(':')[1]) * {_SUM.format('prefill', 'max')}"
            f" && int(self.prefillToDecode.max.split(':')[1]) * {_SUM.format('prefill', 'min')}"
            f" <= int(self.prefillToDecode.max.split(':')[0]) * {_SUM.format('decode', 'max')})",
            "prefillToDecode cannot be met between minReplicas and maxReplicas of the variants: widen the band or"
            " those limits",
            lambda spec: spec.band_can_be_met(),
            ".prefillToDecode",
        ),
    )

    mode: Mode = Mode.RECOMMEND
    """Recommend computes and reports, and writes nothing else; Auto scales; Paused stops deciding."""
    slo: SloSpec
    """Latency objectives."""
    telemetry: Telemetry
    """Where the traffic and the engines are measured."""
    roles: Roles
    """Either serve, or prefill and decode."""
    prefill_to_decode: RatioBandSpec | None = None
    """Band for prefill replicas per decode replica; free if left out."""
    priority: Annotated[StrictInt, Field(ge=-1000, le=1000), WHOLE] = 0
    """Who is served first when GPUs or money run out: the larger."""
    limits: PoolLimits | None = None
    """Limits on cost and change."""
    pause: Pause | None = None
    """Stops scale-in, scale-out or both, without losing the recommendations."""
    policy_ref: NameRef | None = None
    """ScalingPolicy in this namespace, or a preset: cost-saver, balanced (the default) or latency-first."""
    inference_pool_ref: NameRef | None = None
    """The InferencePool of the Gateway API Inference Extension (inference.networking.k8s.io) that routes to
    these replicas, in this namespace. Tells which of its gateway's series are this pool's."""

    def tells_its_gateway_series(self) -> bool:
        """Tell whether the pool's series at the gateway are known, if it has one."""
        gateway = self.telemetry.gateway
        if gateway is None or gateway.selector is not None:
            return True
        return self.inference_pool_ref is not None and gateway.dialect is GatewayDialect.INFERENCE_EXTENSION

    def band_can_be_met(self) -> bool:
        """Tell whether some numbers of replicas within all limits lie in the band."""
        band, prefill, decode = self.prefill_to_decode, self.roles.prefill, self.roles.decode
        if band is None or prefill is None or decode is None:
            return True
        (prefill_least, prefill_most), (decode_least, decode_most) = prefill.replicas(), decode.replicas()
        return (
            band.min.terms[0] * decode_least <= band.min.terms[1] * prefill_most
            and band.max.terms[1] * prefill_least <= band.max.terms[0] * decode_most
        )


class InferencePool(Resource):
    """One served model: latency objectives, the workloads that serve it, and the limits of scaling them."""

    info = ResourceInfo(
        plural="inferencepools",
        singular="inferencepool",
        namespaced=True,
        short_names=("fpool",),
        columns=(
            Column("Mode", ".spec.mode", description="Recommend, Auto or Paused"),
            Column("Ready", ".status.summary.replicas", description="Ready/desired replicas per role"),
            Column("SLO", ".status.sloAttainment", description="Share of requests that met the SLO"),
            Column(
                "Cost/h", ".status.costPerHour", description="Cost of the ready and starting replicas per hour"
            ),
            Column("Why", ".status.summary.why", description="The last decision's main reason"),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Recommended", ".status.summary.recommended", wide=True, description="Replicas per role"),
            Column(
                "Demand", ".status.summary.demand", wide=True, description="Requests per second, now and forecast"
            ),
            Column("Lead", ".status.leadTime", wide=True, description="Order to ready, p90"),
            Column("Engine", ".spec.telemetry.engine", wide=True),
            Column("TTFT", ".spec.slo.ttft", wide=True),
            Column("ITL", ".spec.slo.itl", wide=True),
            Column("Policy", ".spec.policyRef.name", wide=True),
            Column("Scaled", ".status.lastScaleTime", "date", wide=True, description="Since the last scaling"),
        ),
    )

    spec: InferencePoolSpec
    """What to serve, how fast, on what, and within which limits."""
    status: InferencePoolStatus | None = None
    """What was observed and decided; written by Forebay."""
