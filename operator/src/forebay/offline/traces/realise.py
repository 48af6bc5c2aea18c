"""From binned traffic to single requests, seeded.

Intensity per 5 s slot = bin rate (coarse bins joined by lines) x AR(1) log-noise; counts are Poisson; times are
uniform inside the slot; lengths are drawn from a `LengthModel` whose means follow the bins where the bins have
them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.traces.arrival_process import (
    COARSE_BIN_SECONDS,
    COARSE_NOISE,
    MINUTE_NOISE,
    SLOT_SECONDS,
    draw_counts,
    minute_counts,
    noise_factors,
    place,
    slot_rates,
)
from forebay.offline.traces.length_model import draw_lengths
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.trace_error import TraceError


@dataclass(frozen=True, slots=True, kw_only=True)
class BinnedTraffic:
    """Mean rate per bin, and mean tokens per request where known."""

    name: str
    bin_seconds: float
    requests_per_second: FloatArray
    mean_input_tokens: FloatArray | None = None
    mean_output_tokens: FloatArray | None = None
    start_of_day_seconds: float = 0.0

    @property
    def span_seconds(self) -> float:
        """Return the length of all bins."""
        return len(self.requests_per_second) * self.bin_seconds


def realise(traffic: BinnedTraffic, options: LoadOptions, error: Callable[[str], TraceError]) -> RequestTrace:
    """Draw the requests of the options' window, with the minute counts that precede it as history.

    Raises:
        TraceError: (made by ``error``) if the window is empty or would give too many requests.
    """
    rng = np.random.default_rng(options.seed)
    begin = round(options.start_seconds / SLOT_SECONDS)
    rates = slot_rates(traffic.requests_per_second, traffic.bin_seconds)
    if options.requests_per_second is not None:
        rates *= options.requests_per_second / rates.mean()
    end = len(rates) if options.end_seconds is None else round(options.end_seconds / SLOT_SECONDS)
    end = min(end, len(rates))
    if begin < 0 or begin >= end:
        span = traffic.span_seconds
        raise error(
            f"has no bins between {options.start_seconds:g} s and {options.end_seconds} s (it spans {span:g} s)"
        )
    _check_size(rates[begin:end], options, error)
    first = max(0, begin - round(options.history_seconds / SLOT_SECONDS))
    noise = COARSE_NOISE if traffic.bin_seconds > COARSE_BIN_SECONDS else MINUTE_NOISE
    means = rates[first:end] * noise_factors(end - first, noise, rng) * SLOT_SECONDS
    counts = draw_counts(means, 1.0, rng)
    history = minute_counts(counts[: begin - first])
    arrivals = place(counts[begin - first :], rng)
    if not len(arrivals):
        raise error("gives no request in this window; widen it or raise the rate")
    bins = ((begin * SLOT_SECONDS + arrivals) / traffic.bin_seconds).astype(np.int64)
    bins = np.minimum(bins, len(traffic.requests_per_second) - 1)
    lengths = draw_lengths(
        options.lengths,
        len(arrivals),
        rng,
        input_scale=_scale(traffic.mean_input_tokens, options.lengths.mean_input_tokens, bins),
        output_scale=_scale(traffic.mean_output_tokens, options.lengths.mean_output_tokens, bins),
    )
    return RequestTrace(
        name=traffic.name,
        arrival_seconds=arrivals,
        input_tokens=lengths.input_tokens,
        output_tokens=lengths.output_tokens,
        cached_tokens=lengths.cached_tokens,
        start_of_day_seconds=(traffic.start_of_day_seconds + begin * SLOT_SECONDS) % 86_400,
        history_requests_per_minute=history if len(history) else None,
    )


def _check_size(rates: FloatArray, options: LoadOptions, error: Callable[[str], TraceError]) -> None:
    expected = float(rates.sum()) * SLOT_SECONDS
    if expected > options.max_requests:
        limit = options.max_requests
        raise error(
            f"would give {expected:.3g} requests (limit {limit:.3g}); choose a window or lower requests_per_second"
        )


def _scale(means: FloatArray | None, model_mean: float, bins: np.ndarray) -> FloatArray | float:
    return 1.0 if means is None else means[bins] / model_mean
