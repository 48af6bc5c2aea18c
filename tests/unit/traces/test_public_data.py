"""The loaders on real recordings, where they are at hand (`FOREBAY_DATA`, by default ../shared/data)."""

import os
from pathlib import Path

import numpy as np
import pytest

from forebay.offline.traces import LoadOptions, load_trace

DATA = Path(os.environ.get("FOREBAY_DATA", Path(__file__).parents[4] / "shared" / "data")) / "traces"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs recorded traces in {DATA} (set FOREBAY_DATA)")


@pytest.mark.parametrize(
    ("name", "requests", "mean_input", "mean_output"),
    [
        ("azure2023_code.requests.csv.gz", 8_819, 2048, 28),
        ("azure2023_conv.requests.csv.gz", 19_366, 1155, 211),
        ("mooncake_conversation.requests.csv.gz", 12_031, 12_035, 343),
    ],
)
def test_request_lists(name: str, requests: int, mean_input: float, mean_output: float) -> None:
    trace = load_trace(DATA / name)
    assert len(trace) == requests
    assert trace.input_tokens.mean() == pytest.approx(mean_input, rel=0.01)
    assert trace.output_tokens.mean() == pytest.approx(mean_output, rel=0.01)


@pytest.mark.parametrize("name", ["azure2024_code_week.DIGITISED.600s.csv.gz", "servegen_msmall_week1.60s.csv.gz"])
def test_binned_weeks(name: str) -> None:
    day = load_trace(
        DATA / name, LoadOptions(requests_per_second=2.0, start_seconds=3 * 86_400, end_seconds=4 * 86_400)
    )
    assert day.history_requests_per_minute is not None
    assert len(day.history_requests_per_minute) == 2880
    assert 1.5 < len(day) / 86_400 < 3.0
    hourly = np.histogram(day.arrival_seconds, bins=np.arange(0, 86_401, 3600))[0]
    assert hourly.max() > 1.5 * hourly.min()
