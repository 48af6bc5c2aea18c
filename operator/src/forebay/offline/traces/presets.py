"""Kinds of traffic by name, with figures from public sources.

Lengths: the medians are those published for the Azure traces (Splitwise, Patel et al., ISCA 2024, section 3:
coding 1500 input and 13 output tokens, conversation 1020 and 129); the spreads (from means and 99th percentiles)
and the (near-zero) correlations were fitted to the same public traces. Long contexts and cache hits: fitted to
the public Mooncake conversation trace (Qin et al., FAST 2025). Cycles: least-squares harmonics of the published
week of the Azure coding service (DynamoLLM, Stojkovic et al., HPCA 2025) and of ServeGen's m-small (Xiang et
al., arXiv 2505.09999). Dispersion: variance over mean of the counts in 5 s of the public Azure conversation
(2.6) and Mooncake (2.7) traces; BurstGPT (Wang et al., arXiv 2401.17644) and ServeGen report far more for single
clients. The dispersion of `code` is an assumption beside its cycle.
"""

from forebay.offline.traces.arrival_process import IntensityNoise
from forebay.offline.traces.length_model import LengthModel
from forebay.offline.traces.spec import FlashCrowds, OnOff, TrafficSpec

CONVERSATION_LENGTHS = LengthModel(
    input_log_mean=6.93,
    input_log_sd=0.6,
    input_range=(2, 16_000),
    output_log_mean=4.86,
    output_log_sd=0.86,
    output_range=(1, 3_000),
    correlation=0.08,
)
CODE_LENGTHS = LengthModel(
    input_log_mean=7.31,
    input_log_sd=0.7,
    input_range=(3, 8_000),
    output_log_mean=2.56,
    output_log_sd=1.2,
    output_range=(1, 1_000),
    correlation=-0.02,
)
LONG_CONTEXT_LENGTHS = LengthModel(
    input_log_mean=8.84,
    input_log_sd=1.2,
    input_range=(500, 126_000),
    output_log_mean=5.86,
    output_log_sd=0.7,
    output_range=(1, 2_000),
    correlation=0.08,
    cached_share=0.4,
    cached_concentration=1.2,
)
_SPECS = (
    TrafficSpec(
        name="chat",
        requests_per_second=20.0,
        daily_amplitude=0.25,
        daily_peak_hour=17.4,
        half_daily_amplitude=0.23,
        half_daily_peak_hour=9.6,
        weekend_factor=0.85,
        noise=IntensityNoise(log_sd=0.08, time_constant_seconds=25.0),
        dispersion=2.6,
        lengths=CONVERSATION_LENGTHS,
    ),
    TrafficSpec(
        name="code",
        requests_per_second=20.0,
        daily_amplitude=0.93,
        daily_peak_hour=18.4,
        half_daily_amplitude=0.28,
        half_daily_peak_hour=5.5,
        night_floor=0.2,
        weekend_factor=0.32,
        noise=IntensityNoise(log_sd=0.15, time_constant_seconds=120.0),
        dispersion=4.0,
        lengths=CODE_LENGTHS,
    ),
    TrafficSpec(
        name="long-context",
        requests_per_second=4.0,
        daily_amplitude=0.3,
        daily_peak_hour=15.0,
        dispersion=2.7,
        lengths=LONG_CONTEXT_LENGTHS,
    ),
    TrafficSpec(
        name="flash",
        requests_per_second=20.0,
        daily_amplitude=0.25,
        daily_peak_hour=15.0,
        flash_crowds=FlashCrowds(per_day=6.0),
        lengths=CONVERSATION_LENGTHS,
    ),
    TrafficSpec(
        name="on-off",
        duration_seconds=36_000.0,
        requests_per_second=60.0,
        on_off=OnOff(),
        lengths=CONVERSATION_LENGTHS,
    ),
    TrafficSpec(
        name="steady",
        duration_seconds=3_600.0,
        requests_per_second=20.0,
        noise=IntensityNoise(log_sd=0.0),
        lengths=CONVERSATION_LENGTHS,
    ),
)

PRESETS = {spec.name: spec for spec in _SPECS}
"""`TrafficSpec` by name; change one with `dataclasses.replace`."""
