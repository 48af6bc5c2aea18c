"""When the load generator sends which request: steps of constant traffic, or a trace."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from forebay.flow.trace import RequestTrace


class TrafficError(ValueError):
    """Traffic that cannot be sent, in one sentence."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to be sent.

    Attributes:
        at_seconds: since the traffic began.
        input_tokens: of its prompt.
        output_tokens: that it asks for.
    """

    at_seconds: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of constant traffic; one of infinite length goes on until it is replaced."""

    seconds: float
    requests_per_second: float


def parse_steps(text: str, *, most_per_second: float) -> tuple[Step, ...]:
    """Return steps from ``SECONDS:RATE,SECONDS:RATE``; a RATE alone goes on for ever.

    Raises:
        TrafficError: a part is no pair of numbers, or faster than ``most_per_second``.
    """
    steps = []
    for part in text.split(","):
        seconds, colon, rate = part.partition(":")
        try:
            step = Step(float(seconds), float(rate)) if colon else Step(math.inf, float(seconds))
        except ValueError:
            raise TrafficError(
                f"{part!r} is no step: write SECONDS:REQUESTS_PER_SECOND, or a rate alone"
            ) from None
        if not (step.seconds > 0 and 0 <= step.requests_per_second <= most_per_second):
            raise TrafficError(f"{part!r}: a step has a length above 0 and 0 to {most_per_second:g} requests/s")
        steps.append(step)
    return tuple(steps)


def stepped(steps: Sequence[Step], *, input_tokens: int, output_tokens: int, seed: int) -> Iterator[Request]:
    """Yield the requests of ``steps``: evenly spaced with a jitter, so that bursts are the steps' alone.

    Each gap is uniform between half and one and a half of the mean.
    """
    rng = random.Random(seed)  # noqa: S311 - traffic, no secret
    begin = 0.0
    for step in steps:
        end, at = begin + step.seconds, begin
        while step.requests_per_second > 0:
            at += rng.uniform(0.5, 1.5) / step.requests_per_second
            if at >= end:
                break
            yield Request(at, input_tokens, output_tokens)
        begin = end


def played(trace: RequestTrace) -> Iterator[Request]:
    """Yield the requests of a trace."""
    columns = (trace.arrival_seconds.tolist(), trace.input_tokens.tolist(), trace.output_tokens.tolist())
    for at, prompt, output in zip(*columns, strict=True):
        yield Request(at, max(1, int(prompt)), max(1, int(output)))
