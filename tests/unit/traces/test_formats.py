"""Each public format, as its publisher writes it, becomes the same kind of trace."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from forebay.offline.traces import LoadOptions, TimeUnit, TraceError, load_trace, trace_formats

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:00,879,55
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:01+00:00,2399,6
2024-05-10 00:00:01.250000+00:00,76,15
"""
BURSTGPT_1 = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
BURSTGPT_3 = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,1722ac82-0a46-4bf0-aa08-89794e7a2b3f,43,GPT-4,906,446,1352,Conversation log
19440161.0,d5983bf9-4b48-497b-892b-a58995247443,2,ChatGPT,36,29,65,Conversation log
"""


def write(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_with_and_without_cache(tmp_path: Path) -> None:
    trace = load_trace(write(tmp_path, "arrival_s,input_tokens,output_tokens\n0.5,10,2\n\n1.5,20,3\n"))
    assert trace.arrival_seconds.tolist() == [0.5, 1.5]
    assert trace.input_tokens.tolist() == [10, 20]
    assert trace.output_tokens.tolist() == [2, 3]
    assert trace.cached_tokens is None
    cached = load_trace(write(tmp_path, "output_tokens,cached_tokens,input_tokens,arrival_s\n1,7,9,0\n"))
    assert cached.cached_tokens is not None
    assert cached.cached_tokens.tolist() == [7]


def test_plain_with_unix_seconds_counts_from_the_first_and_knows_the_time_of_day(tmp_path: Path) -> None:
    noon = 1_700_006_400 - 1_700_006_400 % 86_400 + 43_200
    trace = load_trace(
        write(tmp_path, f"arrival_s,input_tokens,output_tokens\n{noon},1,1\n{noon + 2.5},1,1\n"),
    )
    assert trace.arrival_seconds.tolist() == [0.0, 2.5]
    assert trace.start_of_day_seconds == 43_200


def test_quoted_fields_take_the_exact_path(tmp_path: Path) -> None:
    trace = load_trace(write(tmp_path, '"arrival_s","input_tokens","output_tokens"\n"0","10","2"\n'))
    assert trace.input_tokens.tolist() == [10]


def test_azure_2023_has_seven_decimals_or_none_and_no_offset(tmp_path: Path) -> None:
    trace = load_trace(write(tmp_path, AZURE_2023))
    assert trace.arrival_seconds == pytest.approx([0.0, 4.314579, 13.31941], abs=1e-5)
    assert trace.output_tokens.tolist() == [44, 109, 55]
    assert trace.start_of_day_seconds == pytest.approx(18 * 3600 + 15 * 60 + 46.68059, abs=1e-5)


def test_azure_2024_has_offsets(tmp_path: Path) -> None:
    trace = load_trace(write(tmp_path, AZURE_2024))
    assert trace.arrival_seconds == pytest.approx([0.0, 0.99007, 1.24007], abs=1e-5)
    assert trace.start_of_day_seconds == pytest.approx(0.00993, abs=1e-5)


def test_other_offsets_are_converted(tmp_path: Path) -> None:
    text = AZURE_2024.replace("01.250000+00:00", "02.000000+00:00").replace("00:00:01+00:00", "02:00:01+02:00")
    trace = load_trace(write(tmp_path, text))
    assert trace.arrival_seconds == pytest.approx([0.0, 0.99007, 1.99007], abs=1e-5)


@pytest.mark.parametrize(("text", "arrivals"), [(BURSTGPT_1, [0, 40, 113]), (BURSTGPT_3, [0, 51])])
def test_burstgpt_keeps_failed_requests(tmp_path: Path, text: str, arrivals: list[float]) -> None:
    trace = load_trace(write(tmp_path, text))
    assert trace.arrival_seconds.tolist() == arrivals
    assert len(trace) == text.count("\n") - 1


def jsonl(folder: Path, stamps: Sequence[float], *, prompt: int = 320, per_block: int = 16) -> Path:
    """Write prompts whose first half is common to all."""
    count = prompt // per_block
    rows = [
        {
            "timestamp": stamp,
            "input_length": prompt,
            "output_length": 5,
            "hash_ids": [*range(count // 2), *range(1000 * n, 1000 * n + count - count // 2)],
        }
        for n, stamp in enumerate(stamps, start=1)
    ]
    return write(folder, "".join(json.dumps(row) + "\n" for row in rows), "trace.jsonl")


def test_jsonl_in_seconds_is_told_by_its_fractions(tmp_path: Path) -> None:
    trace = load_trace(jsonl(tmp_path, [0.0, 0.2, 1.4, 2.0]))
    assert trace.arrival_seconds.tolist() == [0.0, 0.2, 1.4, 2.0]
    whole = load_trace(jsonl(tmp_path, [0.0, 200.0, 1400.0, 2000.0]))
    assert whole.arrival_seconds.tolist() == [0.0, 0.2, 1.4, 2.0]
    since_1970 = load_trace(jsonl(tmp_path, [1.7e9, 1.7e9 + 3]))
    assert since_1970.arrival_seconds.tolist() == [0.0, 3.0]
    in_milliseconds = load_trace(jsonl(tmp_path, [1.7e12, 1.7e12 + 3000]))
    assert in_milliseconds.arrival_seconds.tolist() == [0.0, 3.0]


def test_jsonl_whose_unit_is_in_doubt_is_refused_until_it_is_said(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [float(n) for n in range(60)])
    with pytest.raises(
        TraceError, match=r"milliseconds \(1000 requests/s\) or seconds \(1 requests/s\); .*--trace-unit"
    ):
        load_trace(path)
    assert load_trace(path, LoadOptions(time_unit=TimeUnit.SECONDS)).span_seconds == 59.0
    assert load_trace(path, LoadOptions(time_unit=TimeUnit.MILLISECONDS)).span_seconds == 0.059
    with pytest.raises(TraceError, match="--trace-unit"):
        load_trace(jsonl(tmp_path, [0.0, 60_000.5, 120_000.5]))


def test_the_size_of_blocks_is_told_by_the_prompts(tmp_path: Path) -> None:
    small = load_trace(jsonl(tmp_path, [0, 1000], prompt=330, per_block=16))
    assert small.cached_tokens is not None
    assert small.cached_tokens.tolist() == [0, 160]
    odd = jsonl(tmp_path, [0, 1000], prompt=330, per_block=11)
    with pytest.raises(TraceError, match=r"330 tokens in 30 blocks\); say it with --trace-block-tokens"):
        load_trace(odd)
    said = load_trace(odd, LoadOptions(block_tokens=11))
    assert said.cached_tokens is not None
    assert said.cached_tokens.tolist() == [0, 165]


def test_units_are_refused_where_the_format_has_one(tmp_path: Path) -> None:
    path = write(tmp_path, "arrival_s,input_tokens,output_tokens\n0.5,10,2\n1.5,20,3\n")
    with pytest.raises(TraceError, match="leave out --trace-unit"):
        load_trace(path, LoadOptions(time_unit=TimeUnit.SECONDS))


def test_mooncake_hits_are_the_leading_blocks_seen_before(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "input_length": 1600, "output_length": 5, "hash_ids": [1, 2, 3, 4]},
        {"timestamp": 3000, "input_length": 1030, "output_length": 6, "hash_ids": [1, 2, 9]},
        {"timestamp": 3500, "input_length": 900, "output_length": 7, "hash_ids": [9, 1]},
        {"timestamp": 3500, "input_length": 1000, "output_length": 8, "hash_ids": [1, 77]},
        {"timestamp": 3600, "input_length": 100, "output_length": 8, "hash_ids": [5]},
    ]
    trace = load_trace(write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "trace.jsonl"))
    assert trace.arrival_seconds.tolist() == [0.0, 3.0, 3.5, 3.5, 3.6]
    assert trace.cached_tokens is not None
    # Third: blocks 9 and 1 are known, and 1024 tokens are more than the prompt has.
    assert trace.cached_tokens.tolist() == [0, 1024, 900, 512, 0]


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    path.write_bytes(gzip.compress(AZURE_2023.encode()))
    assert len(load_trace(path)) == 3


def test_binned_counts_and_lengths_follow_the_bins(tmp_path: Path) -> None:
    hour = "".join(f"{60 * i},{600 if i < 30 else 1200},{600 * 500},{600 * 100},0\n" for i in range(60))
    path = write(tmp_path, "t_seconds,requests,input_tokens,output_tokens,gap\n" + hour)
    trace = load_trace(path, LoadOptions(seed=3))
    first = np.count_nonzero(trace.arrival_seconds < 1800)
    assert first == pytest.approx(18_000, rel=0.05)
    assert len(trace) - first == pytest.approx(36_000, rel=0.05)
    assert trace.input_tokens[:first].mean() == pytest.approx(500, rel=0.05)
    assert trace.input_tokens[first:].mean() == pytest.approx(250, rel=0.05)


def test_binned_window_has_the_minutes_before_as_history(tmp_path: Path) -> None:
    bins = "".join(f"{600 * i},{6000 + 600 * i}\n" for i in range(24))
    path = write(tmp_path, "t_seconds,requests\n" + bins)
    options = LoadOptions(start_seconds=7200, end_seconds=10_800, requests_per_second=5.0)
    trace = load_trace(path, options)
    history = trace.history_requests_per_minute
    assert history is not None
    assert len(history) == 120
    assert trace.start_of_day_seconds == 7200
    assert trace.span_seconds < 3600
    whole = load_trace(path, LoadOptions(requests_per_second=5.0))
    assert len(whole) / 14_400 == pytest.approx(5.0, rel=0.05)


def test_binned_gaps_are_joined_not_taken_for_silence(tmp_path: Path) -> None:
    bins = "".join(f"{60 * i},{0 if 10 <= i < 20 else 600},{int(10 <= i < 20)}\n" for i in range(30))
    trace = load_trace(write(tmp_path, "t_seconds,requests,gap\n" + bins))
    gap = np.count_nonzero((trace.arrival_seconds >= 600) & (trace.arrival_seconds < 1200))
    assert gap == pytest.approx(6000, rel=0.1)


def servegen_folder(folder: Path) -> Path:
    model = folder / "m-test"
    model.mkdir()
    windows = ["0,0,0,,0,0", "600,2.0,1.0486,Gamma,0.9094,0.0886", "1200,4.0,10.47,Weibull,0.3519,0.2965"]
    (model / "chunk-0-trace.csv").write_text("\n".join(windows) + "\n")
    tokens = {"input_tokens": "{143: 0.25, 300: 0.75}", "output_tokens": "{18: 5.06e-05, 19: 1.0}"}
    empty = {"input_tokens": "{}", "output_tokens": "{}"}
    (model / "chunk-0-dataset.json").write_text(json.dumps({"0": empty, "600": tokens}))
    return model


def test_servegen_draws_each_clients_windows(tmp_path: Path) -> None:
    trace = load_trace(servegen_folder(tmp_path), LoadOptions(seed=1))
    counts = np.histogram(trace.arrival_seconds, bins=[0, 600, 1200, 1800])[0]
    assert counts.tolist() == [0, 1200, 2400]
    assert set(trace.input_tokens.tolist()) == {143, 300}
    assert set(trace.output_tokens.tolist()) <= {18, 19}
    gaps = np.diff(trace.arrival_seconds[1200:])
    assert gaps.std() / gaps.mean() > 2, "a Weibull of shape .35 is far burstier than Poisson"


def test_servegen_window_and_rate(tmp_path: Path) -> None:
    options = LoadOptions(start_seconds=1200, requests_per_second=1.0)
    trace = load_trace(servegen_folder(tmp_path), options)
    assert len(trace) == pytest.approx(1200, abs=2)
    assert trace.history_requests_per_minute is not None
    assert len(trace.history_requests_per_minute) == 20
    assert trace.history_requests_per_minute.sum() == pytest.approx(600, abs=2)


def test_every_format_says_what_it_is() -> None:
    formats = trace_formats()
    assert set(formats) == {"plain", "azure", "burstgpt", "mooncake", "servegen", "binned"}
    for name, one in formats.items():
        assert one.name == name
        assert one.columns
        assert one.origin


def test_a_named_format_must_fit(tmp_path: Path) -> None:
    path = write(tmp_path, AZURE_2023)
    assert len(load_trace(path, LoadOptions(format="azure"))) == 3
    with pytest.raises(TraceError, match="but the plain format starts with arrival_s"):
        load_trace(path, LoadOptions(format="plain"))
    with pytest.raises(TraceError, match="format 'parquet' is unknown; known are azure"):
        load_trace(path, LoadOptions(format="parquet"))
