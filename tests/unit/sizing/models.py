"""The 8B-class model of the sizing tests."""

from forebay.flow.fleet import Slo
from forebay.flow.performance import Performance
from forebay.sizing.work import Lengths

PERFORMANCE = Performance(
    prefill_base_seconds=0.010,
    prefill_seconds_per_token=1 / 25_000,
    decode_base_seconds=0.008,
    decode_seconds_per_sequence=0.00006,
    decode_seconds_per_kv_token=22e-9,
    max_batch=256,
    kv_capacity_tokens=400_000,
)
SLO = Slo(ttft_seconds=0.5, itl_seconds=0.025, target=0.99)
LENGTHS = Lengths(
    input_tokens=1200.0,
    output_tokens=200.0,
    context_tokens=1300.0,
    input_sample=(180.0, 300.0, 420.0, 560.0, 740.0, 960.0, 1250.0, 1680.0, 2400.0, 5000.0),
)
