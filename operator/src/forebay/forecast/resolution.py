"""The constants of the forecaster per sampling step. All traffic uses the same set."""

from dataclasses import dataclass, replace

QUANTILE_LEVELS = (0.5, 0.9, 0.99)
"""The levels of every quantile triple in this package."""

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Time constants, counted in steps of ``step_seconds`` unless the name says otherwise."""

    step_seconds: int
    half_lives: tuple[float, float, float, float, float, float]
    """Half-lives of the level filters, fast to slow."""
    smooth_stride: int
    """Steps per smoothed value that is kept for a week."""
    profile_stride: int
    """Steps per value of the daily profile."""
    profile_half_width: int
    """The daily profile is smoothed over this many of its values to either side."""
    long_window: int
    """Number of unscaled residuals that are kept."""
    short_window: int
    """Number of residuals, divided by the local scale, that are kept."""
    expert_window: int
    """Errors kept of each simple expert."""
    kept_share: float
    """Share of residuals and errors that are kept once there are many; irrational, so that no clock's rhythm
    shows."""
    variance_half_life: float
    mixing_period: int
    """Scored forecasts per update of the layers' weights and of the final offset."""
    recurrence_windows: tuple[int, int]
    """Steps over which the recent maximum is taken."""
    recent_steps: int
    """Steps whose mean decides whether traffic is now high or low against that maximum."""
    expert_half_life: float
    regression_memory_days: float = 3.0
    """Half-life of the regression's memory."""
    day_seconds: int = DAY_SECONDS
    """Length of the day after which traffic repeats; shorter only where time runs faster (tests,
    demonstrations)."""
    offset_seconds: float = 0.0
    """Time between the full minute (or step) and the end of steps, so that forecasters take turns; negative:
    before it."""

    @property
    def steps_per_day(self) -> int:
        """Return the number of steps in a day."""
        return self.day_seconds // self.step_seconds

    @property
    def forgetting(self) -> float:
        """Return the regression's forgetting factor per step."""
        return float(0.5 ** (1.0 / (self.regression_memory_days * self.steps_per_day)))


ONE_MINUTE = Resolution(
    step_seconds=60,
    half_lives=(1.5, 4.0, 10.0, 30.0, 120.0, 720.0),
    smooth_stride=8,
    profile_stride=4,
    profile_half_width=4,
    long_window=1440,
    short_window=480,
    expert_window=480,
    kept_share=10.0**-0.5,
    variance_half_life=60.0,
    mixing_period=15,
    recurrence_windows=(10, 60),
    recent_steps=2,
    expert_half_life=360.0,
)
TEN_MINUTES = Resolution(
    step_seconds=600,
    half_lives=(0.5, 1.0, 2.0, 4.0, 12.0, 72.0),
    smooth_stride=1,
    profile_stride=1,
    profile_half_width=1,
    long_window=1440,
    short_window=720,
    expert_window=720,
    kept_share=1.0,
    variance_half_life=12.0,
    mixing_period=1,
    recurrence_windows=(2, 6),
    recent_steps=1,
    expert_half_life=144.0,
)


def steps_of(seconds: float) -> Resolution:
    """Return the constants for steps of so many seconds.

    A step of less than a minute stands for ten minutes, and its day has 144 of them: for tests and demonstrations
    in which time runs faster.

    Raises:
        ValueError: an hour is not a whole number of such steps, or a step is longer than a minute.
    """
    if not 1.0 <= seconds <= ONE_MINUTE.step_seconds or seconds % 1.0 or HOUR_SECONDS % seconds:
        raise ValueError(f"a forecaster counts in whole seconds, 1 to 60, that divide an hour; got {seconds:g} s")
    if seconds == ONE_MINUTE.step_seconds:
        return ONE_MINUTE
    return replace(TEN_MINUTES, step_seconds=int(seconds), day_seconds=TEN_MINUTES.steps_per_day * int(seconds))


def decay(half_life: float) -> float:
    """Return the weight of a new value in an exponentially weighted mean with ``half_life`` steps."""
    return float(1.0 - 0.5 ** (1.0 / half_life))
