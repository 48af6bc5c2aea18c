"""Constants of the scaling policy: one set of defaults for all traffic."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLoad:
    """A future that the user knows: between two times the demand is at least ``requests_per_second``."""

    start_seconds: float
    end_seconds: float
    requests_per_second: float
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """How a pool reaches its objective; everything that a user may set."""

    interval_seconds: float = 15.0
    rate_window_seconds: float = 60.0
    length_half_life_seconds: float = 180.0
    growth_cap: float = 0.15
    """Growth allowed above the highest rate seen in the last day."""
    growth_cap_memory_seconds: float = 86_400.0
    budget_half_life_seconds: float = 43_200.0
    """After this long a miss counts half: a day's quiet and busy hours share one budget."""
    restart_guard_seconds: float = 300.0
    """No scale-in for this long (or two lead times, if longer) after a (re)start."""
    max_scale_out_step: int | None = None
    """Most replicas that one round may add to a role; ``None``: no limit."""
    max_scale_in_step: int | None = None
    actions_per_hour: int | None = None
    """Budget of scaling actions per role and hour; scale-out for a standing queue is never refused."""
    action_cost_seconds: float = 180.0
    """What one action must earn back, in replica-seconds; a role of more than ten replicas, as much more."""
    parks: bool = True
    """Replicas that are released are parked first, where their target allows it."""
    park_seconds: float = 60.0
    """How long a parked replica is kept at least: it comes back within a second if it is missed."""
    park_patience_seconds: float = 1800.0
    """How long it is kept at most while it still holds requests."""
    spare_replicas: int = 0
    """Replicas per role that may fail without loss (N+1 is 1)."""
    route_by_length: bool = False
    """The router honours weights per prompt length, so that GPU types may be bought for the lengths they suit."""
    pause_scale_in: bool = False
    pause_scale_out: bool = False
    forecast_enabled: bool = True
    """False: reactive only (the rate of the last minute)."""
    known_loads: tuple[KnownLoad, ...] = field(default=())
    """Occurrences of schedules, expanded by the caller for at least the longest lead time ahead."""
