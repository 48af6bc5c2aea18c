"""DrawnLengths of requests: correlated lognormal input and output tokens, and the share a prefix cache answers.

Lognormal bodies fit the public traces (Azure, in Splitwise, Patel et al., ISCA 2024, figure 3; ServeGen,
arXiv 2505.09999, section 4, which adds Pareto tails for prompts). Input and output are tied by a Gaussian copula,
whose correlation is near 0 in the public Azure and Mooncake traces and higher where outputs echo inputs.
"""

from dataclasses import dataclass

import numpy as np

from forebay.flow.trace import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthModel:
    """Joint distribution of input and output tokens.

    ``input_log_mean`` is the mean of the natural logarithm (its exponential is the median). Draws are clipped to
    the stated ranges, so that the mean of the clipped draws is a little below ``exp(mean + sd^2 / 2)``.
    """

    input_log_mean: float = 6.6
    input_log_sd: float = 1.0
    input_range: tuple[int, int] = (16, 16_000)
    output_log_mean: float = 5.0
    output_log_sd: float = 0.8
    output_range: tuple[int, int] = (2, 3_000)
    correlation: float = 0.0
    """Of the two normal variables, -1 to 1."""
    cached_share: float = 0.0
    """Mean share of a prompt that a prefix cache answers; 0: no cache, and no ``cached_tokens``."""
    cached_concentration: float = 1.0
    """Sum of the parameters of the beta distribution of that share: below 2 it is U-shaped (hit or miss)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if not -1 <= self.correlation <= 1:
            raise ValueError(f"correlation {self.correlation} is outside -1 to 1")
        if not 0 <= self.cached_share < 1:
            raise ValueError(f"cached_share {self.cached_share} is outside 0 to 1")
        if min(self.input_log_sd, self.output_log_sd, self.cached_concentration) < 0:
            raise ValueError("a standard deviation or concentration is negative")

    @property
    def mean_input_tokens(self) -> float:
        """Return the mean before clipping."""
        return float(np.exp(self.input_log_mean + self.input_log_sd**2 / 2))

    @property
    def mean_output_tokens(self) -> float:
        """Return the mean before clipping."""
        return float(np.exp(self.output_log_mean + self.output_log_sd**2 / 2))


@dataclass(frozen=True, slots=True)
class DrawnLengths:
    """Drawn lengths, one per request."""

    input_tokens: IntArray
    output_tokens: IntArray
    cached_tokens: IntArray | None


def draw_lengths(
    model: LengthModel,
    count: int,
    rng: np.random.Generator,
    *,
    input_scale: FloatArray | float = 1.0,
    output_scale: FloatArray | float = 1.0,
) -> DrawnLengths:
    """Draw ``count`` requests; the scales multiply each request's tokens before clipping."""
    first = rng.standard_normal(count)
    other = rng.standard_normal(count)
    second = model.correlation * first + np.sqrt(1 - model.correlation**2) * other
    inputs = _clipped(np.exp(model.input_log_mean + model.input_log_sd * first) * input_scale, model.input_range)
    outputs = _clipped(
        np.exp(model.output_log_mean + model.output_log_sd * second) * output_scale, model.output_range
    )
    if not model.cached_share:
        return DrawnLengths(inputs, outputs, None)
    shares = rng.beta(
        model.cached_share * model.cached_concentration,
        (1 - model.cached_share) * model.cached_concentration,
        count,
    )
    return DrawnLengths(inputs, outputs, np.floor(inputs * shares).astype(np.int64))


def _clipped(tokens: FloatArray, bounds: tuple[int, int]) -> IntArray:
    return np.clip(np.rint(tokens), *bounds).astype(np.int64)
