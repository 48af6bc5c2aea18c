"""Token counts of current requests: fast means, a decaying histogram of prompts, and the context of sequences."""

import math
from dataclasses import dataclass, field

from forebay.flow.observation import LengthHistogram
from forebay.sizing.work import Lengths

_HISTOGRAM_HALF_LIFE_SECONDS = 300.0
_FEWEST_PROMPTS = 30.0
"""Deciles of fewer prompts are random: after three long prompts a pool would be sized for long prompts only."""
_CONTEXT_WEIGHT = 0.1
_FEWEST_RUNNING = 5.0
_SETTLED_REQUESTS = 200.0
"""Until so many requests were seen, a mean is plain, not exponential, so that the first few do not dominate it."""
_OUTPUT_SHARE_IN_CONTEXT = 0.9
_DECILES = tuple((index + 0.5) / 10.0 for index in range(10))
_LOGNORMAL_DECILES = (-1.6449, -1.0364, -0.6745, -0.3853, -0.1257, 0.1257, 0.3853, 0.6745, 1.0364, 1.6449)
_ASSUMED_LOG_DEVIATION = 0.8326
"""Deciles of a lognormal prompt length whose coefficient of variation is 1."""
PRIOR_INPUT_TOKENS = 1000.0
"""Mean prompt and answer of public chat traces, to the nearest round number (Azure LLM inference 2023,
conversation: 1,155 and 211). Used until a pool's own lengths are known."""
PRIOR_OUTPUT_TOKENS = 200.0


@dataclass(slots=True)
class LengthTracker:
    """Means with a short half-life, weighted by the number of their requests."""

    input_tokens: float | None = None
    """Uncached prompt tokens."""
    prompt_tokens: float | None = None
    """Prompt tokens, cached ones included: they occupy the KV cache."""
    output_tokens: float | None = None
    arrivals_seen: float = 0.0
    finishes_seen: float = 0.0
    measured_context: float | None = None
    bounds: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)
    sampled: tuple[tuple[float, ...], float | None] | None = field(default=None, repr=False, compare=False)
    """Results of the present histogram, until the next one."""

    def arrived(
        self, *, requests: float, input_tokens: float, cached_tokens: float, elapsed: float, half_life: float
    ) -> None:
        """Take the prompt tokens of the arrivals of one round."""
        if requests <= 0.0:
            return
        uncached = max(0.0, input_tokens - cached_tokens) / requests
        weight = _weight(requests, elapsed, half_life, self.arrivals_seen)
        self.arrivals_seen += requests
        self.input_tokens = _moved(self.input_tokens, uncached, weight)
        self.prompt_tokens = _moved(self.prompt_tokens, input_tokens / requests, weight)

    def finished(self, *, requests: float, output_tokens: float, elapsed: float, half_life: float) -> None:
        """Take the output tokens of the requests that finished in one round."""
        if requests > 0.0:
            weight = _weight(requests, elapsed, half_life, self.finishes_seen)
            self.finishes_seen += requests
            self.output_tokens = _moved(self.output_tokens, output_tokens / requests, weight)

    def running(self, *, sequences: float, kv_tokens: float) -> None:
        """Take the context of running sequences, if there are enough of them."""
        if sequences >= _FEWEST_RUNNING and kv_tokens > 0.0:
            self.measured_context = _moved(self.measured_context, kv_tokens / sequences, _CONTEXT_WEIGHT)

    def histogram(self, lengths: LengthHistogram, elapsed: float) -> None:
        """Add a histogram of prompts; new bucket bounds discard the old counts."""
        bounds = list(lengths.upper_tokens)
        if bounds != self.bounds:
            self.bounds, self.counts = bounds, [0.0] * len(bounds)
        keep = float(0.5 ** (elapsed / _HISTOGRAM_HALF_LIFE_SECONDS))
        self.counts = [keep * old + new for old, new in zip(self.counts, lengths.counts, strict=True)]
        self.sampled = None

    @property
    def known(self) -> bool:
        """Return whether both prompts and answers were seen."""
        return self.input_tokens is not None and self.output_tokens is not None

    def current(self) -> Lengths:
        """Return the lengths to size with. Lengths that were never seen are those of public chat traces."""
        inputs = PRIOR_INPUT_TOKENS if self.input_tokens is None else self.input_tokens
        outputs = PRIOR_OUTPUT_TOKENS if self.output_tokens is None else self.output_tokens
        prompt = inputs if self.prompt_tokens is None else self.prompt_tokens
        context = self.measured_context
        if context is None:
            context = prompt + _OUTPUT_SHARE_IN_CONTEXT * outputs
        sample, ratio = self._sample(inputs)
        return Lengths(inputs, outputs, context, sample, ratio)

    def _sample(self, mean: float) -> tuple[tuple[float, ...], float | None]:
        total = sum(self.counts)
        if total < _FEWEST_PROMPTS:
            log_mean = math.log(max(mean, 1.0)) - 0.5 * _ASSUMED_LOG_DEVIATION**2
            return tuple(math.exp(log_mean + _ASSUMED_LOG_DEVIATION * z) for z in _LOGNORMAL_DECILES), 2.0
        if self.sampled is None:
            deciles = tuple(self._quantile(share * total) for share in _DECILES)
            self.sampled = deciles, self._squared_ratio(total)
        return self.sampled

    def share_beyond(self, tokens: float) -> float:
        """Return the share of current prompts that are longer than ``tokens``; 0 while too few were seen."""
        total = sum(self.counts)
        if total < _FEWEST_PROMPTS:
            return 0.0
        beyond = 0.0
        for index, count in enumerate(self.counts):
            low, high = self._edges(index)
            if high > tokens:
                beyond += count * min(1.0, (high - tokens) / max(high - low, 1e-9))
        return beyond / total

    def _edges(self, index: int) -> tuple[float, float]:
        low = self.bounds[index - 1] if index else 0.0
        high = self.bounds[index]
        return low, high if math.isfinite(high) else 2.0 * max(low, 1.0)

    def _quantile(self, rank: float) -> float:
        seen = 0.0
        for index, count in enumerate(self.counts):
            if count > 0.0 and seen + count >= rank:
                low, high = self._edges(index)
                return low + (high - low) * (rank - seen) / count
            seen += count
        return self._edges(len(self.counts) - 1)[1]

    def _squared_ratio(self, total: float) -> float:
        first = second = 0.0
        for index, count in enumerate(self.counts):
            low, high = self._edges(index)
            first += count * (low + high) / 2.0
            second += count * (low * low + low * high + high * high) / 3.0
        return max(1.0, second * total / max(first * first, 1e-12))


def _weight(requests: float, elapsed: float, half_life: float, seen: float) -> float:
    fading = float(1.0 - 0.5 ** (elapsed / half_life * min(1.0, requests / 50.0 + 0.1)))
    if seen >= _SETTLED_REQUESTS:
        return fading
    return max(fading, requests / (seen + requests))


def _moved(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)
