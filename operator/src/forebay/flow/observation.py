"""What was observed in one round: traffic, engines, replicas and GPU supply, each with its freshness."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from forebay.flow.fleet import OfVariant, PoolKey, VariantKey


class Problem(StrEnum):
    """Why a signal cannot be used: one value per remedy."""

    MISSING = "Missing"
    """No series matched."""
    STALE = "Stale"
    """The newest sample is too old."""
    NOT_A_NUMBER = "NotANumber"
    """NaN or infinite."""
    DUPLICATE = "Duplicate"
    """More than one series where one was meant."""
    PARTIAL = "Partial"
    """Some of the ready replicas do not report."""
    UNREACHABLE = "Unreachable"
    """The source of telemetry did not answer."""
    TOO_FEW = "TooFew"
    """Not enough samples yet (a counter needs two)."""
    IMPLAUSIBLE = "Implausible"
    """The numbers cannot be: more replicas report than exist, or a share is above one. They are not used."""
    STUCK = "EngineStuck"
    """Engines hold requests and nothing they count moves. What they hold is not used."""
    ASLEEP = "EngineAsleep"
    """Engines are there and take no requests until somebody wakes them."""
    DRIFT = "Drift"
    """What began, what ended and what is held drift apart."""
    INEXACT = "Inexact"
    """The histogram has no bucket edge at the objective: misses are between two numbers."""

    @property
    def is_advice(self) -> bool:
        """Return whether it is told so that somebody acts, and takes no number away."""
        return self in {Problem.STUCK, Problem.ASLEEP, Problem.DRIFT, Problem.INEXACT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How far one signal can be trusted: ``problem`` is ``None`` when it is usable."""

    signal: str
    age_seconds: float | None = None
    problem: Problem | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthHistogram:
    """Counts of requests by tokens: ``counts[i]`` lie in ``(upper_tokens[i-1], upper_tokens[i]]``."""

    upper_tokens: tuple[float, ...]
    counts: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Arrivals in ``(start_seconds, end_seconds]``, best counted at the gateway, else at the engines.

    ``slot_counts`` splits the arrivals into equal consecutive slots, oldest first, at the finest resolution that
    the source has (one slot when it has none). Shed and failed requests count: they are demand.
    """

    start_seconds: float
    end_seconds: float
    arrivals: float
    slot_counts: tuple[float, ...]
    input_tokens: float | None = None
    """Prompt tokens of these arrivals, before prefix-cache hits."""
    cached_input_tokens: float | None = None
    """Of these, tokens that the prefix cache answered."""
    input_lengths: LengthHistogram | None = None
    """Histogram of *uncached* prompt tokens where known, else of prompt tokens."""
    source: str = "engine"
    """``gateway`` or ``engine``."""

    @property
    def slot_seconds(self) -> float:
        """Return the length of one slot."""
        return (self.end_seconds - self.start_seconds) / max(1, len(self.slot_counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSample:
    """What the engines of one variant did in the interval (sums), and hold at its end (gauges)."""

    interval_seconds: float
    finished: float | None = None
    output_tokens: float | None = None
    prefills: float | None = None
    prefill_tokens: float | None = None
    """Uncached input tokens of these prefills."""
    prefill_seconds: float | None = None
    """Sum of prefill times; time in a queue is excluded."""
    itl_seconds: float | None = None
    """Mean ITL of the interval."""
    running: float | None = None
    """Running sequences, time mean over the interval where known, else at its end; sum over replicas."""
    running_now: float | None = None
    kv_tokens: float | None = None
    """Resident KV tokens, sum over replicas."""
    kv_usage: float | None = None
    """Mean share of the KV cache in use, 0 to 1."""
    waiting: float | None = None
    """Requests that wait inside the engines, sum over replicas."""
    reporting_replicas: int | None = None
    reporting_engines: int | None = None
    """A replica has several with data parallelism."""
    stuck_engines: int = 0
    """Engines that hold requests while nothing they count moves; what they hold is in no gauge of this sample."""
    sleeping_engines: int = 0
    """Engines that take no requests until somebody wakes them."""

    def whole_replicas(self, engines: int) -> int:
        """Return how many replicas so many engines make."""
        replicas = self.reporting_replicas or 1
        return int(engines / max(1.0, (self.reporting_engines or replicas) / replicas))

    @property
    def replicas_out(self) -> int:
        """Return the replicas whose engines take no requests."""
        return self.whole_replicas(self.sleeping_engines) + self.whole_replicas(self.stuck_engines)


@dataclass(frozen=True, slots=True)
class StartingReplica:
    """A replica that was ordered and is not ready yet."""

    ordered_seconds: float
    expected_ready_seconds: float
    unschedulable: bool = False
    """Its pod waits for a node (the scheduler says so)."""


class Standing(StrEnum):
    """Where one replica stands."""

    READY = "ready"
    STARTING = "starting"
    """Ordered, and within its deadline."""
    LOST = "lost"
    """No capacity: overdue, failed, or not admitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedReplica:
    """A replica out of traffic: paid, Ready, without new requests, and back within a second."""

    name: str
    since_seconds: float
    requests: float | None = None
    """Requests that it still holds; ``None``: not known."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a variant that a person should know, and that does not keep it from being scaled."""

    code: str
    """CamelCase, fit for a condition's reason."""
    message: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """A workload between two revisions, or one whose controller is stopped: nothing of it is released meanwhile.

    Its controller removes replicas of both revisions, those that serve among them.
    """

    message: str
    stuck: bool = False
    """It does not get on by itself."""
    full: bool = False
    """Its controller cannot create replicas, such as for a quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantObservation(OfVariant):
    """Replicas of one variant as they are."""

    desired: int
    """The replica count that the target's ``/scale`` holds now, without those that are parked."""
    ready: int
    starting: tuple[StartingReplica, ...] = ()
    overdue: int = 0
    """Replicas that were ordered, should have been ready long ago, and are not among ``starting`` any more."""
    parked: tuple[ParkedReplica, ...] = ()
    """Replicas out of traffic, which go when they are empty, or come back when they are missed."""
    draining: int = 0
    existing: int | None = None
    """Replicas with pods in any state: no more can report."""
    engine: EngineSample | None = None
    lead_time_seconds: float = 120.0
    """Order to ready, the 90th percentile of what was measured, or the prior."""
    target_found: bool = True
    conflict: str | None = None
    """Why the target is left alone, such as who else writes it; ``None`` if it is not."""
    conflict_code: str = "OtherWriter"
    """The same in one word, as a condition's reason."""
    rollout: Rollout | None = None
    """``None``: all replicas are of one revision, and the controller works."""
    gated: int = 0
    """Replicas that wait for a quota system to admit them (Kueue): a limit, not a delay."""
    removal: tuple[Standing, ...] | None = None
    """All replicas in the order in which a lower count removes them; ``None``: first those that do not serve."""
    notes: tuple[Note, ...] = ()

    @property
    def supply(self) -> int:
        """Return ready and starting replicas: what has been bought."""
        return self.ready + len(self.starting)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolObservation:
    """One pool in one round."""

    key: PoolKey
    at_seconds: float
    traffic: Traffic | None
    """``None``: unknown. Unknown is not quiet."""
    variants: tuple[VariantObservation, ...]
    waiting_prefill: float | None = None
    """Requests that arrived and whose prefill has not started, gateway queues included."""
    waiting_late: float | None = None
    """Of ``waiting_prefill``, requests that can no longer meet their TTFT and were set aside (known only where the
    queue is deadline-aware); more capacity cannot save them."""
    waiting_decode: float | None = None
    """Requests whose prefill is done and which wait for a decode slot."""
    finished: float | None = None
    missed: float | None = None
    """Finished requests of the interval that missed the SLO."""
    missed_ttft: float | None = None
    """Of ``missed``, those that missed TTFT; the rest missed ITL alone."""
    missed_range: tuple[float, float] | None = None
    """Fewest and most that ``missed`` can be, as far as the bucket edges next to the objectives tell."""
    ttft_seconds: float | None = None
    """Observed TTFT at the SLO's percentile over the last minutes."""
    itl_seconds: float | None = None
    freshness: tuple[Freshness, ...] = ()

    def variant(self, key: VariantKey) -> VariantObservation | None:
        """Return what was observed of one variant, or ``None``."""
        for variant in self.variants:
            if variant.key == key:
                return variant
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedNode:
    """One usable node, and what runs on it."""

    name: str
    free_gpus: int
    replicas: Mapping[tuple[PoolKey, VariantKey], int] = field(default_factory=dict)
    """Replicas of pools that have all their GPUs on this node."""
    others: bool = False
    """Pods hold GPUs here that are not such replicas: the node is not emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePoolObservation:
    """GPU supply of one node pool as the scheduler can use it: Ready, untainted, allocatable."""

    name: str
    nodes: int
    usable_gpus: int
    free_gpus: int
    provisioning_nodes: int = 0
    """Nodes that are bought and on their way: launched, or registered without usable GPUs."""
    coming_gpus: int = 0
    """GPUs that those will bring."""
    launched_nodes: int = 0
    """Of ``provisioning_nodes``, those that are not among ``nodes`` yet."""
    coming_since_seconds: float | None = None
    """Since when the first of ``provisioning_nodes`` is on its way; ``None`` where none is."""
    launchable_nodes: int | None = None
    """Most nodes that could be added now, by the provider's own limits; ``None`` if it names none."""
    free_blocks: tuple[int, ...] = ()
    """GPUs free on each node that has any."""
    placement: tuple[PlacedNode, ...] | None = None
    """Usable nodes with what runs on them; ``None`` where that is not known, then GPUs are planned one by one."""
    blocked_until_seconds: float | None = None
    blocked_reason: str = ""
    lead_time_p50_seconds: float = 300.0
    lead_time_p90_seconds: float = 600.0

    def has_room(self, *, pods: int, gpus_per_pod: int) -> bool:
        """Return whether so many pods, each on one node, can be placed on nodes that are there."""
        return gpus_per_pod <= 0 or sum(free // gpus_per_pod for free in self.free_blocks) >= pods


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetObservation:
    """Everything observed in one round."""

    at_seconds: float
    pools: Mapping[PoolKey, PoolObservation]
    node_pools: Mapping[str, NodePoolObservation] = field(default_factory=dict)
