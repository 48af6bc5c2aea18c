"""The work and the objectives of many pools as arrays, so that one call computes for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from forebay.flow.fleet import Slo
from forebay.sizing.work import FloatArray, ReplicaWork


@dataclass(frozen=True, slots=True)
class WorkStack:
    """What queueing needs of n pools' `ReplicaWork`: each number an array of shape (n, 1, 1).

    They broadcast over replicas and rates.
    """

    prefill_seconds: FloatArray
    decode_seconds: FloatArray
    largest_batch: FloatArray
    batch: FloatArray
    output_tokens: FloatArray
    step_base_seconds: FloatArray
    step_seconds_per_sequence: FloatArray
    prefill_sample: FloatArray
    """Of shape (10, n, 1, 1)."""
    imbalance: FloatArray
    variability: FloatArray
    latency_limits: bool
    """The same for all."""

    @classmethod
    def of(cls, works: Sequence[ReplicaWork]) -> Self:
        """Return the stack of ``works``."""
        return cls(
            prefill_seconds=_column([work.prefill_seconds for work in works]),
            decode_seconds=_column([work.decode_seconds for work in works]),
            largest_batch=_column([work.largest_batch for work in works]),
            batch=_column([work.batch for work in works]),
            output_tokens=_column([work.output_tokens for work in works]),
            step_base_seconds=_column([work.step_base_seconds for work in works]),
            step_seconds_per_sequence=_column([work.step_seconds_per_sequence for work in works]),
            prefill_sample=np.array([work.prefill_sample for work in works]).T[:, :, None, None],
            imbalance=_column([work.imbalance for work in works]),
            variability=_column([work.variability for work in works]),
            latency_limits=works[0].latency_limits,
        )


@dataclass(frozen=True, slots=True)
class SloStack:
    """The objectives of n pools, each an array of shape (n, 1, 1)."""

    ttft_seconds: FloatArray
    itl_seconds: FloatArray

    @classmethod
    def of(cls, slos: Sequence[Slo]) -> Self:
        """Return the stack of ``slos``."""
        return cls(_column([slo.ttft_seconds for slo in slos]), _column([slo.itl_seconds for slo in slos]))


def _column(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)[:, None, None]
