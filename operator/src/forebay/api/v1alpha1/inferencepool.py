"""InferencePool: one served model, its latency objectives, and the workloads that serve it."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool, StrictInt

from forebay.api.base import WHOLE, ApiModel, Column, NameRef, Resource, ResourceInfo
from forebay.api.rules import Rule
from forebay.api.text import PERCENTILE_RULE, Duration, Money, Percentile, between, decimal_between
from forebay.api.v1alpha1.inferencepool_status import InferencePoolStatus
from forebay.api.v1alpha1.roles import IS_BAND, SUM_OF_REPLICAS, RatioBandSpec, Roles
from forebay.api.v1alpha1.telemetry import INFERENCE_EXTENSION, Telemetry

GATEWAY_POOL_API = "inference.networking.k8s.io/v1"
"""Group and version of the Gateway API Inference Extension's InferencePool, which `inferencePoolRef` names."""


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
    percentile: Annotated[Percentile, PERCENTILE_RULE] = Percentile("95")
    """Per cent of requests that must meet both targets: what the pool is sized for, and no more. A decimal needs
    quotes: "99.9"."""


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
            f" && self.telemetry.gateway.dialect == '{INFERENCE_EXTENSION}')",
            "telemetry.gateway does not say which series are this pool's: add selector (or inferencePoolRef, with"
            " the dialect inference-extension)",
            lambda spec: spec.tells_its_gateway_series(),
            ".telemetry.gateway",
        ),
        Rule(
            "!has(self.prefillToDecode) || !has(self.roles.prefill) || !has(self.roles.decode)"
            f" || !({IS_BAND.format('self.prefillToDecode')})"
            f" || (int(self.prefillToDecode.min.split(':')[0]) * {SUM_OF_REPLICAS.format('decode', 'min')}"
            f" <= int(self.prefillToDecode.min.split(':')[1]) * {SUM_OF_REPLICAS.format('prefill', 'max')}"
            f" && int(self.prefillToDecode.max.split(':')[1]) * {SUM_OF_REPLICAS.format('prefill', 'min')}"
            f" <= int(self.prefillToDecode.max.split(':')[0]) * {SUM_OF_REPLICAS.format('decode', 'max')})",
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
    """ScalingPolicy in this namespace; default: one of defaults."""
    inference_pool_ref: NameRef | None = None
    """The InferencePool of the Gateway API Inference Extension (inference.networking.k8s.io) that routes to
    these replicas, in this namespace. Tells which of its gateway's series are this pool's."""

    def tells_its_gateway_series(self) -> bool:
        """Tell whether the pool's series at the gateway are known, if it has one."""
        gateway = self.telemetry.gateway
        if gateway is None or gateway.selector is not None:
            return True
        return self.inference_pool_ref is not None and gateway.dialect == INFERENCE_EXTENSION

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
            Column("Cost/h", ".status.summary.cost", description="Dollars per hour of what runs -> recommended"),
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
