"""What Forebay reports of an InferencePool; small, because it is written whenever something changes."""

from typing import Annotated

from pydantic import Field, StrictInt, StrictStr

from forebay.api.base import WHOLE, ApiModel, Condition
from forebay.api.rules import ListType

Short = Annotated[StrictStr, Field(max_length=64)]
Sentence = Annotated[StrictStr, Field(max_length=512)]
Time = Annotated[StrictStr, Field(max_length=64, json_schema_extra={"format": "date-time"})]
Count = Annotated[StrictInt, Field(ge=0), WHOLE]


class Summary(ApiModel):
    """What ``kubectl get`` shows, as short strings."""

    replicas: Short | None = None
    """Ready/desired per role: 3/4, or P 3/4 D 6/6."""
    recommended: Short | None = None
    """Recommended per role: 4, or P 4 D 6."""
    demand: Short | None = None
    """Requests per second now, and the forecast's 90th percentile at the lead time: 12.1 -> 15.8/s."""
    cost: Short | None = None
    """Dollars per hour of what runs, and of what is recommended where that differs: 5.00 -> 12.50."""
    why: Annotated[StrictStr, Field(max_length=96)] | None = None
    """The main reason of the last decision, in a few words."""


class VariantStatus(ApiModel):
    """Replicas of one variant."""

    name: Annotated[StrictStr, Field(max_length=253)]
    """Name of the variant."""
    ready: Count = 0
    """Replicas that serve."""
    starting: Count = 0
    """Replicas that are ordered and not ready yet."""
    parked: Count = 0
    """Replicas out of traffic: paid, and back within a second if they are missed."""
    desired: Count = 0
    """Replicas that the target's /scale asks for, without parked ones."""
    recommended: Count = 0
    """Replicas that Forebay would have."""
    last_written: Count | None = None
    """Replicas that Forebay wrote last, or took over from somebody else who wrote them."""
    last_written_time: Time | None = None
    """When it wrote them; replicas that have not come since are dated from it."""
    reversions: Count | None = None
    """How often of late a manifest has set the target back."""
    left_alone_until: Time | None = None
    """Until when the target is left alone because of that."""
    weight: Short | None = None
    """Share of new requests of its role that it should get, such as 62%."""
    capacity: Short | None = None
    """Where its capacity figures come from: profile, profile-corrected or learned."""


class RouteStatus(ApiModel):
    """Where requests with prompts up to a length should go."""

    up_to_tokens: Count | None = None
    """The longest prompt, in tokens; none for the last route."""
    weights: Annotated[tuple[Short, ...], Field(max_length=16), ListType("atomic")] = ()
    """Share of these requests per variant, such as h100 70%."""


class RoleStatus(ApiModel):
    """Replicas of one role."""

    role: Annotated[StrictStr, Field(max_length=16)]
    """serve, prefill or decode."""
    ready: Count = 0
    """Replicas that serve."""
    desired: Count = 0
    """Replicas that the targets ask for, without parked ones."""
    recommended: Count = 0
    """Replicas that Forebay would have."""
    variants: Annotated[tuple[VariantStatus, ...], Field(max_length=16), ListType("map", ("name",))] = ()
    """The same per variant."""
    routes: Annotated[tuple[RouteStatus, ...], Field(max_length=32), ListType("atomic")] = ()
    """Weights per prompt length, shortest first, where the pool routes by length."""


class ForecastStatus(ApiModel):
    """Demand now and at the lead time, in requests per second, as decimal strings."""

    now: Short | None = None
    """Measured over the last minute."""
    p50: Short | None = None
    """Median forecast at the lead time."""
    p90: Short | None = None
    """90th percentile at the lead time."""
    p99: Short | None = None
    """99th percentile at the lead time."""
    skill: Short | None = None
    """Pinball loss at p90 over that of persistence; below 1 is better."""
    source: Short | None = None
    """Which forecaster spoke; persistence while it is demoted."""


class DecisionStatus(ApiModel):
    """The last decision that changed something."""

    time: Time | None = None
    """When it was taken."""
    reason: Short | None = None
    """Its code, in CamelCase."""
    message: Sentence | None = None
    """Its main reason in a sentence."""
    changes: Annotated[tuple[Short, ...], Field(max_length=32), ListType("atomic")] = ()
    """What changed, such as prefill/h100 3 -> 4."""


class AttainmentStatus(ApiModel):
    """How many requests met the SLO over some time, which fades: what is older than the window counts little."""

    window: Annotated[StrictStr, Field(max_length=8)]
    """1h, 1d or 28d."""
    met: Short | None = None
    """Share of requests that met the SLO, such as 99.2%."""
    burn_rate: Short | None = None
    """Requests that missed over those that the objective allows, as a decimal string: 1 spends the budget
    exactly."""


class InferencePoolStatus(ApiModel):
    """What was observed and decided; written by Forebay."""

    observed_generation: Count | None = None
    """Generation of the spec that this status speaks of."""
    summary: Summary | None = None
    """The columns of kubectl get."""
    roles: Annotated[tuple[RoleStatus, ...], Field(max_length=3), ListType("map", ("role",))] = ()
    """Replicas per role and variant."""
    slo_attainment: Short | None = None
    """Share of requests that met the SLO over the error budget's window, such as 99.2%."""
    slo_requests: Count | None = None
    """Requests that sloAttainment speaks of; older ones fade. An operator without memory goes on from them."""
    slo_missed: Count | None = None
    """Of these, the requests that missed the SLO."""
    error_budget_left: Short | None = None
    """What is left of the error budget: 100% is untouched, negative is overspent."""
    attainment: Annotated[tuple[AttainmentStatus, ...], Field(max_length=8), ListType("map", ("window",))] = ()
    """The SLO and its burn rate over an hour, a day and four weeks."""
    actions_last_hour: Count | None = None
    """Changes of a role's targets in the last hour, all roles together."""
    cancelled_last_hour: Count | None = None
    """Replicas that were taken back before they were ready, in the last hour."""
    cost_per_hour: Short | None = None
    """Cost of the replicas that run, per hour, as a decimal string."""
    recommended_cost_per_hour: Short | None = None
    """Cost of the recommended replicas per hour, as a decimal string."""
    message: Sentence | None = None
    """Why the pool has what it has, in a sentence."""
    forecast: ForecastStatus | None = None
    """Demand now and at the lead time."""
    lead_time: Short | None = None
    """Order to ready, 90th percentile over the variants that may grow, such as 4m10s."""
    last_scale_time: Time | None = None
    """When replicas were last changed."""
    last_decision: DecisionStatus | None = None
    """The last decision that changed something."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), ListType("map", ("type",))] = ()
    """Ready, AsRecommended, MetricsFresh, TargetsFound, Conflicted, ScalingLimited and others."""
