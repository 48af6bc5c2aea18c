"""From a ServingProfile to what one replica sustains."""

from forebay.api.v1alpha1.servingprofile import LinearModel, ServingProfileSpec
from forebay.flow.performance import DecodePoint, Performance, PrefillPoint, ProfilePoints


def translate_profile(spec: ServingProfileSpec) -> Performance | ProfilePoints:
    """Return the linear model or the measured points of a profile, the points in ascending order."""
    per_token = (
        spec.kv_transfer_per_thousand_tokens.seconds / 1000 if spec.kv_transfer_per_thousand_tokens else 0.0
    )
    if spec.linear is not None:
        return _linear(spec.linear, spec, per_token)
    prefill = [PrefillPoint(point.input_tokens, point.latency.seconds) for point in spec.prefill or ()]
    decode = [DecodePoint(point.batch, point.context_tokens, point.itl.seconds) for point in spec.decode or ()]
    return ProfilePoints(
        prefill=tuple(sorted(prefill, key=lambda point: point.input_tokens)),
        decode=tuple(sorted(decode, key=lambda point: (point.batch, point.context_tokens))),
        max_batch=spec.max_batch,
        kv_capacity_tokens=spec.kv_cache_tokens,
        kv_transfer_seconds_per_token=per_token,
        source=spec.source,
    )


def _linear(model: LinearModel, spec: ServingProfileSpec, kv_transfer_seconds_per_token: float) -> Performance:
    return Performance(
        prefill_base_seconds=model.prefill_base.seconds,
        prefill_seconds_per_token=model.prefill_per_thousand_tokens.seconds / 1000,
        decode_base_seconds=model.decode_base.seconds,
        decode_seconds_per_sequence=model.decode_per_sequence.seconds,
        decode_seconds_per_kv_token=model.decode_per_thousand_kv_tokens.seconds / 1000,
        max_batch=spec.max_batch,
        kv_capacity_tokens=spec.kv_cache_tokens,
        kv_transfer_seconds_per_token=kv_transfer_seconds_per_token,
        source=spec.source,
    )
