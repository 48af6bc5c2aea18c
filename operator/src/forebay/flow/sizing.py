"""What capacity buys: expected misses per second as a function of capacity, per role."""

from dataclasses import dataclass

from forebay.flow.fleet import Role, VariantKey


@dataclass(frozen=True, slots=True)
class MissCurve:
    """Expected SLO misses per second against capacity: convex, non-increasing, piecewise linear.

    ``capacity`` is counted in reference replicas (replicas of the role's reference variant), ascending from 0;
    ``misses_per_second`` has the same length. Beyond the last point the curve is flat.
    """

    capacity: tuple[float, ...]
    misses_per_second: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WorkBucket:
    """A part of a role's work whose requests have similar lengths."""

    share: float
    """Share of the role's reference replica-seconds; the shares of a role sum to 1."""
    speed: tuple[tuple[VariantKey, float], ...]
    """Per variant: capacity of one replica on this bucket, in reference replicas; 0 = cannot meet the SLO."""
    upper_tokens: float = float("inf")
    """The longest prompt of the bucket, in tokens; the shortest is beyond the bucket before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleNeed:
    """What one role of one pool needs: the replicas wanted, and what fewer of them would miss."""

    role: Role
    order: MissCurve
    """At the demand of the lead time."""
    wanted: float
    """Reference replicas that the role should have. More are worth nothing; only limits leave it with fewer, and
    nodes that would be opened for less than they cost."""
    miss_price_replica_seconds: float
    """Price of one miss in reference replica-seconds, the error budget's steering included."""
    erlangs: float
    """Mean offered work at the horizon, in busy reference replicas."""
    speed: tuple[tuple[VariantKey, float], ...]
    """Capacity of one replica of each variant in reference replicas."""
    seconds_per_request: float
    """Reference replica-seconds that one request costs in this role."""
    must_have: float | None = None
    """The part of ``wanted`` that the present load and the queue need at any cost; ``None``: all of it."""
    buckets: tuple[WorkBucket, ...] = ()
    """Where variants differ by request length; empty: `speed` holds for all requests."""
