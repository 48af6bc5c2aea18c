"""Parts of a role's work by prompt length: how fast each variant is on short prompts, and on long ones.

GPU types differ by length: a type that is cheap per short prompt may be slow on long ones, or may not meet the
TTFT objective on them at all (Griggs et al., 2024, "Mélange", arXiv 2404.14527). The length of the answer is not
known when a request is routed. So requests differ by prompt alone, and each is taken to have an answer of mean
length.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.fleet import Role, Slo, VariantKey
from forebay.flow.performance import Performance
from forebay.flow.roles import ROLES
from forebay.flow.sizing import WorkBucket
from forebay.sizing.work import Correction, Lengths, replica_work

DIFFERENT = 0.1
"""Speeds that differ by less than this share between lengths count as equal."""


@dataclass(frozen=True, slots=True)
class Believing:
    """One variant's performance model and its measured correction."""

    performance: Performance
    correction: Correction


def length_buckets(
    role: Role, lengths: Lengths, slo: Slo, variants: Mapping[VariantKey, Believing], reference: VariantKey
) -> tuple[WorkBucket, ...]:
    """Return one bucket per tenth of the prompts; none if lengths make no difference between the variants.

    Args:
        role: what the variants serve.
        lengths: of current requests; their sample of prompts ascends.
        slo: objectives that a variant must meet at batch 1 and without a queue to be able to serve a bucket.
        variants: by name.
        reference: the variant in whose replicas work is counted.
    """
    sample = lengths.input_sample
    if len(variants) < 2 or len(sample) < 2:
        return ()
    seconds = {
        name: [_seconds(role, lengths, slo, believing, prompt) for prompt in sample]
        for name, believing in variants.items()
    }
    able = {
        name: [_meets(role, lengths, slo, believing, prompt) for prompt in sample]
        for name, believing in variants.items()
    }
    speeds = {
        name: [
            one / other if can else 0.0
            for one, other, can in zip(seconds[reference], seconds[name], able[name], strict=True)
        ]
        for name in variants
    }
    if all(_alike(speed) for speed in speeds.values()):
        return ()
    total = sum(seconds[reference])
    return tuple(
        WorkBucket(
            share=seconds[reference][index] / total,
            speed=tuple((name, speed[index]) for name, speed in speeds.items()),
            upper_tokens=_between(sample, index),
        )
        for index in range(len(sample))
    )


def _lengths_of(lengths: Lengths, prompt: float) -> Lengths:
    context = max(1.0, lengths.context_tokens + prompt - lengths.input_tokens)
    return Lengths(prompt, lengths.output_tokens, context, (prompt,))


def _seconds(role: Role, lengths: Lengths, slo: Slo, believing: Believing, prompt: float) -> float:
    work = replica_work(believing.performance, believing.correction, _lengths_of(lengths, prompt), slo)
    return max(work.seconds(role), 1e-9)


def _meets(role: Role, lengths: Lengths, slo: Slo, believing: Believing, prompt: float) -> bool:
    performance, correction = believing.performance, believing.correction
    context = _lengths_of(lengths, prompt).context_tokens
    in_time = correction.prefill * performance.prefill_seconds(prompt) < slo.ttft_seconds
    fast = correction.decode * performance.decode_step_seconds(1, context) <= slo.itl_seconds
    return (in_time or not ROLES[role].prefills) and (fast or not ROLES[role].decodes)


def _alike(speed: list[float]) -> bool:
    return min(speed) > 0.0 and max(speed) <= min(speed) * (1.0 + DIFFERENT)


def _between(sample: tuple[float, ...], index: int) -> float:
    """Return the longest prompt of a bucket: the geometric mean of its sample prompt and the next one."""
    if index + 1 == len(sample):
        return float("inf")
    return round(float((sample[index] * sample[index + 1]) ** 0.5))
