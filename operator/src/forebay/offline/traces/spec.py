"""What to generate: the cycle of days and weeks, bursts, and lengths."""

from dataclasses import dataclass, field

from forebay.offline.traces.arrival_process import MINUTE_NOISE, IntensityNoise
from forebay.offline.traces.length_model import LengthModel

SATURDAY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OnOff:
    """Traffic that comes in blocks: silence (a share of the base rate), then load, in turn."""

    on_seconds: tuple[float, float] = (60.0, 300.0)
    """Shortest and longest block of load; the length is drawn uniformly."""
    off_seconds: tuple[float, float] = (120.0, 600.0)
    off_level: float = 0.03
    """Rate while off, as a share of the rate while on."""
    on_spread: float = 0.33
    """The level of each block is drawn uniformly within this share around 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashCrowds:
    """Sudden multiples of the load at random times."""

    per_day: float = 6.0
    factor: tuple[float, float] = (3.0, 5.0)
    duration_seconds: tuple[float, float] = (600.0, 3600.0)
    ramp_seconds: float = 60.0
    """Time to full height, and back."""
    at_seconds: tuple[float, ...] = ()
    """Fixed starts, counted from the start of the trace, instead of random ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSpec:
    """Traffic to generate.

    The rate is ``requests_per_second`` x cycle x on/off x flash crowds x noise. The cycle is
    ``1 + a1 cos(2 pi (h - p1) / 24) + a2 cos(4 pi (h - p2) / 24)`` in the hour of day ``h`` (never below
    ``night_floor``), times ``weekend_factor`` on Saturdays and Sundays; it averages about 1 over a weekday.
    """

    name: str = "generated"
    duration_seconds: float = 86_400.0
    requests_per_second: float = 10.0
    start_of_day_seconds: float = 0.0
    start_weekday: int = 0
    """0 is Monday."""
    daily_amplitude: float = 0.0
    daily_peak_hour: float = 15.0
    half_daily_amplitude: float = 0.0
    half_daily_peak_hour: float = 10.0
    night_floor: float = 0.05
    weekend_factor: float = 1.0
    noise: IntensityNoise = MINUTE_NOISE
    dispersion: float = 1.0
    """Variance over mean of counts in 5 s: 1 = Poisson; the square of the inter-arrival CV of a bursty source."""
    on_off: OnOff | None = None
    flash_crowds: FlashCrowds | None = None
    lengths: LengthModel = field(default_factory=LengthModel)
    history_seconds: float = 0.0
    """Minute counts to generate from before the trace, for warming up forecasters."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not self.duration_seconds > 0 or not self.requests_per_second > 0:
            raise ValueError("duration_seconds and requests_per_second must be positive")
        if self.history_seconds < 0 or self.dispersion < 0:
            raise ValueError("history_seconds and dispersion must not be negative")
        if not 0 <= self.start_weekday <= 6:
            raise ValueError(f"start_weekday {self.start_weekday} is outside 0 (Monday) to 6")
