"""The constants of the forecaster, per sampling step: one set for all traffic, never tuned per series."""

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
    """Of the level filters, fast to slow."""
    smooth_stride: int
    """Steps per smoothed value that is kept for the week to come."""
    profile_stride: int
    """Steps per value of the daily profile."""
    profile_half_width: int
    """The daily profile is smoothed over this many of its values to either side."""
    long_window: int
    """Residuals kept unscaled."""
    short_window: int
    """Residuals kept scaled by local volatility."""
    expert_window: int
    """Errors kept of each simple expert."""
    kept_share: float
    """Of residuals and errors, once there are many; irrational, for the sake of clocks."""
    variance_half_life: float
    mixing_period: int
    """Scored forecasts per update of the layers' weights and of the final offset."""
    recurrence_windows: tuple[int, int]
    """How far back "the recent maximum returns" looks."""
    recent_steps: int
    """Steps whose mean decides whether traffic is now high or low against that maximum."""
    expert_half_life: float
    regression_memory_days: float = 3.0
    """Half-life of the regression's memory."""
    day_seconds: int = DAY_SECONDS
    """Length of the day that traffic repeats; shorter only in a world whose time runs faster."""
    offset_seconds: float = 0.0
    """How long after the full minute (or whatever the step is) steps end, so that forecasters can take turns;
    negative: before it."""

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

    A step of less than a minute stands for ten minutes, and its day is 144 of them: a world whose time runs
    faster, for tests and demonstrations.

    Raises:
        ValueError: an hour is no whole number of such steps, or they are longer than a minute.
    """
    if not 1.0 <= seconds <= ONE_MINUTE.step_seconds or seconds % 1.0 or HOUR_SECONDS % seconds:
        raise ValueError(f"a forecaster counts in whole seconds, 1 to 60, that divide an hour; got {seconds:g} s")
    if seconds == ONE_MINUTE.step_seconds:
        return ONE_MINUTE
    return replace(TEN_MINUTES, step_seconds=int(seconds), day_seconds=TEN_MINUTES.steps_per_day * int(seconds))


def decay(half_life: float) -> float:
    """Return the weight of a new value in an exponentially weighted mean with ``half_life`` steps."""
    return float(1.0 - 0.5 ** (1.0 / half_life))
