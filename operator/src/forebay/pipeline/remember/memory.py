"""What is remembered about one pool between rounds."""

from dataclasses import dataclass, field

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.forecast import DemandForecast
from forebay.flow.performance import Performance
from forebay.flow.trace import FloatArray
from forebay.forecast import Forecaster
from forebay.sizing.budget import WINDOWS, MissWindow
from forebay.sizing.calibration import Calibration
from forebay.sizing.curve import SizedCurve
from forebay.sizing.learned import LearnedCapacity
from forebay.sizing.lengths import LengthTracker
from forebay.sizing.price import Spending
from forebay.sizing.rates import Burstiness, RateWindow
from forebay.sizing.regret import Regret
from forebay.sizing.work import Lengths


@dataclass(slots=True)
class Block:
    """A variant that cannot grow for a while, because what was ordered of it did not come in time."""

    until_seconds: float
    failures: int = 1


@dataclass(slots=True)
class Withdrawal:
    """What a target was lowered to, so that overdue replicas of it go."""

    desired: int
    overdue: int
    """Before it."""
    ready: int
    """Before it."""
    failed: bool = False
    """It removed replicas that served, and what was overdue stayed."""


@dataclass(slots=True)
class CachedCurves:
    """The miss curves of one role, kept until the forecast, the work or the burstiness moves."""

    key: tuple[object, ...]
    order: SizedCurve
    release: SizedCurve
    misses_at_prices: FloatArray
    """Misses per second at the count that pays at each price."""


@dataclass(slots=True)
class CachedForecast:
    """A forecast, kept until the next half-minute."""

    minute_end_seconds: float | None
    rate: float
    forecast: DemandForecast | None


@dataclass(slots=True)
class CachedPerformance:
    """A profile made linear around lengths that have not moved much since."""

    key: tuple[object, ...]
    performance: Performance
    beyond: tuple[str, ...]


@dataclass(slots=True)
class PoolMemory:
    """Everything that a pool's decisions depend on beside the observation of this round."""

    forecaster: Forecaster
    fed_until_seconds: float | None = None
    """End of the newest step that the forecaster was given."""
    window: RateWindow = field(default_factory=RateWindow)
    burstiness: Burstiness = field(default_factory=Burstiness)
    lengths: LengthTracker = field(default_factory=LengthTracker)
    budget: MissWindow = field(default_factory=MissWindow)
    windows: dict[str, MissWindow] = field(default_factory=lambda: {name: MissWindow() for name in WINDOWS})
    """The same over other times, by `WINDOWS`."""
    spending: Spending = field(default_factory=Spending)
    regrets: dict[Role, Regret] = field(default_factory=dict)
    calibrations: dict[VariantKey, Calibration] = field(default_factory=dict)
    learned: dict[VariantKey, LearnedCapacity] = field(default_factory=dict)
    blocks: dict[VariantKey, Block] = field(default_factory=dict)
    withdrawals: dict[VariantKey, Withdrawal] = field(default_factory=dict)
    """The last withdrawal of each variant that still has overdue replicas."""
    actions: dict[Role, list[float]] = field(default_factory=dict)
    """Times of the last hour at which targets of the role changed."""
    cancelled: list[float] = field(default_factory=list)
    """Times of the last hour at which a replica was taken back before it was ready."""
    leads: dict[Role, float] = field(default_factory=dict)
    reactive_peaks: dict[Role, list[tuple[float, int]]] = field(default_factory=dict)
    desired: dict[VariantKey, int] = field(default_factory=dict)
    signals_seen: set[str] = field(default_factory=set)
    last_round_seconds: float | None = None
    # What follows is not in a snapshot: a restart begins it anew.
    usual_round_seconds: dict[Role, float] = field(default_factory=dict)
    """Time between two rounds in which a role was sized."""
    targets: dict[VariantKey, int] = field(default_factory=dict)
    """Replicas that each variant's target was set to in the last round."""
    starting: dict[VariantKey, int] = field(default_factory=dict)
    """Replicas of each variant that were not ready in the last round."""
    awaits_past: bool = False
    """Whether history is still to come: until then the pool knows too little to release anything."""
    last_arrival_seconds: float | None = None
    """When requests were last seen to come."""
    known_steps: int = 0
    """Steps that the forecaster was given since."""
    started_seconds: float | None = None
    elapsed_seconds: float = 0.0
    """Time between this round and the one before."""
    seen_seconds: float = 0.0
    """The part of it in which the pool was seen: what happened between rounds that lie far apart is not known."""
    hopeless_shares: dict[Role, float] = field(default_factory=dict)
    """Share of current requests that each role misses however many replicas it has."""
    current_lengths: Lengths = field(default_factory=LengthTracker().current)
    """The lengths of this round."""
    curves: dict[Role, CachedCurves] = field(default_factory=dict)
    forecasts: dict[float, CachedForecast] = field(default_factory=dict)
    performances: dict[VariantKey, CachedPerformance] = field(default_factory=dict)

    def windows_at(self, at_seconds: float) -> dict[str, MissWindow]:
        """Return the windows in which a request came, as far as is known: the others have nothing to tell."""
        last = self.last_arrival_seconds if self.last_arrival_seconds is not None else self.started_seconds
        quiet = 0.0 if last is None else at_seconds - last
        return {name: window for name, window in self.windows.items() if quiet < WINDOWS[name]}
