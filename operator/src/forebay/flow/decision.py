"""What was decided and why: the record that feeds status, events, metrics, logs and `forebay explain`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from forebay.flow.fleet import OfVariant, PoolKey, Role, VariantKey
from forebay.flow.forecast import DemandForecast
from forebay.flow.plan import Route
from forebay.flow.roles import Phase


class Step(StrEnum):
    """The steps of a round that give reasons."""

    OBSERVE = "observe"
    FORECAST = "forecast"
    SIZE = "size"
    PLAN = "plan"
    GUARD = "guard"


class ReasonCode(StrEnum):
    """Why a decision is as it is: stable words, fit for a condition's reason and a metric's label."""

    STEP_FAILED = "StepFailed"
    """A step could not work with the pool's data; capacity is held."""
    NOT_OBSERVED = "NotObserved"
    TOO_FEW = "TooFew"
    """Arrivals have not been counted yet."""
    TELEMETRY_MISSING = "TelemetryMissing"
    FORECAST = "Forecast"
    FORECAST_DEMOTED = "ForecastDemoted"
    """The forecaster loses to persistence: it may raise capacity, not lower it."""
    REACTIVE = "Reactive"
    """There is no forecast; the present rate decides."""
    SIZED = "Sized"
    BACKLOG = "Backlog"
    CAPACITY_UNKNOWN = "CapacityUnknown"
    BEYOND_PROFILE = "BeyondProfile"
    PRICE_UNKNOWN = "PriceUnknown"
    """Prices are ignored, since one is not known."""
    OUT_OF_REACH = "ObjectiveOutOfReach"
    """More prompts are too long for the TTFT objective than may miss it, however many replicas there are."""
    LIMITED = "Limited"
    """Stock, budget, power or a maximum kept the pool from what it would buy."""
    WORTH_OF_MORE = "WorthOfMore"
    REMIX = "Remix"
    """Cheaper replicas are bought to replace more expensive ones."""
    NODES = "Nodes"
    """How many nodes the plan keeps, opens and empties."""
    AFTER_RESTART = "AfterRestart"
    HISTORY_PENDING = "HistoryPending"
    QUEUE_STANDS = "QueueStands"
    SCALE_IN_PAUSED = "ScaleInPaused"
    SCALE_OUT_PAUSED = "ScaleOutPaused"
    LEFT_ALONE = "LeftAlone"
    """The target is missing, or somebody else scales it."""
    VARIANT_BLOCKED = "VariantBlocked"
    REPLICAS_LOST = "ReplicasLost"
    """Replicas that do not serve are not counted on."""
    PARKED = "Parked"
    """Replicas are out of traffic, paid, and back within a second."""
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    """Nothing of a workload between two revisions is released."""
    RELEASE_HELD = "ReleaseHeld"
    ONE_DIRECTION = "OneDirection"
    MAKE_BEFORE_BREAK = "MakeBeforeBreak"
    RATIO_BAND = "RatioBand"
    STEP_LIMIT = "StepLimit"
    ACTION_BUDGET_SPENT = "ActionBudgetSpent"
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One step's contribution to a decision, in the order in which the steps spoke."""

    step: Step
    code: ReasonCode
    message: str
    """A sentence for a person."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    changed: bool = False
    """True if this step changed the replica count that the steps before it proposed."""
    role: Role | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """An answer that was considered and rejected."""

    description: str
    usd_per_hour: float | None
    expected_miss_share: float | None
    why_not: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantDecision(OfVariant):
    """Replicas wanted of one variant."""

    current: int
    """Without parked ones, as `desired`."""
    desired: int
    freed: tuple[str, ...] = ()
    """Names of parked replicas that go now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowAttainment:
    """How many requests met the objectives over some time."""

    attainment: float
    burn_rate: float
    """Misses over those that the objective allows: 1 spends the budget exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDecision:
    """What one pool should have, and why."""

    key: PoolKey
    at_seconds: float
    variants: tuple[VariantDecision, ...]
    reasons: tuple[Reason, ...]
    alternatives: tuple[Alternative, ...] = ()
    held: bool = False
    """True if telemetry or state forbade any release."""
    demand_requests_per_second: float | None = None
    input_tokens_per_second: float | None = None
    output_tokens_per_second: float | None = None
    forecasts: Mapping[Role, DemandForecast] = field(default_factory=dict)
    slo_attainment: float | None = None
    """Share of requests that met the SLO over the budget window."""
    slo_counts: tuple[float, float] | None = None
    """Of that window, the requests that missed the SLO and all that finished; older ones fade."""
    error_budget_left: float | None = None
    """1 = untouched, 0 = spent, negative = overspent."""
    windows: Mapping[str, WindowAttainment] = field(default_factory=dict)
    """The same over about an hour (``1h``), a day (``1d``) and four weeks (``28d``)."""
    actions_last_hour: int = 0
    """Changes of a role's targets, all roles together."""
    cancelled_last_hour: int = 0
    """Replicas that were taken back before they were ready."""
    usd_per_hour: float | None = None
    capacity_source: Mapping[VariantKey, str] = field(default_factory=dict)
    """Per variant: ``profile``, ``profile-corrected`` or ``learned``."""
    capacity_correction: Mapping[VariantKey, Mapping[Phase, float]] = field(default_factory=dict)
    """Per variant and phase: measured over believed time per unit of work."""
    routing: Mapping[VariantKey, float] = field(default_factory=dict)
    """Weight of each variant for new requests of its role."""
    routes: tuple[Route, ...] = ()
    """The same per prompt length, where the pool routes by length."""
    unserved_share: float = 0.0
    """Share of demand that limits leave without capacity."""

    def desired(self, role: Role) -> int:
        """Return the replicas wanted for ``role`` over all variants."""
        return sum(variant.desired for variant in self.variants if variant.role is role)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDecision:
    """The decisions of one round."""

    at_seconds: float
    pools: Mapping[PoolKey, PoolDecision]
    warm_nodes: Mapping[str, int] = field(default_factory=dict)
    """Free nodes to hold, by node pool; one that holds none is absent."""
    emptying: frozenset[str] = frozenset()
    """Nodes that the plan empties: where replicas are released, those on these nodes go first."""
