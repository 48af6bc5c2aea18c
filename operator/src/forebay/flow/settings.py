"""Constants of the scaling policy: one set of defaults for all traffic; presets are named prices of a miss."""

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
    """How a pool trades money against missed objectives.

    ``miss_price`` is the price of one missed request in units of the replica-seconds that one request costs, so
    that the same number means the same for a small and a large model.
    """

    interval_seconds: float = 15.0
    miss_price: float = 20.0
    """Presets: cost-saver 8, balanced 20, latency-first 60."""
    rate_window_seconds: float = 60.0
    length_half_life_seconds: float = 180.0
    growth_cap: float = 0.15
    """Growth allowed above the highest rate seen in the last day."""
    growth_cap_memory_seconds: float = 86_400.0
    release_price_factor: float = 0.5
    """The price of a miss counts this much when deciding what to release."""
    q90_utilisation_limit: float = 0.85
    """Never plan more than this share of capacity for the forecast's 90th percentile."""
    budget_gain: float = 2.5
    budget_slack: float = 0.2
    budget_error_min: float = -0.2
    """An unspent budget lowers the price to no less than exp(gain x this), .6 of it. Lower bounds save 2 % where
    bursts alternate with silence, but let one burst in fifty meet a fleet that has shrunk too far."""
    budget_error_max: float = 0.15
    budget_half_life_seconds: float = 21_600.0
    budget_least_share: float = 0.15
    """Of the budget's window: over-spending counts as if at least so much of it had passed."""
    restart_guard_seconds: float = 300.0
    """No scale-in for this long (or two lead times, if longer) after a (re)start."""
    max_scale_out_step: int | None = None
    """Most replicas that one round may add to a role; ``None``: no limit."""
    max_scale_in_step: int | None = None
    actions_per_hour: int | None = None
    """Budget of scaling actions per role and hour; scale-out for a standing queue is never refused."""
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
