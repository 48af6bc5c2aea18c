"""What one replica sustains: the linear performance model of a model on a GPU type, and measured points."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Speed of one replica, linear in tokens and batch.

    A prefill of ``n`` uncached input tokens takes ``prefill_base_seconds + prefill_seconds_per_token * n``, one
    request at a time. A decode iteration with ``b`` running sequences and ``k`` resident KV tokens takes
    ``decode_base_seconds + decode_seconds_per_sequence * b + decode_seconds_per_kv_token * k`` and gives every
    sequence one token. The same form is used by Splitwise (Patel et al., ISCA 2024, section 3) and DistServe
    (Zhong et al., OSDI 2024, appendix A).
    """

    prefill_base_seconds: float
    prefill_seconds_per_token: float
    decode_base_seconds: float
    decode_seconds_per_sequence: float
    decode_seconds_per_kv_token: float
    max_batch: int
    kv_capacity_tokens: int
    kv_transfer_seconds_per_token: float = 0.0
    source: str = ""

    def prefill_seconds(self, input_tokens: float) -> float:
        """Return the seconds that one prefill of ``input_tokens`` uncached tokens occupies a replica."""
        return self.prefill_base_seconds + self.prefill_seconds_per_token * input_tokens

    def decode_step_seconds(self, sequences: float, kv_tokens: float) -> float:
        """Return the seconds of one decode iteration, which is the ITL of its ``sequences``."""
        return (
            self.decode_base_seconds
            + self.decode_seconds_per_sequence * sequences
            + self.decode_seconds_per_kv_token * kv_tokens
        )


@dataclass(frozen=True, slots=True)
class PrefillPoint:
    """A measured prefill: ``seconds`` for ``input_tokens`` uncached tokens."""

    input_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class DecodePoint:
    """A measured decode iteration: ``step_seconds`` with ``batch`` sequences of ``context_tokens`` each."""

    batch: float
    context_tokens: float
    step_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePoints:
    """A serving profile as measured points, with the limits of one replica and where the figures come from."""

    prefill: tuple[PrefillPoint, ...]
    decode: tuple[DecodePoint, ...]
    max_batch: int
    kv_capacity_tokens: int
    kv_transfer_seconds_per_token: float = 0.0
    source: str = ""
