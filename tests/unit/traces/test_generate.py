"""The generator's traffic has the shape that its specification states."""

from dataclasses import replace

import numpy as np
import pytest

from forebay.offline.traces import (
    PRESETS,
    FlashCrowds,
    LengthModel,
    OnOff,
    TraceError,
    TrafficSpec,
    compress_time,
    generate,
)
from forebay.offline.traces.arrival_process import IntensityNoise, noise_factors

QUIET = IntensityNoise(log_sd=0.0)


def counts(seconds: np.ndarray, width: float, span: float) -> np.ndarray:
    return np.histogram(seconds, bins=np.arange(0, span + width, width))[0]


def test_the_rate_is_the_mean_of_the_cycle() -> None:
    spec = TrafficSpec(requests_per_second=5, daily_amplitude=0.5, daily_peak_hour=15, noise=QUIET)
    trace = generate(spec, 0)
    hourly = counts(trace.arrival_seconds, 3600, 86_400)
    assert len(trace) / 86_400 == pytest.approx(5, rel=0.01)
    assert int(np.argmax(hourly)) in {14, 15}
    assert hourly.max() / hourly.min() == pytest.approx(3, rel=0.1)


def test_weekends_are_quieter() -> None:
    spec = TrafficSpec(
        requests_per_second=1, duration_seconds=7 * 86_400, start_weekday=4, weekend_factor=0.3, noise=QUIET
    )
    daily = counts(generate(spec, 0).arrival_seconds, 86_400, 7 * 86_400)
    assert daily[1] / daily[0] == pytest.approx(0.3, rel=0.05)
    assert daily[2] / daily[0] == pytest.approx(0.3, rel=0.05)
    assert daily[3] / daily[0] == pytest.approx(1.0, rel=0.05)


def test_dispersion_is_the_variance_over_mean_of_counts() -> None:
    for dispersion in (1.0, 4.0):
        spec = TrafficSpec(requests_per_second=20, dispersion=dispersion, noise=QUIET)
        slots = counts(generate(spec, 1).arrival_seconds, 5, 86_400)
        assert slots.var() / slots.mean() == pytest.approx(dispersion, rel=0.08)


def test_noise_has_its_spread_and_memory() -> None:
    noise = IntensityNoise(log_sd=0.2, time_constant_seconds=60.0)
    logs = np.log(noise_factors(200_000, noise, np.random.default_rng(0)))
    assert logs.std() == pytest.approx(0.2, rel=0.03)
    assert np.corrcoef(logs[:-12], logs[12:])[0, 1] == pytest.approx(np.exp(-1), abs=0.05)


def test_flash_crowds_rise_within_a_minute_to_their_height() -> None:
    crowd = FlashCrowds(at_seconds=(1800.0,), factor=(4.0, 4.0), duration_seconds=(600.0, 600.0))
    spec = TrafficSpec(duration_seconds=3600, requests_per_second=50, flash_crowds=crowd, noise=QUIET)
    minutes = counts(generate(spec, 2).arrival_seconds, 60, 3600) / 60
    assert minutes[:30].mean() == pytest.approx(50, rel=0.05)
    assert minutes[31:40].mean() == pytest.approx(200, rel=0.05)
    assert minutes[42:].mean() == pytest.approx(50, rel=0.05)


def test_on_off_is_nearly_silent_in_between() -> None:
    shape = OnOff(on_seconds=(300, 300), off_seconds=(300, 300), off_level=0.02, on_spread=0.0)
    spec = TrafficSpec(duration_seconds=3600, requests_per_second=40, on_off=shape, noise=QUIET)
    blocks = counts(generate(spec, 0).arrival_seconds, 300, 3600) / 300
    assert blocks[0::2].mean() == pytest.approx(0.8, rel=0.2)
    assert blocks[1::2].mean() == pytest.approx(40, rel=0.05)


def test_lengths_have_their_medians_and_correlation() -> None:
    model = LengthModel(correlation=0.6, cached_share=0.3)
    trace = generate(TrafficSpec(requests_per_second=20, duration_seconds=7200, lengths=model), 0)
    assert np.median(trace.input_tokens) == pytest.approx(np.exp(6.6), rel=0.03)
    assert np.median(trace.output_tokens) == pytest.approx(np.exp(5.0), rel=0.03)
    logs = np.corrcoef(np.log(trace.input_tokens), np.log(trace.output_tokens))[0, 1]
    assert logs == pytest.approx(0.6, abs=0.03)
    assert trace.cached_tokens is not None
    assert (trace.cached_tokens / trace.input_tokens).mean() == pytest.approx(0.3, abs=0.02)


def test_presets_have_the_published_medians() -> None:
    published = {"chat": (1020, 129), "code": (1500, 13)}
    for name, (inputs, outputs) in published.items():
        trace = generate(replace(PRESETS[name], duration_seconds=7200.0), 0)
        assert np.median(trace.input_tokens) == pytest.approx(inputs, rel=0.05)
        assert np.median(trace.output_tokens) == pytest.approx(outputs, rel=0.08)


def test_a_day_in_an_hour_keeps_rate_and_shape() -> None:
    day = generate(replace(PRESETS["chat"], requests_per_second=20.0), 0)
    hour = compress_time(day, 24, seed=0)
    assert len(hour) / 3600 == pytest.approx(len(day) / 86_400, rel=0.02)
    slow = counts(day.arrival_seconds, 7200, 86_400) / 24
    fast = counts(hour.arrival_seconds, 300, 3600)
    np.testing.assert_allclose(fast, slow, rtol=0.08)


@pytest.mark.parametrize(
    "change",
    [
        {"duration_seconds": 0.0},
        {"requests_per_second": -1.0},
        {"start_weekday": 9},
        {"dispersion": -1.0},
        {"requests_per_second": float("nan")},
    ],
)
def test_meaningless_specifications_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|outside"):
        replace(PRESETS["chat"], **change)  # type: ignore[arg-type]


def test_too_much_and_too_little_are_refused() -> None:
    with pytest.raises(TraceError, match="lower the rate"):
        generate(TrafficSpec(requests_per_second=1e6), 0)
    with pytest.raises(TraceError, match="raise the rate"):
        generate(TrafficSpec(requests_per_second=1e-9, duration_seconds=10), 0)


@pytest.mark.parametrize("change", [{"correlation": 2.0}, {"cached_share": 1.0}, {"input_log_sd": -1.0}])
def test_impossible_lengths_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"outside|negative"):
        LengthModel(**change)  # type: ignore[arg-type]
